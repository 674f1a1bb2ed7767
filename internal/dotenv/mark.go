package dotenv

import (
	"bytes"

	"github.com/dsvault/dsv"
)

// Marked is a plain file made ready to be stored.
type Marked struct {
	Text     []byte                // the file, the values of the marked assignments replaced by enc(NAME)
	Values   map[string]dsv.Secret // of each, for Template or the request
	Left     []dsv.Fault           // assignments that were asked for and left as they are, and why
	Requoted []string              // names whose value will be rendered with other quotes than the file had
}

// Mark turns NAME=value into NAME=enc(NAME) for every assignment that pick
// takes (nil takes all), and hands out the values: what `dsvctl env encrypt`
// does with a file that holds plain values. Parse Marked.Text and go on with
// Template.
//
// Left as they are, without a word, are lines with a reference and names
// alone; with a word: empty values, names that no key can have, and values
// that refer to a variable or command ("${APP_NAME}"), which are not secrets
// but ways to make a value. The caller shows Left: a value in it is still in
// the text.
//
// A name that is assigned twice with different values is a fault.
func (f *File) Mark(pick func(name string) bool) (Marked, []dsv.Fault) {
	m := Marked{Values: make(map[string]dsv.Secret)}
	var edits []edit
	var faults []dsv.Fault
	for i := range f.items {
		it := &f.items[i]
		if !it.plain() || pick != nil && !pick(it.name) {
			continue
		}
		read := it.read(f.text)
		if why := f.unmarkable(it, read); why != "" {
			m.Left = append(m.Left, invalid(it.line, it.name, why))
			continue
		}
		if before, ok := m.Values[it.name]; ok && !bytes.Equal(before.Reveal(), read.value) {
			faults = append(faults, invalid(it.line, it.name, "is assigned before with another value: remove one of them"))
			continue
		}
		m.Values[it.name] = dsv.SecretOf(read.value)
		quotes, exact := f.reference(it, read.value)
		if !exact {
			m.Requoted = append(m.Requoted, it.name)
		}
		edits = append(edits, edit{it.outer, []byte(quotes + "enc(" + it.name + ")" + quotes)})
	}
	if len(faults) > 0 {
		for _, v := range m.Values {
			v.Wipe()
		}
		return Marked{}, faults
	}
	m.Text = apply(f.text, edits)
	return m, nil
}

func (f *File) unmarkable(it *item, read reading) string {
	if len(read.value) == 0 {
		return "is empty"
	}
	if _, err := dsv.ParseKey(it.name); err != nil {
		return detail(err)
	}
	if read.refers(f.assigned) {
		return "refers to a variable or command: put the value in single quotes if it is meant as text"
	}
	return ""
}
