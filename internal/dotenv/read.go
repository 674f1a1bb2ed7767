package dotenv

import (
	"bufio"
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dsvault/dsv"
)

// entries reads a text as smart or compose does.
func (g grammar) entries(text []byte) ([]entry, []dsv.Fault) {
	statements, faults := g.scan(text)
	out := make([]entry, len(statements))
	for i, st := range statements {
		out[i] = entry{name: st.name, line: st.line, alone: st.alone}
		if !st.alone {
			out[i].reading = g.read(st.value.of(text), st.quote)
		}
	}
	return out, faults
}

// readDocker reads as `docker run --env-file` does: see opts/file.go and
// pkg/kvfile of docker/cli.
func readDocker(text []byte) ([]entry, []dsv.Fault) {
	var out []entry
	var faults []dsv.Fault
	text = bytes.TrimPrefix(text, []byte(bom))
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'})
		fault := func(what string) { faults = append(faults, invalid(number, "", what)) }
		if len(line) >= bufio.MaxScanTokenSize {
			fault("the line is longer than 64 KiB")
			continue
		}
		if !utf8.Valid(line) {
			fault("the line is not UTF-8")
			continue
		}
		line = bytes.TrimLeftFunc(line, unicode.IsSpace)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte{'='})
		switch {
		case len(name) == 0:
			fault("the line has no name")
		case bytes.ContainsAny(name, " \t"):
			fault("blanks in a name, or export")
		default:
			out = append(out, entry{name: string(name), line: number, alone: !ok, reading: reading{value: bytes.Clone(value)}})
		}
	}
	return out, faults
}

// readSystemd reads as EnvironmentFile= does: the machine of
// src/basic/env-file.c of systemd, which never fails but on names.
func readSystemd(text []byte) ([]entry, []dsv.Fault) {
	var out []entry
	var faults []dsv.Fault
	r := systemdReader{text: text, line: 1}
	for r.pos < len(text) {
		line := r.line
		name, value, ok := r.assignment()
		switch {
		case !ok:
		case !shellName(name):
			faults = append(faults, invalid(line, "", "it wants NAME=value, the name of [A-Za-z0-9_], without export"))
		default:
			out = append(out, entry{name: name, line: line, alone: value == nil, reading: reading{value: value}})
		}
	}
	return out, faults
}

type systemdReader struct {
	text      []byte
	pos, line int
}

func (r *systemdReader) next() byte {
	c := r.text[r.pos]
	r.pos++
	if c == '\n' {
		r.line++
	}
	return c
}

// assignment reads one; not ok for a blank line or a comment.
func (r *systemdReader) assignment() (name string, value []byte, ok bool) {
	if c := r.text[r.pos]; strings.IndexByte(" \t\n\r", c) >= 0 {
		r.next()
		return "", nil, false
	} else if c == '#' || c == ';' {
		r.comment()
		return "", nil, false
	}
	from := r.pos
	for r.pos < len(r.text) && r.text[r.pos] != '\n' && r.text[r.pos] != '\r' && r.text[r.pos] != '=' {
		r.pos++
	}
	name = strings.TrimRight(string(r.text[from:r.pos]), " \t")
	if r.pos == len(r.text) || r.next() != '=' {
		return name, nil, true // it is ignored
	}
	return name, r.value(), true
}

func (r *systemdReader) comment() {
	for r.pos < len(r.text) {
		switch c := r.next(); {
		case c == '\\' && r.pos < len(r.text):
			r.next()
		case c == '\n' || c == '\r':
			return
		}
	}
}

// value reads pieces in quotes and a bare piece, up to the line end.
func (r *systemdReader) value() []byte {
	out := []byte{}
	bareFrom := -1
	for r.pos < len(r.text) {
		c := r.next()
		switch {
		case c == '\n' || c == '\r':
			return r.trim(out, bareFrom)
		case bareFrom < 0 && (c == ' ' || c == '\t'):
		case bareFrom < 0 && c == '\'':
			out = r.single(out)
		case bareFrom < 0 && c == '"':
			out = r.double(out)
		default:
			if bareFrom < 0 {
				bareFrom = len(out)
			}
			if c == '\\' {
				if r.pos == len(r.text) {
					return out
				}
				if c = r.next(); c == '\n' || c == '\r' {
					continue
				}
			}
			out = append(out, c)
		}
	}
	return r.trim(out, bareFrom)
}

func (r *systemdReader) trim(out []byte, bareFrom int) []byte {
	for bareFrom >= 0 && len(out) > bareFrom && blank(out[len(out)-1]) {
		out = out[:len(out)-1]
	}
	return out
}

func (r *systemdReader) single(out []byte) []byte {
	for r.pos < len(r.text) {
		c := r.next()
		if c == '\'' {
			break
		}
		out = append(out, c)
	}
	return out
}

func (r *systemdReader) double(out []byte) []byte {
	for r.pos < len(r.text) {
		c := r.next()
		if c == '"' {
			break
		}
		if c == '\\' && r.pos < len(r.text) {
			switch c = r.next(); {
			case c == '\n':
				continue
			case strings.IndexByte(shellEscapes, c) < 0:
				out = append(out, '\\')
			}
		}
		out = append(out, c)
	}
	return out
}

// shellName is a name that a shell and systemd take.
func shellName(s string) bool {
	for i := range len(s) {
		if !wordByte(s[i]) {
			return false
		}
	}
	return s != "" && !('0' <= s[0] && s[0] <= '9')
}
