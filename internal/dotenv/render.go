package dotenv

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/dsvault/dsv"
)

// Render fills in the values of all references and writes the file for a
// dialect, see the package comment. lookup is asked once for every reference,
// also for Enc and Literal ones; false means that there is no value.
//
// All faults are listed, by line, and with a fault there is no output: no
// value (CodeNotFound), a value that this dialect cannot hold, a line that it
// cannot read (CodeUnprocessable). No fault holds a part of a value. Rendering
// is deterministic. The values are only read; the caller wipes them and the
// output.
func Render(f *File, lookup func(Ref) (dsv.Secret, bool), to Dialect) ([]byte, []dsv.Fault) {
	values, faults := f.lookup(lookup)
	if len(faults) > 0 {
		return nil, faults
	}
	if to.of().read == nil {
		return to.document(f, values)
	}
	return to.of().render(f, values)
}

// lookup returns the values of the references of each item.
func (f *File) lookup(lookup func(Ref) (dsv.Secret, bool)) ([][][]byte, []dsv.Fault) {
	var faults []dsv.Fault
	out := make([][][]byte, len(f.items))
	for i := range f.items {
		for _, r := range f.items[i].refs {
			v, ok := lookup(r)
			if !ok {
				faults = append(faults, dsv.Fault{Line: r.Line, Name: r.ID(), Code: dsv.CodeNotFound, Detail: "has no value"})
			}
			out[i] = append(out[i], v.Reveal())
		}
	}
	return out, byLine(faults)
}

func (d *dialect) render(f *File, values [][][]byte) ([]byte, []dsv.Fault) {
	var edits []edit
	var faults []dsv.Fault
	for i := range f.items {
		it := &f.items[i]
		if len(it.refs) == 0 {
			continue
		}
		e, fault := d.renderItem(f, it, values[i])
		if fault != nil {
			faults = append(faults, *fault)
			continue
		}
		edits = append(edits, e)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	out := apply(f.text, edits)
	for _, e := range edits {
		clear(e.with)
	}
	if faults := d.verify(f, values, out); len(faults) > 0 {
		clear(out)
		return nil, faults
	}
	return out, nil
}

// renderItem returns the replacement of one value.
func (d *dialect) renderItem(f *File, it *item, values [][]byte) (edit, *dsv.Fault) {
	want := it.meant(f.text, values)
	defer clear(want.value)
	if text := d.refuses(want.value); text != "" {
		return edit{}, unfit(it, d, text)
	}
	for _, write := range d.ways(f, it, values, want) {
		with, ok := write()
		if !ok {
			continue
		}
		e := edit{it.outer, with}
		if d.reads(f, it, e, want) {
			return e, nil
		}
		clear(with)
	}
	return edit{}, unfit(it, d, "")
}

// meant is what the value is, the references filled in.
func (it *item) meant(text []byte, values [][]byte) reading {
	if it.literal {
		return reading{value: bytes.Clone(values[0])}
	}
	want, _ := it.fill(text, func(n int) []byte { return values[n] })
	return want
}

// refuses names what no form of the dialect can hold.
func (d *dialect) refuses(value []byte) string {
	switch {
	case d.name != "k8s" && bytes.IndexByte(value, 0) >= 0:
		return "it has a NUL byte"
	case d.utf8 && !utf8.Valid(value):
		return "it is not UTF-8"
	}
	return ""
}

// ways lists how to write the value: in place first, then whole.
func (d *dialect) ways(f *File, it *item, values [][]byte, want reading) []func() ([]byte, bool) {
	var out []func() ([]byte, bool)
	if !it.literal {
		out = append(out, func() ([]byte, bool) { return d.inPlace(f, it, values, want) })
	}
	for _, form := range d.forms {
		out = append(out, func() ([]byte, bool) { return d.whole(f, it, form, want) })
	}
	return out
}

// inPlace keeps the literal parts byte for byte, and the quotes.
func (d *dialect) inPlace(f *File, it *item, values [][]byte, want reading) ([]byte, bool) {
	how := form{quote: it.quote}
	if it.quote == '"' && d.escapes == "" || !d.ends(f, it, how, want.value) {
		return nil, false
	}
	out := make([]byte, 0, 2*len(want.value)+it.outer.to-it.outer.from)
	out = append(out, f.text[it.outer.from:it.value.from]...)
	for _, p := range it.parts {
		if p.ref < 0 {
			out = append(out, p.raw.of(f.text)...)
			continue
		}
		if it.quote == 0 && !d.bare(values[p.ref], it.export) {
			return nil, false
		}
		var ok bool
		if out, ok = d.append(out, values[p.ref], how, nil, f.crlf); !ok {
			return nil, false
		}
	}
	return append(out, f.text[it.value.to:it.outer.to]...), true
}

// whole writes the value anew in a form.
func (d *dialect) whole(f *File, it *item, how form, want reading) ([]byte, bool) {
	if !d.ends(f, it, how, want.value) || how.quote == 0 && !d.bare(want.value, it.export) {
		return nil, false
	}
	out := make([]byte, 0, 2*len(want.value)+2)
	if how.quote != 0 {
		out = append(out, how.quote)
	}
	keep := want.active
	if !d.expands {
		keep = nil
	}
	out, ok := d.append(out, want.value, how, keep, f.crlf)
	if how.quote != 0 {
		out = append(out, how.quote)
	}
	return out, ok
}

// ends knows two values that some readers take wrongly although ours does not:
// a back-slash before the closing single quote, and nothing before a comment.
func (d *dialect) ends(f *File, it *item, how form, value []byte) bool {
	switch {
	case how.quote == '\'' && d.lineEnd:
		return !bytes.HasSuffix(value, []byte{'\\'})
	case how.quote == 0 && len(value) == 0:
		return len(bytes.TrimSpace(f.text[it.outer.to:it.all.to])) == 0
	}
	return true
}

// reads reports whether the dialect takes the line with the edit as it is meant.
func (d *dialect) reads(f *File, it *item, e edit, want reading) bool {
	line := apply(it.all.of(f.text), []edit{{span{e.from - it.all.from, e.to - it.all.from}, e.with}})
	defer clear(line)
	got, faults := d.read(line)
	defer wipe(got)
	return len(faults) == 0 && len(got) == 1 && d.same(got[0], it, want)
}

// same compares one entry with what is meant. Where expansion exists, the same
// parts of the value must be active: so none inside a value that was filled in.
func (d *dialect) same(got entry, it *item, want reading) bool {
	return got.name == it.name && !got.alone && bytes.Equal(got.value, want.value) &&
		slices.Equal(d.starts(got.reading), d.starts(want))
}

// starts is where the parts begin that are active in this dialect.
func (d *dialect) starts(r reading) []int {
	var out []int
	for _, a := range r.active {
		if d.expands && (d.ticks || r.value[a.from] != '`') {
			out = append(out, a.from)
		}
	}
	return out
}

// verify reads the whole output again.
func (d *dialect) verify(f *File, values [][][]byte, out []byte) []dsv.Fault {
	got, faults := d.read(out)
	defer wipe(got)
	for i := range faults {
		faults[i].Code = dsv.CodeUnprocessable
		faults[i].Detail = "cannot be read by " + d.name + ": " + faults[i].Detail
	}
	if len(faults) > 0 {
		return byLine(faults)
	}
	for i := range f.items {
		it := &f.items[i]
		if i >= len(got) || got[i].name != it.name || got[i].alone != it.alone {
			return []dsv.Fault{*unfit(it, d, "the line is read as another one")}
		}
		if len(it.refs) == 0 {
			continue
		}
		want := it.meant(f.text, values[i])
		same := d.same(got[i], it, want)
		clear(want.value)
		if !same {
			return []dsv.Fault{*unfit(it, d, "")}
		}
	}
	if len(got) > len(f.items) {
		return []dsv.Fault{{Line: got[len(f.items)].line, Code: dsv.CodeUnprocessable, Detail: "is read as an assignment by " + d.name}}
	}
	return nil
}

func unfit(it *item, d *dialect, why string) *dsv.Fault {
	text := fmt.Sprintf("the value cannot be written for %s here", d.name)
	if why != "" {
		text += ": " + why
	}
	return &dsv.Fault{Line: it.line, Name: it.name, Code: dsv.CodeUnprocessable, Detail: text}
}

func wipe(all []entry) {
	for _, e := range all {
		clear(e.value)
	}
}
