package dotenv

import (
	"bytes"
	"maps"
	"slices"

	"github.com/dsvault/dsv"
)

// Source says where the plaintext of an enc() comes from.
type Source uint8

// The sources, in the order in which they are asked; a literal is asked for
// nothing else.
const (
	FromValues     Source = iota + 1 // the values that were handed in
	FromAssignment                   // NAME=... in the same file
	FromLiteral                      // enc("literal")
)

// Store is one secret to store. The value is in memory of its own if it comes
// from the file, else it is the one handed in.
type Store struct {
	Key   dsv.Key
	Line  int // of the first enc() that asks for it
	Value dsv.Secret
	From  Source
}

// Plan is what the enc()s of a file ask for.
type Plan struct {
	Stores   []Store  // one a name, in the order of the file
	Missing  []Ref    // the enc()s (first of each name) that no source has a plaintext for
	Template []byte   // the file with only secret()s left; nil while something is missing
	Requoted []string // assignments whose value will be rendered with other quotes than the file had
}

// Wipe clears the plaintexts that were taken from the file.
func (p Plan) Wipe() {
	for _, s := range p.Stores {
		if s.From != FromValues {
			s.Value.Wipe()
		}
	}
}

// Template finds the plaintext of every enc(), and writes the file as it is to
// be kept: enc(NAME) becomes secret(NAME), and so does the assignment NAME=...
// that supplied the plaintext. All else is kept byte for byte.
//
// What is missing is not a fault: a caller with other sources (an environment,
// a prompt) asks them and calls again. Faults, all of them, by line: values
// for a name that no enc() asks for; a literal whose name has a value too; a
// name with two different plaintexts; a plaintext that refers to a variable,
// since substitution is never performed (single quotes say that it is text).
func (f *File) Template(values map[string]dsv.Secret) (Plan, []dsv.Fault) {
	t := templater{file: f, values: values, stores: make(map[string]int)}
	t.literals()
	for i := range f.items {
		for _, r := range f.items[i].refs {
			if r.Kind == Enc {
				t.enc(r)
			}
		}
	}
	t.unused()
	if len(t.faults) > 0 {
		t.plan.Wipe()
		return Plan{}, byLine(t.faults)
	}
	slices.SortStableFunc(t.plan.Stores, func(a, b Store) int { return a.Line - b.Line })
	if len(t.plan.Missing) == 0 {
		t.plan.Template = apply(f.text, t.edits)
	}
	return t.plan, nil
}

type templater struct {
	file   *File
	values map[string]dsv.Secret
	stores map[string]int // name -> index in plan.Stores, -1 for one without plaintext
	plan   Plan
	edits  []edit
	faults []dsv.Fault
}

func (t *templater) fault(line int, name, text string) {
	t.faults = append(t.faults, invalid(line, name, text))
}

func (t *templater) store(name string, s Store) {
	t.stores[name] = len(t.plan.Stores)
	t.plan.Stores = append(t.plan.Stores, s)
}

// literals go first, so that an enc(NAME) elsewhere finds them.
func (t *templater) literals() {
	f := t.file
	for i := range f.items {
		it := &f.items[i]
		if !it.literal {
			continue
		}
		r := it.refs[0]
		quotes := f.fewestQuotes(it)
		t.edits = append(t.edits, edit{r.at, []byte(quotes + "secret(" + it.name + ")" + quotes)})
		value := it.read(f.text).value
		_, given := t.values[it.name]
		n, twice := t.stores[it.name]
		if given {
			t.fault(it.line, it.name, "has a literal here, and a value was given for it too")
		}
		if !twice {
			t.store(it.name, Store{r.Key, it.line, dsv.SecretOf(value), FromLiteral})
		} else if !bytes.Equal(t.plan.Stores[n].Value.Reveal(), value) {
			t.fault(it.line, it.name, "has another literal before")
		}
	}
}

func (t *templater) enc(r Ref) {
	name := r.Key.String()
	t.edits = append(t.edits, edit{r.at, []byte("secret(" + name + ")")})
	if _, known := t.stores[name]; known {
		return
	}
	if v, ok := t.values[name]; ok {
		t.store(name, Store{r.Key, r.Line, v, FromValues})
		return
	}
	if value, ok := t.assignment(name); ok {
		t.store(name, Store{r.Key, r.Line, dsv.SecretOf(value), FromAssignment})
		return
	}
	t.stores[name] = -1
	t.plan.Missing = append(t.plan.Missing, r)
}

// assignment takes the plaintext from the plain assignments of name, and
// rewrites them.
func (t *templater) assignment(name string) (value []byte, ok bool) {
	f := t.file
	for _, i := range f.names[name] {
		it := &f.items[i]
		if !it.plain() {
			continue
		}
		read := it.read(f.text)
		switch {
		case read.refers(f.assigned):
			t.fault(it.line, name, "refers to a variable or command, which is never expanded: put the value in single quotes if it is meant as text")
		case ok && !bytes.Equal(value, read.value):
			t.fault(it.line, name, "is assigned before with another value")
		}
		value, ok = read.value, true
		quotes, exact := f.reference(it, value)
		if !exact {
			t.plan.Requoted = append(t.plan.Requoted, name)
		}
		t.edits = append(t.edits, edit{it.outer, []byte(quotes + "secret(" + name + ")" + quotes)})
	}
	return value, ok
}

func (t *templater) unused() {
	for _, name := range slices.Sorted(maps.Keys(t.values)) {
		if _, ok := t.stores[name]; !ok {
			t.fault(0, name, "a value was given for it, but no enc() asks for it")
		}
	}
}
