package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// fate is what a client was told of its request.
type fate int

const (
	done     fate = iota // acknowledged
	judged               // 404, 409, 410, 412: refused for what is there
	noEffect             // 503, 429, or never sent: certainly nothing happened
	unknown              // 504: the operation's id settles it
	broken               // the connection broke behind the request: nobody knows
)

// fateOf reads an error. One that no request may ever meet fails the test.
func fateOf(t *testing.T, err error) fate {
	if err == nil {
		return done
	}
	e := dsv.AsError(err)
	switch e.Kind {
	case dsv.KindNotFound, dsv.KindConflict, dsv.KindGone, dsv.KindPrecondition:
		return judged
	case dsv.KindUnavailable, dsv.KindTooMany:
		return noEffect
	case dsv.KindUnknownOutcome:
		if e.Code == client.CodeUnreachable {
			return broken
		}
		return unknown
	}
	t.Errorf("an answer that must not be: %d %s: %v", e.Kind.Status(), e.Code, err)
	return broken
}

// entry is one write and what came of it.
type entry struct {
	path    dsv.Path
	value   string
	fate    fate
	version uint64
	err     *dsv.Error
	node    int
	began   time.Time
	took    time.Duration
}

// ledger keeps what writers were told, and holds the cluster to it.
type ledger struct {
	mu      sync.Mutex
	entries []entry
}

func (l *ledger) add(e entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

func (l *ledger) count(f fate) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.fate == f {
			n++
		}
	}
	return n
}

// put writes through node i and keeps what it was told.
func (l *ledger) put(t *testing.T, w *world, i int, p dsv.Path, value string) entry {
	e := entry{path: p, value: value, node: i, began: time.Now()}
	got, err := w.at[i].Put(t.Context(), p, secret(value), nil)
	e.took, e.version, e.err, e.fate = time.Since(e.began), got.Version, dsv.AsError(err), fateOf(t, err)
	l.add(e)
	return e
}

// load lets n clients write to some keys of a namespace until ctx ends. A
// client keeps to one node; after a refusal it waits a little.
func (l *ledger) load(ctx context.Context, t *testing.T, w *world, n int, ns string, keys int) (wait func()) {
	var wg sync.WaitGroup
	for c := range n {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(c), uint64(time.Now().UnixNano())))
			for i := 0; ctx.Err() == nil; i++ {
				p := pathOf(t, ns, fmt.Sprintf("KEY-%d", r.IntN(keys)))
				if e := l.put(t, w, c%w.Nodes(), p, fmt.Sprintf("%s-%d-%d", ns, c, i)); e.fate == done {
					continue
				}
				select {
				case <-ctx.Done():
				case <-time.After(40 * time.Millisecond):
				}
			}
		})
	}
	return wg.Wait
}

// check holds the cluster to all that the writers were told: every
// acknowledged version is there with its value, on every node; what was
// refused is nowhere; what was not known is settled, the same on every node;
// and no version is there that nobody wrote.
func (l *ledger) check(t *testing.T, w *world) {
	t.Helper()
	byPath := map[dsv.Path][]entry{}
	for _, e := range l.entries {
		if e.fate == unknown {
			e = w.settle(t, e)
		}
		byPath[e.path] = append(byPath[e.path], e)
	}
	for p, entries := range byPath {
		checkPath(t, p, entries, w.values(t, p))
	}
}

func checkPath(t *testing.T, p dsv.Path, entries []entry, values map[uint64]string) {
	t.Helper()
	at := map[string]uint64{}
	for v, value := range values {
		if other, twice := at[value]; twice {
			t.Errorf("%s: version %d and %d hold the same write %q", p, other, v, value)
		}
		at[value] = v
	}
	for _, e := range entries {
		v, there := at[e.value]
		delete(at, e.value)
		switch e.fate {
		case done:
			if values[e.version] != e.value {
				t.Errorf("%s: %s acknowledged version %d as %q; it holds %q", p, nodeNo(e.node), e.version, e.value, values[e.version])
			}
		case noEffect, judged:
			if there {
				t.Errorf("%s: %q was refused (%v) and is version %d all the same", p, e.value, e.err, v)
			}
		}
	}
	for value, v := range at {
		t.Errorf("%s: version %d holds %q, which nobody wrote", p, v, value)
	}
}

func nodeNo(i int) string { return fmt.Sprintf("node %d", i+1) }

// settle asks every node what became of a 504 until it is decided. All must say
// the same.
func (w *world) settle(t *testing.T, e entry) entry {
	t.Helper()
	id, err := dsv.ParseTxID(e.err.Operation)
	if err != nil {
		t.Errorf("a 504 without the id of its operation: %v", e.err)
		return e
	}
	var first client.Outcome
	for i, cl := range w.at {
		var o client.Outcome
		until(t, "the operation settles", func() (err error) {
			o, err = cl.Operation(t.Context(), id)
			if err == nil && o.State == client.Pending {
				err = fmt.Errorf("%s says it is pending", nodeNo(i))
			}
			return err
		})
		if i == 0 {
			first = o
		} else if o.State != first.State || o.Code != first.Code || !slices.Equal(o.Results, first.Results) {
			t.Errorf("%s: operation %s is %+v on node 1 and %+v on %s", e.path, id, first, o, nodeNo(i))
		}
	}
	e.fate = noEffect
	if first.State == client.Committed {
		if len(first.Results) != 1 {
			t.Fatalf("a committed put without a result: %+v", first)
		}
		e.fate, e.version = done, first.Results[0].Version
	}
	return e
}

// sameHistory reads the history of a secret on every node; all must tell the
// same.
func (w *world) sameHistory(t *testing.T, p dsv.Path) []client.Version {
	t.Helper()
	var first []client.Version
	for i, cl := range w.at {
		h, err := cl.History(t.Context(), p, nil)
		if dsv.KindOf(err) == dsv.KindNotFound && err != nil {
			h.Versions, err = nil, nil
		}
		if err != nil {
			t.Fatalf("history of %s on %s: %v", p, nodeNo(i), err)
		}
		if i == 0 {
			first = h.Versions
		} else if d := cmp.Diff(first, h.Versions); d != "" {
			t.Errorf("the history of %s differs between node 1 and %s:\n%s", p, nodeNo(i), d)
		}
	}
	for i, v := range first {
		if v.Version != uint64(i+1) {
			t.Errorf("%s: version %d is in place %d of the history", p, v.Version, i+1)
		}
	}
	return first
}

// values reads every version of a secret on every node. All must tell the same.
func (w *world) values(t *testing.T, p dsv.Path) map[uint64]string {
	t.Helper()
	history := w.sameHistory(t, p)
	out := make(map[uint64]string, len(history))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, cl := range w.at {
		wg.Go(func() {
			for _, v := range history {
				var f client.Found
				err := within(t.Context(), limit, func() (err error) {
					f, err = cl.Get(t.Context(), p, &client.ReadOptions{Version: v.Version})
					return err
				})
				if err != nil {
					t.Errorf("%s, version %d, on %s: %v", p, v.Version, nodeNo(i), err)
					continue
				}
				mu.Lock()
				if old, ok := out[v.Version]; ok && old != text(f) {
					t.Errorf("%s: version %d is %q on one node and %q on %s", p, v.Version, old, text(f), nodeNo(i))
				}
				out[v.Version] = text(f)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out
}
