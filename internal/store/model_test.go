package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
)

// The model is a plain map. Several transactions are open at once; each has
// its own copy of the map of its Begin.

type modelItem struct {
	value string
	rev   uint64
}

type modelTxn struct {
	tx    Txn
	state map[string]modelItem // snapshot and own writes
	wrote bool
	began uint64
}

// modelKeys collide, nest and carry.
var modelKeys = []string{"a", "a:", "a:1", "a:2", "a\xff", "a\xff\xff", "b", "b\x00", "\x00", "\xff", "c:1", "c:2", "c:3"}

var modelPrefixes = []string{"", "a", "a:", "a\xff", "c:", "\xff", "zz"}

func (m *modelTxn) keys(prefix string, p Page) (keys []string) {
	for k := range m.state {
		if strings.HasPrefix(k, prefix) && (p.After == nil || k > string(p.After)) &&
			(p.From == nil || k >= string(p.From)) && (p.To == nil || k < string(p.To)) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	if p.Reverse {
		slices.Reverse(keys)
	}
	return keys
}

func (m *modelTxn) step(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	key := modelKeys[rnd.IntN(len(modelKeys))]
	prefix := modelPrefixes[rnd.IntN(len(modelPrefixes))]
	switch rnd.IntN(9) {
	case 0, 1, 2:
		m.put(t, rnd, key)
	case 3:
		it, err := m.tx.Get([]byte(key))
		want, ok := m.state[key]
		if ok != (err == nil) || ok && (string(it.Value) != want.value || it.Revision != want.rev) {
			t.Fatalf("Get(%q) = %q at %d, %v; model %+v %v", key, it.Value, it.Revision, err, want, ok)
		}
	case 4:
		n, err := m.tx.Delete([]byte(key))
		must(t, err)
		_, ok := m.state[key]
		same(t, "Delete", n == 1, ok)
		delete(m.state, key)
		m.wrote = m.wrote || ok
	case 5:
		n, err := m.tx.Count([]byte(prefix))
		must(t, err)
		same(t, "Count", n, len(m.keys(prefix, Page{})))
	case 6:
		if rnd.IntN(4) > 0 {
			return
		}
		n, err := m.tx.DeletePrefix([]byte(prefix))
		must(t, err)
		keys := m.keys(prefix, Page{})
		same(t, "DeletePrefix", n, len(keys))
		for _, k := range keys {
			delete(m.state, k)
			m.wrote = true
		}
	default:
		m.scan(t, rnd, prefix)
	}
}

func (m *modelTxn) put(t *testing.T, rnd *rand.Rand, key string) {
	t.Helper()
	current, there := m.state[key]
	p := Pair{Key: []byte(key), Value: fmt.Append(nil, rnd.IntN(1000)), Delete: rnd.IntN(5) == 0}
	switch rnd.IntN(4) {
	case 0:
		p.If.Absent = true
	case 1:
		p.If.Revision = max(1, current.rev-uint64(rnd.IntN(2)))
	}
	holds := !(p.If.Absent && there) && (p.If.Revision == 0 || there && p.If.Revision == current.rev)
	err := m.tx.Put(p)
	if holds != (err == nil) {
		t.Fatalf("Put(%q, delete %v, if %+v): %v; model %+v %v", key, p.Delete, p.If, err, current, there)
	}
	switch {
	case err != nil:
		wantErr(t, err, ErrConflict)
	case p.Delete:
		delete(m.state, key)
		m.wrote = m.wrote || there
	default:
		m.state[key] = modelItem{value: string(p.Value)}
		m.wrote = true
	}
}

func (m *modelTxn) scan(t *testing.T, rnd *rand.Rand, prefix string) {
	t.Helper()
	p := Page{Limit: rnd.IntN(5), Reverse: rnd.IntN(3) == 0, KeysOnly: rnd.IntN(2) == 0}
	bound := func() []byte {
		if rnd.IntN(3) > 0 {
			return nil
		}
		return []byte(modelKeys[rnd.IntN(len(modelKeys))])
	}
	p.After, p.From, p.To = bound(), bound(), bound()
	items, more, err := m.tx.Scan([]byte(prefix), p)
	must(t, err)
	want := m.keys(prefix, p)
	wantMore := p.Limit > 0 && len(want) > p.Limit
	if wantMore {
		want = want[:p.Limit]
	}
	var got []string
	for _, it := range items {
		got = append(got, string(it.Key))
		w := m.state[string(it.Key)]
		if it.Revision != w.rev || !p.KeysOnly && string(it.Value) != w.value {
			t.Fatalf("scanned %q = %q at %d; model %+v", it.Key, it.Value, it.Revision, w)
		}
	}
	same(t, fmt.Sprintf("Scan(%q, %+v)", prefix, p), got, want)
	same(t, "more", more, wantMore)
}

func TestAgainstModel(t *testing.T) {
	reopen := func(t *testing.T, s Store) Store { return s }
	t.Run("memory", func(t *testing.T) { runModel(t, OpenMemory(Options{}), reopen, 6000) })
	for name, cache := range map[string]int{"badger": 0, "badger with a cache of a few rows": 1200} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opt := Options{memTable: 1 << 20, cache: cache, Watched: watched("a")}
			clean := false
			runModel(t, openTest(t, dir, opt), func(t *testing.T, s Store) Store {
				if clean = !clean; clean {
					must(t, s.Close())
				} else { // crash
					dir = copyDir(t, dir)
					must(t, s.Close())
				}
				return openTest(t, dir, opt)
			}, 1500)
		})
	}
}

func runModel(t *testing.T, s Store, reopen func(*testing.T, Store) Store, steps int) {
	rnd := rand.New(rand.NewPCG(uint64(steps), 5))
	committed := map[string]modelItem{}
	newest := s.Revision()
	var open []*modelTxn
	conflicts, commits := 0, 0
	for i := range steps {
		if i%(steps/3) == steps/4 {
			for _, m := range open {
				must(t, m.tx.Abort())
			}
			open = nil
			s = reopen(t, s)
			same(t, "revision after reopening", s.Revision(), newest)
		}
		if len(open) < 3 {
			open = append(open, &modelTxn{begin(t, s, ReadWrite), maps.Clone(committed), false, newest})
		}
		at := rnd.IntN(len(open))
		m := open[at]
		if rnd.IntN(8) > 0 {
			m.step(t, rnd)
			continue
		}
		open = slices.Delete(open, at, at+1)
		if rnd.IntN(6) == 0 {
			must(t, m.tx.Abort())
			continue
		}
		rev, err := m.tx.Commit(context.Background())
		switch {
		case err != nil:
			wantErr(t, err, ErrConflict)
			if m.began == newest {
				t.Fatal("conflict with nobody")
			}
			conflicts++
		case m.began == newest || !m.wrote:
			commits++
			if !m.wrote && rev < m.began {
				t.Fatalf("commit of nothing at %d, begun at %d", rev, m.began)
			}
			if rev > newest {
				stamp(m.state, rev)
				committed, newest = m.state, rev
			}
		case rev == m.began: // it took back all it wrote
			for k, it := range m.state {
				if it.rev == 0 {
					t.Fatalf("own write of %q is lost", k)
				}
			}
		default: // it ran beside others: what it wrote goes on top
			commits++
			if rev <= newest {
				t.Fatalf("revision %d after %d", rev, newest)
			}
			stamp(m.state, rev)
			newest, committed = rev, reread(t, s)
			for k, it := range m.state {
				if it.rev == rev && committed[k] != it {
					t.Fatalf("committed %q is %+v, not %+v", k, committed[k], it)
				}
			}
		}
		same(t, "committed state", reread(t, s), committed)
	}
	for _, m := range open {
		must(t, m.tx.Abort())
	}
	must(t, s.Close())
	if conflicts == 0 || commits < steps/20 {
		t.Fatalf("%d conflicts, %d commits: the test tests nothing", conflicts, commits)
	}
}

// stamp gives own writes their revision.
func stamp(state map[string]modelItem, rev uint64) {
	for k, it := range state {
		if it.rev == 0 {
			state[k] = modelItem{it.value, rev}
		}
	}
}

func reread(t *testing.T, s Store) map[string]modelItem {
	t.Helper()
	tx := begin(t, s, ReadOnly)
	defer tx.Abort()
	items, _, err := tx.Scan(nil, Page{})
	must(t, err)
	state := map[string]modelItem{}
	for _, it := range items {
		state[string(it.Key)] = modelItem{string(it.Value), it.Revision}
	}
	return state
}

// Serializable: transactions that ran at once, replayed one after the other in
// the order of their revisions, read the same.
func TestSerializable(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		type done struct {
			rev    uint64
			reads  func(state map[string]modelItem) string // "" if they fit
			writes map[string]string                       // "" deletes
		}
		var mu sync.Mutex
		var log []done
		conflicts := 0
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(9, uint64(w)))
				for range 60 {
					d := done{writes: map[string]string{}}
					var checks []func(map[string]modelItem) string
					tx, _ := s.Begin(ReadWrite)
					for range 1 + rnd.IntN(3) {
						checks = append(checks, readSomething(t, tx, rnd))
						runtime.Gosched() // let others in between
					}
					for i := range 1 + rnd.IntN(2) {
						k := modelKeys[rnd.IntN(len(modelKeys))]
						if rnd.IntN(3) == 0 {
							if n, err := tx.Delete([]byte(k)); err != nil {
								t.Error(err)
							} else if n == 1 {
								d.writes[k] = ""
							}
							continue
						}
						d.writes[k] = fmt.Sprint(w, i, rnd.IntN(1000))
						if err := tx.Put(Pair{Key: []byte(k), Value: []byte(d.writes[k])}); err != nil {
							t.Error(err)
						}
					}
					var err error
					d.rev, err = tx.Commit(context.Background())
					d.reads = func(state map[string]modelItem) string {
						for _, c := range checks {
							if s := c(state); s != "" {
								return s
							}
						}
						return ""
					}
					// One that took back all it wrote has its snapshot's revision.
					empty := d.rev == newestRevision(tx.(*txn).epoch.tick)
					mu.Lock()
					if err == nil && !empty {
						log = append(log, d)
					} else if errors.Is(err, ErrConflict) {
						conflicts++
					} else if err != nil {
						t.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		slices.SortFunc(log, func(a, b done) int { return int(int64(a.rev) - int64(b.rev)) })
		state := map[string]modelItem{}
		for _, d := range log {
			if s := d.reads(state); s != "" {
				t.Fatalf("transaction at revision %d: %s", d.rev, s)
			}
			for k, v := range d.writes {
				if v == "" {
					delete(state, k)
				} else {
					state[k] = modelItem{v, d.rev}
				}
			}
		}
		same(t, "final state", reread(t, s), state)
		if conflicts == 0 || len(log) < 50 {
			t.Fatalf("%d conflicts, %d commits: the test tests nothing", conflicts, len(log))
		}
	})
}

// readSomething reads before any write of the transaction, and returns how to
// check that a state reads the same.
func readSomething(t *testing.T, tx Txn, rnd *rand.Rand) func(map[string]modelItem) string {
	if rnd.IntN(2) == 0 {
		k := modelKeys[rnd.IntN(len(modelKeys))]
		it, err := tx.Get([]byte(k))
		got := modelItem{string(it.Value), it.Revision}
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		return func(state map[string]modelItem) string {
			if state[k] != got {
				return fmt.Sprintf("read %q = %+v, in the order it is %+v", k, got, state[k])
			}
			return ""
		}
	}
	prefix := modelPrefixes[rnd.IntN(len(modelPrefixes))]
	p := Page{Limit: rnd.IntN(3), Reverse: rnd.IntN(2) == 0}
	items, more, err := tx.Scan([]byte(prefix), p)
	if err != nil {
		t.Error(err)
	}
	return func(state map[string]modelItem) string {
		keys := (&modelTxn{state: state}).keys(prefix, p)
		wantMore := p.Limit > 0 && len(keys) > p.Limit
		if wantMore {
			keys = keys[:p.Limit]
		}
		ok := len(keys) == len(items) && more == wantMore
		for i := 0; ok && i < len(keys); i++ {
			ok = keys[i] == string(items[i].Key) && state[keys[i]] == modelItem{string(items[i].Value), items[i].Revision}
		}
		if !ok {
			return fmt.Sprintf("scanned %d items under %q with %+v, in the order there are %q", len(items), prefix, p, keys)
		}
		return ""
	}
}
