package auth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// Limits of a grant.
const (
	MaxName     = 128 // bytes of Name and of CreatedBy
	MaxPrefixes = 64
)

// Prefix covers namespaces in whole segments. The zero Prefix covers nothing.
type Prefix struct {
	all bool
	ns  dsv.Namespace
}

// ParsePrefix reads a prefix: "" covers every namespace, anything else must
// be a well-formed namespace and covers it and all below it. The error is
// KindInvalid (field "prefixes").
func ParsePrefix(s string) (Prefix, error) {
	if s == "" {
		return Prefix{all: true}, nil
	}
	ns, err := dsv.ParseNamespace(s)
	if err != nil {
		return Prefix{}, dsv.Invalid("prefixes", "has a prefix that "+dsv.AsError(err).Detail)
	}
	return Prefix{ns: ns}, nil
}

// Covers reports whether ns lies under the prefix; false for the zero ns.
func (p Prefix) Covers(ns dsv.Namespace) bool {
	s, under := ns.String(), p.ns.String()
	switch {
	case s == "":
		return false
	case p.all:
		return true
	case under == "" || !strings.HasPrefix(s, under):
		return false
	}
	return len(s) == len(under) || s[len(under)] == '/'
}

// All reports whether the prefix covers every namespace.
func (p Prefix) All() bool { return p.all }

// String is the form ParsePrefix reads.
func (p Prefix) String() string { return p.ns.String() }

// Grant is what one token may do. Times are microseconds of Unix time.
type Grant struct {
	ID            string // the token's id
	Name          string // for people; at most MaxName bytes
	Hash          [32]byte
	Prefixes      []Prefix
	Verbs         Verb
	ExpiresMicros int64 // first microsecond in which it no longer counts; 0 = never
	CreatedMicros int64
	CreatedBy     string
}

// Validate reports every fault of g as one KindInvalid error (field "token").
func (g Grant) Validate() error {
	var faults []dsv.Fault
	bad := func(name, detail string) {
		faults = append(faults, dsv.Fault{Name: name, Code: dsv.CodeInvalid, Detail: detail})
	}
	if !wellFormedID(g.ID) {
		bad("id", "is not 16 characters of [0-9a-f]")
	}
	if g.Hash == [32]byte{} {
		bad("hash", "is missing")
	}
	if !printable(g.Name) {
		bad("name", "is longer than 128 bytes or not printable text")
	}
	if !printable(g.CreatedBy) {
		bad("created_by", "is longer than 128 bytes or not printable text")
	}
	if len(g.Prefixes) == 0 || len(g.Prefixes) > MaxPrefixes {
		bad("prefixes", "must be 1 to 64 prefixes")
	}
	for _, p := range g.Prefixes {
		if p == (Prefix{}) {
			bad("prefixes", "has a prefix that covers nothing")
		}
	}
	if g.Verbs == 0 || g.Verbs&^AllVerbs != 0 {
		bad("verbs", "must be one or more of "+AllVerbs.String())
	}
	if g.Verbs&Admin != 0 && !g.coversAll() {
		bad("verbs", "admin needs the prefix \"\"")
	}
	if g.ExpiresMicros < 0 {
		bad("expires_us", "is negative")
	}
	if g.CreatedMicros < 0 {
		bad("created_us", "is negative")
	}
	return faultsOf(faults)
}

func (g Grant) coversAll() bool {
	for _, p := range g.Prefixes {
		if p.all {
			return true
		}
	}
	return false
}

// FromProto reads a token setting. Every fault is reported, in one KindInvalid
// error (field "token"); a setting that is not wholly understood grants
// nothing.
func FromProto(m *metapb.Token) (Grant, error) {
	g := Grant{
		ID:            m.GetId(),
		Name:          m.GetName(),
		ExpiresMicros: m.GetExpiresUs(),
		CreatedMicros: m.GetCreatedUs(),
		CreatedBy:     m.GetCreatedBy(),
	}
	var faults []dsv.Fault
	if len(m.GetHash()) == len(g.Hash) {
		copy(g.Hash[:], m.GetHash())
	}
	for _, s := range m.GetPrefixes() {
		p, err := ParsePrefix(s)
		if err != nil {
			faults = append(faults, dsv.Fault{Name: "prefixes", Code: dsv.CodeInvalid, Detail: dsv.AsError(err).Detail})
			continue
		}
		g.Prefixes = append(g.Prefixes, p)
	}
	var err error
	if g.Verbs, err = ParseVerbs(m.GetVerbs()); err != nil {
		faults = append(faults, dsv.Fault{Name: "verbs", Code: dsv.CodeInvalid, Detail: dsv.AsError(err).Detail})
	}
	if err := g.Validate(); err != nil {
		faults = append(faults, dsv.AsError(err).Faults...)
	}
	if err := faultsOf(faults); err != nil {
		return Grant{}, err
	}
	return g, nil
}

// ToProto is the setting that FromProto reads.
func (g Grant) ToProto() *metapb.Token {
	m := &metapb.Token{
		Id:        g.ID,
		Hash:      g.Hash[:],
		Name:      g.Name,
		Verbs:     g.Verbs.Names(),
		ExpiresUs: g.ExpiresMicros,
		CreatedUs: g.CreatedMicros,
		CreatedBy: g.CreatedBy,
	}
	for _, p := range g.Prefixes {
		m.Prefixes = append(m.Prefixes, p.String())
	}
	return m
}

func faultsOf(faults []dsv.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	lines := make([]string, len(faults))
	for i, f := range faults {
		lines[i] = f.Name + " " + f.Detail
	}
	e := dsv.Invalid("token", "is not usable: "+strings.Join(lines, "; "))
	e.Faults = faults
	return e
}

func printable(s string) bool {
	if len(s) > MaxName || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
