package dotenv

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/dsvault/dsv"
)

// edit is one replacement in the text.
type edit struct {
	span
	with []byte
}

// apply returns text with the edits made. They must not overlap.
func apply(text []byte, edits []edit) []byte {
	slices.SortFunc(edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	size := len(text)
	for _, e := range edits {
		size += len(e.with) - (e.to - e.from)
	}
	out := make([]byte, 0, size) // exactly: growing would leave copies behind
	at := 0
	for _, e := range edits {
		out = append(out, text[at:e.from]...)
		out = append(out, e.with...)
		at = e.to
	}
	return append(out, text[at:]...)
}

func byLine(faults []dsv.Fault) []dsv.Fault {
	slices.SortStableFunc(faults, func(a, b dsv.Fault) int { return cmp.Compare(a.Line, b.Line) })
	return faults
}

// reference returns the quotes to put around a reference that takes the place
// of a plain value, and whether smart then writes back the bytes that were
// there. If no quotes do that it is none, where there can be none: smart then
// chooses what most readers agree on.
func (f *File) reference(it *item, value []byte) (quotes string, exact bool) {
	was := it.all.of(f.text)
	own := ""
	if it.quote != 0 {
		own = string(rune(it.quote))
	}
	for _, q := range [...]string{own, "", `"`, `'`} {
		line := apply(was, []edit{{span{it.outer.from - it.all.from, it.outer.to - it.all.from}, []byte(q + "secret(X)" + q)}})
		probe, faults := Parse(line)
		if faults != nil || len(probe.items) != 1 || len(probe.items[0].parts) != 1 {
			continue
		}
		probe.crlf = f.crlf
		with, fault := smart.renderItem(probe, &probe.items[0], [][]byte{value})
		if fault == nil && bytes.Equal(apply(line, []edit{with}), was) {
			return q, true
		}
	}
	return f.fewestQuotes(it), false
}

// fewestQuotes are those that a reference in the place of it needs: none, unless
// a "#" follows at once, which an unquoted value would take in.
func (f *File) fewestQuotes(it *item) string {
	if it.outer.to < len(f.text) && f.text[it.outer.to] == '#' {
		return `"`
	}
	return ""
}
