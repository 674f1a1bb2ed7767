package auth

import (
	"math/bits"
	"strings"

	"github.com/dsvault/dsv"
)

// Verb is a set of verbs.
type Verb uint16

// The verbs.
const (
	Create Verb = 1 << iota
	Update
	Read
	List
	History
	Delete
	Undelete
	Destroy
	Watch
	Admin

	// AllVerbs is every verb there is.
	AllVerbs Verb = 1<<iota - 1
)

// verbNames is in the order of the bits.
var verbNames = [...]string{
	"create", "update", "read", "list", "history", "delete", "undelete", "destroy", "watch", "admin",
}

// ParseVerbs returns the set of the named verbs. The error is KindInvalid
// (field "verbs") and names every unknown verb; Faults holds one entry each.
func ParseVerbs(names []string) (Verb, error) {
	var v Verb
	var faults []dsv.Fault
	for _, name := range names {
		bit := parseVerb(name)
		if bit == 0 {
			faults = append(faults, dsv.Fault{Name: clip(name), Code: dsv.CodeInvalid, Detail: "is no verb"})
		}
		v |= bit
	}
	if faults != nil {
		bad := make([]string, len(faults))
		for i, f := range faults {
			bad[i] = f.Name
		}
		e := dsv.Invalid("verbs", "has unknown verbs: "+strings.Join(bad, ", ")+"; use "+AllVerbs.String())
		e.Faults = faults
		return 0, e
	}
	return v, nil
}

func parseVerb(name string) Verb {
	for i, n := range verbNames {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

// Names lists the verbs of the set in their fixed order; bits that are no
// verb are left out.
func (v Verb) Names() []string {
	v &= AllVerbs
	out := make([]string, 0, bits.OnesCount16(uint16(v)))
	for i, n := range verbNames {
		if v&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// String joins Names with ", ".
func (v Verb) String() string { return strings.Join(v.Names(), ", ") }

// Has reports whether every verb of w is in v; false for the empty w and for
// a w with bits that are no verb.
func (v Verb) Has(w Verb) bool { return w != 0 && w&^AllVerbs == 0 && v&w == w }

// clip bounds what an error repeats of a caller's text.
func clip(s string) string {
	if len(s) > 32 {
		s = s[:32]
	}
	return strings.ToValidUTF8(s, "?")
}
