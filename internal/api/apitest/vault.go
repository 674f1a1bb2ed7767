package apitest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// Epoch is the instant of the first write; each write is a second later.
var Epoch = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)

type secret struct {
	versions []version
}

type version struct {
	coordinator.Version
	value []byte
}

// Vault is a vault in memory, safe for concurrent use.
type Vault struct {
	mu      sync.Mutex
	now     time.Time
	offset  int64
	secrets map[dsv.Path]*secret
	grants  map[string]auth.Grant
	done    map[string]coordinator.Written // by idempotency key
	fail    func(op string) error
	state   coordinator.Status
	outcome string // of every operation; "" = committed

	// Calls counts the calls that got through, by name.
	Calls map[string]int
	// LastMeta is that of the last write, LastRead the last read asked for.
	LastMeta coordinator.RequestMeta
	LastRead coordinator.Read
}

// NewVault is an empty vault that knows nobody.
func NewVault() *Vault {
	return &Vault{
		now: Epoch, secrets: map[dsv.Path]*secret{}, grants: map[string]auth.Grant{},
		done: map[string]coordinator.Written{}, Calls: map[string]int{},
	}
}

// Token makes a token for verbs under prefixes and returns its text.
func (v *Vault) Token(verbs auth.Verb, prefixes ...string) string {
	t := auth.NewToken()
	g := auth.Grant{ID: t.ID, Name: "test", Hash: t.Hash(), Verbs: verbs}
	for _, p := range prefixes {
		prefix, err := auth.ParsePrefix(p)
		if err != nil {
			panic(err)
		}
		g.Prefixes = append(g.Prefixes, prefix)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.grants[t.ID] = g
	return string(t.Text().Reveal())
}

// Authenticate implements the vault.
func (v *Vault) Authenticate(_ context.Context, proof dsv.Secret) (*coordinator.Session, error) {
	t, err := auth.ParseToken(proof.Reveal())
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	g := v.grants[t.ID]
	caller, err := auth.NewBook(1, []auth.Grant{g}).Authenticate(t, time.Now().UnixMicro())
	if err != nil {
		return nil, err
	}
	return &coordinator.Session{Caller: caller, Proof: proof}, nil
}

// FailWith has f asked before every call by its name ("create", "get", …); an
// error fails the call. nil ends it.
func (v *Vault) FailWith(f func(op string) error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fail = f
}

// SetState sets what Status answers.
func (v *Vault) SetState(s coordinator.Status) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state = s
}

// SetOutcome sets the state that Operation tells of every operation.
func (v *Vault) SetOutcome(state string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.outcome = state
}

// enter counts a call, or fails it.
func (v *Vault) enter(op string) error {
	if v.fail != nil {
		if err := v.fail(op); err != nil {
			return err
		}
	}
	v.Calls[op]++
	return nil
}

// Count is how many calls of that name got through.
func (v *Vault) Count(op string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.Calls[op]
}

func (v *Vault) tick() (time.Time, dsv.Position) {
	t := v.now
	v.now = v.now.Add(time.Second)
	v.offset++
	return t, dsv.Position{Partition: 3, Offset: v.offset}
}

func (v *Vault) position() dsv.Position { return dsv.Position{Partition: 3, Offset: v.offset} }

func fault(kind dsv.Kind, code dsv.Code, detail string) error { return dsv.E(kind, code, detail) }

func (s *secret) live() bool {
	return s != nil && len(s.versions) > 0 && s.versions[len(s.versions)-1].Current
}

// Create implements the vault.
func (v *Vault) Create(_ context.Context, s *coordinator.Session, w coordinator.Write) (coordinator.Written, error) {
	return v.write("create", s, w, func(live bool) error {
		if live {
			return fault(dsv.KindConflict, dsv.CodeExists, "the secret exists")
		}
		return nil
	})
}

// Update implements the vault.
func (v *Vault) Update(_ context.Context, s *coordinator.Session, w coordinator.Write) (coordinator.Written, error) {
	return v.write("update", s, w, mustLive)
}

// Put implements the vault.
func (v *Vault) Put(_ context.Context, s *coordinator.Session, w coordinator.Write) (coordinator.Written, error) {
	return v.write("put", s, w, func(bool) error { return nil })
}

func mustLive(live bool) error {
	if !live {
		return fault(dsv.KindNotFound, dsv.CodeNotFound, "there is no such secret")
	}
	return nil
}

func (v *Vault) write(op string, s *coordinator.Session, w coordinator.Write, pre func(bool) error) (coordinator.Written, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter(op); err != nil {
		return coordinator.Written{}, err
	}
	v.LastMeta = w.Meta
	if done, ok := v.done[w.Meta.IdempotencyKey]; ok && w.Meta.IdempotencyKey != "" {
		return done, nil
	}
	sec := v.secrets[w.Path]
	if err := pre(sec.live()); err != nil {
		return coordinator.Written{}, err
	}
	if err := checkVersion(sec, w.IfVersion); err != nil {
		return coordinator.Written{}, err
	}
	if sec.live() && s.Caller.Allow(auth.Read, w.Path.NS, w.Path.Key) == nil {
		last := sec.versions[len(sec.versions)-1]
		if string(last.value) == string(w.Value.Reveal()) {
			return coordinator.Written{Version: last.Version.Version, ValidFrom: last.Intervals[0].From, Unchanged: true, Position: v.position()}, nil
		}
	}
	out := v.append(w.Path, s, w.Value, w.Meta)
	if w.Meta.IdempotencyKey != "" {
		v.done[w.Meta.IdempotencyKey] = out
	}
	return out, nil
}

func (v *Vault) append(p dsv.Path, s *coordinator.Session, value dsv.Secret, m coordinator.RequestMeta) coordinator.Written {
	sec := v.secrets[p]
	if sec == nil {
		sec = &secret{}
		v.secrets[p] = sec
	}
	from, at := v.tick()
	out := coordinator.Written{ValidFrom: from, Position: at, Operation: dsv.TxID{Partition: 3, T0: at.Offset}}
	if sec.live() {
		sec.close(from)
		out.ValidTo = from
	}
	out.Version = uint64(len(sec.versions) + 1)
	sec.versions = append(sec.versions, version{
		Version: coordinator.Version{
			Version: out.Version, Intervals: []coordinator.Interval{{From: from}}, RequestedAt: m.RequestedAt,
			Author: s.Caller.ID, PaddedSize: 64, Current: true,
		},
		value: append([]byte(nil), value.Reveal()...),
	})
	return out
}

func (s *secret) close(at time.Time) {
	last := &s.versions[len(s.versions)-1]
	last.Intervals[len(last.Intervals)-1].To = at
	last.Current = false
}

func checkVersion(s *secret, want *uint64) error {
	if want == nil {
		return nil
	}
	have := uint64(0)
	if s.live() {
		have = s.versions[len(s.versions)-1].Version.Version
	}
	if have != *want {
		return fault(dsv.KindPrecondition, dsv.CodeVersionMismatch, "the live version is another")
	}
	return nil
}

// Delete implements the vault.
func (v *Vault) Delete(_ context.Context, _ *coordinator.Session, ch coordinator.Change) (coordinator.Written, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("delete"); err != nil {
		return coordinator.Written{}, err
	}
	v.LastMeta = ch.Meta
	sec := v.secrets[ch.Path]
	if err := mustLive(sec.live()); err != nil {
		return coordinator.Written{}, err
	}
	if err := checkVersion(sec, ch.IfVersion); err != nil {
		return coordinator.Written{}, err
	}
	at, pos := v.tick()
	sec.close(at)
	return coordinator.Written{Version: uint64(len(sec.versions)), ValidTo: at, Operation: dsv.TxID{T0: pos.Offset}, Position: pos}, nil
}

// Undelete implements the vault.
func (v *Vault) Undelete(_ context.Context, _ *coordinator.Session, ch coordinator.Change) (coordinator.Written, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("undelete"); err != nil {
		return coordinator.Written{}, err
	}
	sec := v.secrets[ch.Path]
	switch {
	case sec == nil:
		return coordinator.Written{}, mustLive(false)
	case sec.live():
		return coordinator.Written{}, fault(dsv.KindConflict, dsv.CodeExists, "the secret is live")
	}
	last := &sec.versions[len(sec.versions)-1]
	if last.Destroyed {
		return coordinator.Written{}, fault(dsv.KindGone, dsv.CodeDestroyed, "the last version is destroyed")
	}
	at, pos := v.tick()
	last.Intervals = append(last.Intervals, coordinator.Interval{From: at})
	last.Current = true
	return coordinator.Written{Version: last.Version.Version, ValidFrom: at, Operation: dsv.TxID{T0: pos.Offset}, Position: pos}, nil
}

// Destroy implements the vault.
func (v *Vault) Destroy(_ context.Context, _ *coordinator.Session, d coordinator.Destroy) (coordinator.Written, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("destroy"); err != nil {
		return coordinator.Written{}, err
	}
	sec := v.secrets[d.Path]
	if sec == nil {
		return coordinator.Written{}, mustLive(false)
	}
	at, pos := v.tick()
	out := coordinator.Written{Operation: dsv.TxID{T0: pos.Offset}, Position: pos}
	for i := range sec.versions {
		ver := &sec.versions[i]
		if !d.All && !slices.Contains(d.Versions, ver.Version.Version) {
			continue
		}
		if ver.Current {
			sec.close(at)
			out.ValidTo = at
		}
		ver.Destroyed, ver.value = true, nil
	}
	return out, nil
}

// Get implements the vault.
func (v *Vault) Get(_ context.Context, _ *coordinator.Session, r coordinator.Read) (coordinator.Found, error) {
	return v.read("get", r, true)
}

// Head implements the vault.
func (v *Vault) Head(_ context.Context, _ *coordinator.Session, r coordinator.Read) (coordinator.Found, error) {
	return v.read("head", r, false)
}

func (v *Vault) read(op string, r coordinator.Read, value bool) (coordinator.Found, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter(op); err != nil {
		return coordinator.Found{}, err
	}
	v.LastRead = r
	ver, iv := v.secrets[r.Path].find(r)
	if ver == nil {
		return coordinator.Found{}, mustLive(false)
	}
	if ver.Destroyed {
		return coordinator.Found{}, fault(dsv.KindGone, dsv.CodeDestroyed, "the version was destroyed")
	}
	f := coordinator.Found{Version: ver.Version, Interval: iv, Position: v.position()}
	if r.Consistency == coordinator.Local {
		f.Lag = 25 * time.Millisecond
	}
	if value {
		f.Value = dsv.SecretOf(append([]byte(nil), ver.value...))
	}
	return f, nil
}

func (s *secret) find(r coordinator.Read) (*version, coordinator.Interval) {
	if s == nil {
		return nil, coordinator.Interval{}
	}
	for i := len(s.versions) - 1; i >= 0; i-- {
		ver := &s.versions[i]
		last := ver.Intervals[len(ver.Intervals)-1]
		switch {
		case r.Version != 0 && ver.Version.Version == r.Version:
			return ver, last
		case r.Version == 0 && r.At.IsZero() && ver.Current:
			return ver, last
		case r.Version == 0 && !r.At.IsZero():
			for _, iv := range ver.Intervals {
				if !r.At.Before(iv.From) && (iv.To.IsZero() || r.At.Before(iv.To)) {
					return ver, iv
				}
			}
		}
	}
	return nil, coordinator.Interval{}
}

// History implements the vault.
func (v *Vault) History(_ context.Context, _ *coordinator.Session, r coordinator.Read) ([]coordinator.Version, dsv.Position, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("history"); err != nil {
		return nil, dsv.Position{}, err
	}
	sec := v.secrets[r.Path]
	if sec == nil {
		return nil, dsv.Position{}, mustLive(false)
	}
	var out []coordinator.Version
	for _, ver := range sec.versions {
		out = append(out, ver.Version)
	}
	return out, v.position(), nil
}

// List implements the vault.
func (v *Vault) List(_ context.Context, _ *coordinator.Session, l coordinator.ListRequest) (coordinator.Names, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("list"); err != nil {
		return coordinator.Names{}, err
	}
	out := coordinator.Names{Position: v.position()}
	for p, s := range v.secrets {
		k := p.Key.String()
		if p.NS == l.NS && strings.HasPrefix(k, l.Prefix) && k > l.After && (l.Deleted || s.live()) {
			out.Names = append(out.Names, coordinator.Name{Key: p.Key, Version: uint64(len(s.versions)), Deleted: !s.live()})
		}
	}
	slices.SortFunc(out.Names, func(a, b coordinator.Name) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	if len(out.Names) > l.Limit {
		out.Names = out.Names[:l.Limit]
		out.Next = out.Names[l.Limit-1].Key.String()
	}
	return out, nil
}
