package dotenv

import (
	"bytes"
	"fmt"

	"github.com/dsvault/dsv"
)

// Limits of a file.
const (
	MaxEnc    = 256   // enc() references
	MaxSecret = 2_000 // secret() references
)

// File is a .env file that was read without a fault. It is immutable and may
// be used by several goroutines.
type File struct {
	text  []byte
	items []item
	names map[string][]int // items of a name
	crlf  bool             // lines end with CR LF
}

// item is one statement, its value cut into literal parts and references.
type item struct {
	statement
	parts []part
	refs  []Ref // of a literal: one, without a part
}

// part is a piece of a value: a reference, or literal text.
type part struct {
	raw span
	ref int // index in refs, -1 for literal text
}

// Assignment is one line of a file, as users count them.
type Assignment struct {
	Name   string
	Line   int
	Export bool
	Alone  bool // NAME without =
	Plain  bool // it has a value, and no reference in it
}

// Parse reads a file. Every fault is listed, by line; with a fault there is no
// File. The text is not copied: the caller does not change it while the File
// is in use.
func Parse(text []byte) (*File, []dsv.Fault) {
	statements, faults := templateGrammar.scan(text)
	if i := bytes.IndexByte(text, 0); i >= 0 {
		faults = append(faults, invalid(1+bytes.Count(text[:i], []byte{'\n'}), "", "has a NUL byte"))
	}
	f := &File{text: text, items: make([]item, 0, len(statements)), names: make(map[string][]int)}
	f.crlf = crlf(text, statements)
	for _, st := range statements {
		it, bad := f.item(st)
		f.names[st.name] = append(f.names[st.name], len(f.items))
		f.items = append(f.items, it)
		faults = append(faults, bad...)
	}
	if len(faults) > 0 {
		return nil, byLine(faults)
	}
	return f, nil
}

// crlf looks at the first line end that is not inside a value: a template has
// the same one.
func crlf(text []byte, statements []statement) bool {
	from := 0
	for _, st := range statements {
		if st.alone {
			continue
		}
		if bytes.IndexByte(text[from:st.outer.from], '\n') >= 0 {
			break
		}
		from = st.outer.to
	}
	i := bytes.IndexByte(text[from:], '\n')
	return i > 0 && text[from+i-1] == '\r'
}

func (f *File) item(st statement) (item, []dsv.Fault) {
	it := item{statement: st}
	line := st.line // a value begins on the line of its name
	if st.alone {
		return it, nil
	}
	if st.literal {
		key, err := dsv.ParseKey(st.name)
		if err != nil {
			return it, []dsv.Fault{invalid(line, st.name, "enc(\"literal\") stores under the name of its line: "+detail(err))}
		}
		it.refs = []Ref{{Kind: Literal, Line: line, Key: key, at: st.outer}}
		return it, nil
	}
	found, faults := refs(st.value.of(f.text), st.value.from, line)
	for i := range faults {
		faults[i].Name = st.name
	}
	it.refs = found
	it.cut()
	for _, r := range it.swallowed(f.text) {
		faults = append(faults, invalid(r.Line, st.name, r.String()+" stands inside a $ expansion, or behind $( or a back-tick: put the value in single quotes"))
	}
	return it, faults
}

// cut makes the parts of the value from its references.
func (it *item) cut() {
	at := it.value.from
	for n, r := range it.refs {
		if r.at.from > at {
			it.parts = append(it.parts, part{span{at, r.at.from}, -1})
		}
		it.parts = append(it.parts, part{r.at, n})
		at = r.at.to
	}
	if at < it.value.to {
		it.parts = append(it.parts, part{span{at, it.value.to}, -1})
	}
}

// fill returns the value with the references replaced, its active parts, and
// where the references came to stand.
func (it *item) fill(text []byte, with func(n int) []byte) (reading, []span) {
	var value []byte
	var candidates []int
	var filled []span
	for _, p := range it.parts {
		if p.ref >= 0 {
			from := len(value)
			value = append(value, with(p.ref)...)
			filled = append(filled, span{from, len(value)})
			continue
		}
		lit, places := smartGrammar.decode(p.raw.of(text), it.quote)
		for _, c := range places {
			candidates = append(candidates, len(value)+c)
		}
		value = append(value, lit...)
	}
	return reading{value, expansions(value, candidates)}, filled
}

// swallowed are the references that an expansion would take in.
func (it *item) swallowed(text []byte) []Ref {
	read, filled := it.fill(text, func(n int) []byte { return it.refs[n].at.of(text) })
	var out []Ref
	active := read.active
	for n, s := range filled {
		for len(active) > 0 && active[0].to <= s.from {
			active = active[1:]
		}
		if len(active) > 0 && active[0].from < s.to {
			out = append(out, it.refs[n])
		}
	}
	return out
}

// plain reports a value without references.
func (it *item) plain() bool { return !it.alone && len(it.refs) == 0 }

// read is the value of a plain item, in memory of its own.
func (it *item) read(text []byte) reading {
	return smartGrammar.read(it.value.of(text), it.quote)
}

// Text returns the bytes that were parsed, not a copy.
func (f *File) Text() []byte { return f.text }

// References lists all references in the order of the text.
func (f *File) References() []Ref {
	var out []Ref
	for _, it := range f.items {
		out = append(out, it.refs...)
	}
	return out
}

// Assignments lists the lines that name something, in the order of the text.
func (f *File) Assignments() []Assignment {
	out := make([]Assignment, len(f.items))
	for i := range f.items {
		it := &f.items[i]
		out[i] = Assignment{Name: it.name, Line: it.line, Export: it.export, Alone: it.alone, Plain: it.plain()}
	}
	return out
}

// CheckLimits refuses a file with more references than MaxEnc or MaxSecret,
// with a *dsv.Error of KindTooLarge. Parse and Render do not ask it: a
// template that came out of a file within the limits may be over them.
func (f *File) CheckLimits() error {
	var count [Literal + 1]int
	for _, it := range f.items {
		for _, r := range it.refs {
			count[r.Kind]++
		}
	}
	switch {
	case count[Enc]+count[Literal] > MaxEnc:
		return dsv.E(dsv.KindTooLarge, dsv.CodeTooLarge, fmt.Sprintf("more than %d enc() in one file", MaxEnc))
	case count[Secret] > MaxSecret:
		return dsv.E(dsv.KindTooLarge, dsv.CodeTooLarge, fmt.Sprintf("more than %d secret() in one file", MaxSecret))
	}
	return nil
}

// assigned reports whether the file has a line for name.
func (f *File) assigned(name string) bool { return len(f.names[name]) > 0 }
