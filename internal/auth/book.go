package auth

import (
	"crypto/subtle"
	"slices"

	"github.com/dsvault/dsv"
)

// Book is an immutable snapshot of all grants at one revision of the
// settings. It is safe for concurrent use; a zero or nil Book knows nobody.
type Book struct {
	revision uint64
	grants   map[string]*Grant
}

// NewBook takes a snapshot of grants. Of two with one id the later counts; one
// that [Grant.Validate] refuses is left out.
func NewBook(revision uint64, grants []Grant) *Book {
	b := &Book{revision: revision, grants: make(map[string]*Grant, len(grants))}
	for _, g := range grants {
		delete(b.grants, g.ID)
		if g.Validate() != nil {
			continue
		}
		g.Prefixes = slices.Clone(g.Prefixes)
		b.grants[g.ID] = &g
	}
	return b
}

// Revision is the revision of the settings the book was made of.
func (b *Book) Revision() uint64 {
	if b == nil {
		return 0
	}
	return b.revision
}

// Len is the number of grants that count, expired ones included.
func (b *Book) Len() int {
	if b == nil {
		return 0
	}
	return len(b.grants)
}

// Authenticate returns the caller that t proves at nowMicros (microseconds of
// Unix time). An unknown id, a wrong secret and an expired token get the same
// KindUnauthenticated error after the same work.
func (b *Book) Authenticate(t Token, nowMicros int64) (*Caller, error) {
	var nobody Grant
	g := &nobody
	if b != nil {
		if found := b.grants[t.ID]; found != nil {
			g = found
		}
	}
	hash := t.Hash()
	match := subtle.ConstantTimeCompare(hash[:], g.Hash[:]) == 1
	if g == &nobody || !match || g.ExpiresMicros != 0 && nowMicros >= g.ExpiresMicros {
		return nil, refused()
	}
	return &Caller{ID: "token:" + g.ID, Name: g.Name, Revision: b.revision, grant: g}, nil
}

// Caller is an authenticated caller with what it may do at one revision. A
// nil or zero Caller may do nothing.
type Caller struct {
	ID       string // "token:<id>", what records carry
	Name     string // for people
	Revision uint64 // of the settings that judged it

	grant *Grant
}

// Allow returns nil if the caller may do every verb of v on the secret key in
// ns, else a KindDenied error that is the same whatever exists. It never
// allows [Admin].
func (c *Caller) Allow(v Verb, ns dsv.Namespace, key dsv.Key) error {
	if key.IsZero() {
		return denied()
	}
	return c.AllowNamespace(v, ns)
}

// AllowNamespace is Allow for what concerns the namespace ns itself and all
// its secrets: list and watch. It never allows [Admin].
func (c *Caller) AllowNamespace(v Verb, ns dsv.Namespace) error {
	if c == nil || c.grant == nil || v&Admin != 0 || !c.grant.Verbs.Has(v) {
		return denied()
	}
	for _, p := range c.grant.Prefixes {
		if p.Covers(ns) {
			return nil
		}
	}
	return denied()
}

// AllowAdmin returns nil if the caller may change and see what is above all
// namespaces: tokens, policies, the cluster.
func (c *Caller) AllowAdmin() error {
	if c == nil || c.grant == nil || !c.grant.Verbs.Has(Admin) || !c.grant.coversAll() {
		return denied()
	}
	return nil
}

// ExpiresMicros is when the caller's proof ends, 0 for never; long-lived
// answers end then.
func (c *Caller) ExpiresMicros() int64 {
	if c == nil || c.grant == nil {
		return 0
	}
	return c.grant.ExpiresMicros
}

func denied() error {
	return dsv.E(dsv.KindDenied, dsv.CodeDenied, "the caller may not do this here")
}
