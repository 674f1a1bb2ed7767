package dotenv

import (
	"bytes"
	"strings"

	"github.com/dsvault/dsv"
)

// readSh reads the part of the shell's language that a sourced .env may use:
// assignments, one a line, and export. Everything that would run something is
// a fault; what a shell would replace is active.
func readSh(text []byte) ([]entry, []dsv.Fault) {
	r := &shReader{text: text, line: 1}
	for r.pos < len(text) && len(r.faults) < maxShFaults {
		line, from := r.line, r.pos
		if what := r.statement(); what != "" {
			r.faults = append(r.faults, invalid(line, "", what))
			r.pos, r.line = from, line
			r.skipLine()
		}
	}
	return r.out, r.faults
}

// maxShFaults bounds the work on a text in which every line is a fault that
// only the end of the text proves.
const maxShFaults = 100

type shReader struct {
	text      []byte
	pos, line int
	out       []entry
	faults    []dsv.Fault
}

// peek is the next byte, or a line end at the end.
func (r *shReader) peek() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return '\n'
}

func (r *shReader) skipLine() {
	if i := bytes.IndexByte(r.text[r.pos:], '\n'); i >= 0 {
		r.pos += i + 1
		r.line++
		return
	}
	r.pos = len(r.text)
}

func (r *shReader) blanks() {
	for r.pos < len(r.text) && blank(r.text[r.pos]) {
		r.pos++
	}
}

func (r *shReader) word() string {
	from := r.pos
	for r.pos < len(r.text) && wordByte(r.text[r.pos]) {
		r.pos++
	}
	return string(r.text[from:r.pos])
}

// statement reads one line, or more; it returns a fault or "".
func (r *shReader) statement() string {
	r.blanks()
	if c := r.peek(); c == '\n' || c == '#' {
		r.skipLine()
		return ""
	}
	line, export := r.line, false
	name := r.word()
	if name == "export" && blank(r.peek()) {
		export = true
		r.blanks()
		name = r.word()
	}
	if !shellName(name) {
		return "it has a name that no shell variable has, or none"
	}
	e := entry{name: name, line: line, alone: true}
	switch {
	case r.peek() == '=':
		r.pos++
		e.alone = false
		var what string
		if e.reading, what = r.value(export); what != "" {
			return what
		}
	case !export:
		return "a shell would run it as a command"
	}
	if blank(r.peek()) {
		r.blanks()
		if r.peek() == '#' {
			r.skipLine()
			r.out = append(r.out, e)
			return ""
		}
	}
	if r.peek() != '\n' {
		return "a shell would run what stands behind the value"
	}
	r.skipLine()
	r.out = append(r.out, e)
	return ""
}

// value reads a word: pieces with and without quotes.
func (r *shReader) value(export bool) (reading, string) {
	var out reading
	out.value = []byte{}
	var places []int
	for {
		switch c := r.peek(); {
		case c == '\n' || blank(c):
			out.active = merge(out.active, expansions(out.value, places))
			return out, ""
		case c == '\'':
			if !r.single(&out) {
				return out, "it has a quote that is never closed"
			}
		case c == '"':
			if !r.double(&out, &places) {
				return out, "it has a quote that is never closed"
			}
		case strings.IndexByte(";&|<>()", c) >= 0:
			return out, "it has an operator of the shell without quotes"
		case c == '\\':
			r.pos++
			if r.pos == len(r.text) {
				return out, "it ends with a back-slash"
			}
			if r.peek() == '\n' {
				r.line++
			} else {
				out.value = append(out.value, r.peek())
			}
			r.pos++
		case c == '$' || c == '`':
			r.expansion(&out, &places)
		case c == '~' && (len(out.value) == 0 || out.value[len(out.value)-1] == ':'), export && strings.IndexByte("*?[{", c) >= 0:
			out.active = append(out.active, span{len(out.value), len(out.value) + 1})
			fallthrough
		default:
			out.value = append(out.value, c)
			r.pos++
		}
	}
}

// expansion takes a $ or back-tick and what belongs to it as it stands. It does
// not look at quotes inside: Parse lets no reference stand behind a command, so
// the worst is a line of the template that is refused.
func (r *shReader) expansion(out *reading, places *[]int) {
	*places = append(*places, len(out.value))
	rest := r.text[r.pos:]
	end := r.pos + 1
	if rest[0] == '`' {
		if i := bytes.IndexByte(rest[1:], '`'); i >= 0 {
			end = r.pos + i + 2
			*places = append(*places, len(out.value)+i+1)
		}
	} else if len(rest) > 1 && (rest[1] == '(' || rest[1] == '{') {
		end = r.pos + nestEnd(rest, 1)
	}
	r.line += bytes.Count(r.text[r.pos:end], []byte{'\n'})
	out.value = append(out.value, r.text[r.pos:end]...)
	r.pos = end
}

// nestEnd is behind the bracket that closes the one at i, or the end.
func nestEnd(b []byte, i int) int {
	open, shut := b[i], byte(')')
	if open == '{' {
		shut = '}'
	}
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case open:
			depth++
		case shut:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

func (r *shReader) single(out *reading) bool {
	i := bytes.IndexByte(r.text[r.pos+1:], '\'')
	if i < 0 {
		return false
	}
	body := r.text[r.pos+1 : r.pos+1+i]
	r.line += bytes.Count(body, []byte{'\n'})
	out.value = append(out.value, body...)
	r.pos += i + 2
	return true
}

func (r *shReader) double(out *reading, places *[]int) bool {
	for r.pos++; r.pos < len(r.text); {
		c := r.text[r.pos]
		switch {
		case c == '"':
			r.pos++
			return true
		case c == '$' || c == '`':
			r.expansion(out, places)
			continue
		case c == '\\' && r.pos+1 < len(r.text):
			next := r.text[r.pos+1]
			if next == '\n' {
				r.line++
				r.pos += 2
				continue
			}
			if strings.IndexByte(shellEscapes, next) >= 0 {
				c = next
				r.pos++
			}
		}
		if c == '\n' {
			r.line++
		}
		out.value = append(out.value, c)
		r.pos++
	}
	return false
}

// merge puts two ascending lists in order.
func merge(a, b []span) []span {
	out := make([]span, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].from <= b[0].from {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}
