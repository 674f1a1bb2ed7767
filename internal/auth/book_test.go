package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv/internal/meta/metapb"
)

func ns(t testing.TB, s string) dsv.Namespace {
	t.Helper()
	n, err := dsv.ParseNamespace(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func key(t testing.TB, s string) dsv.Key {
	t.Helper()
	k, err := dsv.ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// grant makes a token and what it may do.
func grant(t testing.TB, verbs Verb, prefixes ...string) (Token, Grant) {
	t.Helper()
	tok := NewToken()
	g := Grant{ID: tok.ID, Name: "ci", Hash: tok.Hash(), Verbs: verbs, CreatedMicros: 1, CreatedBy: "token:root"}
	for _, s := range prefixes {
		p, err := ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		g.Prefixes = append(g.Prefixes, p)
	}
	return tok, g
}

func login(t testing.TB, tok Token, g Grant) *Caller {
	t.Helper()
	c, err := NewBook(7, []Grant{g}).Authenticate(tok, 100)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAuthenticateGivesOneAnswerToAllWhoFail(t *testing.T) {
	tok, g := grant(t, Read, "")
	g.ExpiresMicros = 1000
	b := NewBook(7, []Grant{g})

	c, err := b.Authenticate(tok, 999)
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "token:"+tok.ID || c.Name != "ci" || c.Revision != 7 || c.ExpiresMicros() != 1000 {
		t.Fatalf("caller %+v", c)
	}

	stranger := NewToken()
	wrong := Token{ID: tok.ID, Secret: stranger.Secret}
	var texts []string
	for name, try := range map[string]func() (*Caller, error){
		"unknown id":   func() (*Caller, error) { return b.Authenticate(stranger, 1) },
		"wrong secret": func() (*Caller, error) { return b.Authenticate(wrong, 1) },
		"expired":      func() (*Caller, error) { return b.Authenticate(tok, 1000) },
		"zero token":   func() (*Caller, error) { return b.Authenticate(Token{}, 1) },
		"no secret":    func() (*Caller, error) { return b.Authenticate(Token{ID: tok.ID}, 1) },
		"zero book":    func() (*Caller, error) { return new(Book).Authenticate(tok, 1) },
		"nil book":     func() (*Caller, error) { return (*Book)(nil).Authenticate(tok, 1) },
		"malformed":    func() (*Caller, error) { _, err := ParseToken([]byte("x")); return nil, err },
	} {
		c, err := try()
		if c != nil || err == nil || dsv.KindOf(err) != dsv.KindUnauthenticated {
			t.Fatalf("%s: %v %v", name, c, err)
		}
		texts = append(texts, fmt.Sprintf("%+v", *dsv.AsError(err)))
	}
	for _, s := range texts {
		if s != texts[0] {
			t.Fatalf("answers differ: %s and %s", s, texts[0])
		}
	}
}

func TestPrefixesCountInWholeSegments(t *testing.T) {
	tests := []struct {
		prefix, ns string
		want       bool
	}{
		{"team-a", "team-a", true},
		{"team-a", "team-a/x", true},
		{"team-a", "team-a/x/y", true},
		{"team-a", "team-ab", false},
		{"team-a", "team-a.x", false},
		{"team-a", "team", false},
		{"team-a/x", "team-a", false},
		{"team-a/x", "team-a/xy", false},
		{"team-a/x", "team-a/x", true},
		{"", "anything/at/all", true},
		{"x", "team-a/x", false},
	}
	for _, tt := range tests {
		tok, g := grant(t, Read, tt.prefix)
		err := login(t, tok, g).Allow(Read, ns(t, tt.ns), key(t, "K"))
		if (err == nil) != tt.want {
			t.Errorf("prefix %q on %q: %v", tt.prefix, tt.ns, err)
		}
	}
	for _, s := range []string{"/", "a/", "/a", "a//b", "..", "a/../b", "a*", strings.Repeat("a/", 8) + "a"} {
		if _, err := ParsePrefix(s); dsv.KindOf(err) != dsv.KindInvalid {
			t.Errorf("prefix %q: %v", s, err)
		}
	}
	if (Prefix{}).Covers(ns(t, "a")) {
		t.Error("the zero prefix covers something")
	}
}

// Every pair of a granted verb and an asked verb, against the obvious rule.
func TestVerbsGiveOnlyThemselves(t *testing.T) {
	n, k := ns(t, "a"), key(t, "K")
	for i := range verbNames {
		tok, g := grant(t, 1<<i, "")
		c := login(t, tok, g)
		for j := range verbNames {
			v := Verb(1) << j
			want := i == j && v != Admin
			if got := c.Allow(v, n, k) == nil; got != want {
				t.Errorf("with %v, %v: %v", g.Verbs, v, got)
			}
			if got := c.AllowNamespace(v, n) == nil; got != want {
				t.Errorf("with %v, %v on the namespace: %v", g.Verbs, v, got)
			}
		}
		if got, want := c.AllowAdmin() == nil, Verb(1)<<i == Admin; got != want {
			t.Errorf("with %v, admin: %v", g.Verbs, got)
		}
	}
	tok, g := grant(t, AllVerbs, "")
	c := login(t, tok, g)
	if err := c.Allow(Read|Update, n, k); err != nil {
		t.Error(err)
	}
	for _, v := range []Verb{0, Admin, Read | Admin, AllVerbs + 1, Read | (AllVerbs + 1)} {
		if c.Allow(v, n, k) == nil {
			t.Errorf("verb set %b allowed", v)
		}
	}
	if c.Allow(Read, dsv.Namespace{}, k) == nil || c.Allow(Read, n, dsv.Key{}) == nil {
		t.Error("a zero name is allowed")
	}
}

func TestAdminNeverComesFromAPattern(t *testing.T) {
	_, g := grant(t, Admin|Read, "a")
	if g.Validate() == nil {
		t.Error("admin under a prefix is valid")
	}
	if NewBook(1, []Grant{g}).Len() != 0 {
		t.Error("the book keeps a faulty grant")
	}
	// Even a caller that should not exist is refused.
	c := &Caller{grant: &g}
	if c.AllowAdmin() == nil {
		t.Error("admin through a namespace prefix")
	}
}

func TestZeroValuesDeny(t *testing.T) {
	n, k := ns(t, "a"), key(t, "K")
	for _, c := range []*Caller{nil, {}, {grant: &Grant{}}, {grant: &Grant{Verbs: AllVerbs}}, {grant: &Grant{Verbs: AllVerbs, Prefixes: []Prefix{{}}}}} {
		for _, err := range []error{c.Allow(Read, n, k), c.AllowNamespace(List, n), c.AllowAdmin()} {
			if dsv.KindOf(err) != dsv.KindDenied || err == nil || err.Error() != denied().Error() {
				t.Errorf("%+v: %v", c, err)
			}
		}
	}
	if (*Book)(nil).Revision() != 0 || (*Book)(nil).Len() != 0 {
		t.Error("nil book")
	}
}

func TestBookIsASnapshot(t *testing.T) {
	tok, g := grant(t, Read, "a")
	grants := []Grant{g}
	b := NewBook(1, grants)
	grants[0].Prefixes[0], _ = ParsePrefix("")
	grants[0].Verbs = AllVerbs
	c, err := b.Authenticate(tok, 0)
	if err != nil {
		t.Fatal(err)
	}
	if c.Allow(Read, ns(t, "b"), key(t, "K")) == nil || c.Allow(Update, ns(t, "a"), key(t, "K")) == nil {
		t.Fatal("a change of the caller's slice reached the book")
	}
	// A later faulty grant of the same id takes the earlier away.
	bad := g
	bad.Verbs = 0
	if _, err := NewBook(1, []Grant{g, bad}).Authenticate(tok, 0); err == nil {
		t.Fatal("a replaced grant still counts")
	}
}

func TestProtoRoundTrip(t *testing.T) {
	_, g := grant(t, Read|Admin|Watch, "", "a/b")
	g.ExpiresMicros = 5
	got, err := FromProto(g.ToProto())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(g, got, cmp.AllowUnexported(Prefix{}, dsv.Namespace{})); d != "" {
		t.Fatal(d)
	}
}

func TestFromProtoReportsEveryFault(t *testing.T) {
	m := &metapb.Token{Id: "x", Hash: []byte{1}, Name: "a\nb", Prefixes: []string{"a/", "ok", "b*"},
		Verbs: []string{"read", "fly", "swim"}, ExpiresUs: -1, CreatedUs: -2, CreatedBy: strings.Repeat("x", 129)}
	_, err := FromProto(m)
	e := dsv.AsError(err)
	if e == nil || e.Kind != dsv.KindInvalid {
		t.Fatal(err)
	}
	for _, want := range []string{"id ", "hash ", "name ", "created_by ", "empty segment", "outside", "fly", "swim", "expires_us", "created_us"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not reported in %v", want, err)
		}
	}
	if _, err := FromProto(nil); err == nil {
		t.Error("a nil setting is a grant")
	}
	_, err = ParseVerbs([]string{"read", "READ", "", strings.Repeat("z", 999)})
	if e := dsv.AsError(err); len(e.Faults) != 3 || len(e.Error()) > 400 {
		t.Errorf("%v", err)
	}
	if !errors.Is(err, &dsv.Error{Kind: dsv.KindInvalid}) {
		t.Error("not invalid")
	}
}

// A decision at 1,000 grants, with the longest list of prefixes, stays far
// below 10 µs; the bound here is loose for a loaded machine.
func TestDecisionIsFast(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes it ten times slower")
	}
	b, tok := thousand(t)
	n, k := ns(t, "team-63/x"), key(t, "K")
	const rounds = 1000
	best := time.Hour
	for range 10 {
		start := time.Now()
		for range rounds {
			c, err := b.Authenticate(tok, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Allow(Read, n, k); err != nil {
				t.Fatal(err)
			}
		}
		best = min(best, time.Since(start)/rounds)
	}
	if best > 10*time.Microsecond {
		t.Fatalf("a decision takes %v", best)
	}
}

func BenchmarkDecide(b *testing.B) {
	book, tok := thousand(b)
	n, k := ns(b, "team-63/x"), key(b, "K")
	b.ReportAllocs()
	for b.Loop() {
		c, _ := book.Authenticate(tok, 1)
		if c.Allow(Read, n, k) != nil {
			b.Fatal("denied")
		}
	}
}

func thousand(t testing.TB) (*Book, Token) {
	var prefixes []string
	for i := range MaxPrefixes {
		prefixes = append(prefixes, fmt.Sprintf("team-%d", i))
	}
	var grants []Grant
	var tok Token
	for range 1000 {
		var g Grant
		tok, g = grant(t, Read|List, prefixes...)
		grants = append(grants, g)
	}
	return NewBook(1, grants), tok
}
