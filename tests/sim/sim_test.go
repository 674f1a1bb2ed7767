package sim

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/history"
)

var (
	seed = flag.Uint64("seed", 1, "of the simulation")
	ops  = flag.Int("ops", 1000, "operations of the simulation")
)

const clients = 6

// TestSimulation runs 1,000 operations against five nodes while messages are
// delayed, one node is cut off for a while, one crashes, and one loses its
// whole directory. Nothing acknowledged may be lost, every answer must fit one
// order, all nodes must end with the same state and every hole refilled.
func TestSimulation(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var mu sync.Mutex
		w := newWorld(t, dir, lockedWriter{&mu, &out})
		defer func() {
			w.close()
			if t.Failed() {
				mu.Lock()
				t.Logf("seed %d; the nodes said:\n%s", *seed, tail(out.String(), 6000))
				mu.Unlock()
			}
		}()
		began := time.Now()
		h := history.New()
		acked := &ackedVersions{m: map[string]map[uint64]string{}}
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() { w.client(c, *ops/clients, h, acked) })
		}
		wg.Go(func() { w.faults(rand.New(rand.NewPCG(*seed, 99))) })
		wg.Wait()
		w.checkQuiet()
		if err := h.Check(time.Hour); err != nil {
			t.Error(err)
		}
		w.checkAcked(acked)
		if n := h.Len(); n < *ops/2 {
			t.Errorf("only %d of %d operations counted", n, *ops)
		}
		t.Logf("seed %d: %d operations counted, %d of unknown outcome, %v simulated", *seed, h.Len(), h.Count(history.Unknown), time.Since(began))
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func tail(s string, n int) string {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}

// ackedVersions are the values of every version that a write was told.
type ackedVersions struct {
	mu sync.Mutex
	m  map[string]map[uint64]string
}

func (a *ackedVersions) add(key string, version uint64, value string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m[key] == nil {
		a.m[key] = map[uint64]string{}
	}
	if old, ok := a.m[key][version]; ok {
		return fmt.Errorf("%s: version %d was told twice, for %q and %q", key, version, old, value)
	}
	a.m[key][version] = value
	return nil
}

func simPath(key string) dsv.Path {
	p, err := dsv.ParsePath("sim/"+key[:2], key)
	if err != nil {
		panic(err)
	}
	return p
}

// client asks random nodes for random things.
func (w *world) client(id, n int, h *history.Recorder, acked *ackedVersions) {
	r := rand.New(rand.NewPCG(*seed, uint64(id)))
	for i := range n {
		time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		in := history.Input{Key: fmt.Sprintf("K%d-key", r.IntN(8)), Value: fmt.Sprintf("v-%d-%d", id, i)}
		switch p := r.IntN(100); {
		case p < 40:
			in.Kind = history.Get
		case p < 50:
			in.Kind, in.Version = history.GetVersion, 1+r.Uint64N(4)
		case p < 62:
			in.Kind = history.Create
		case p < 85:
			in.Kind = history.Update
		case p < 93:
			in.Kind = history.Put
		default:
			in.Kind = history.Delete
		}
		at := r.IntN(len(w.nodes))
		out := h.Do(id, in, func() history.Output { return w.ask(at, in) })
		if out.Outcome == history.OK && (in.Kind == history.Create || in.Kind == history.Update || in.Kind == history.Put) {
			if err := acked.add(in.Key, out.Version, in.Value); err != nil {
				w.t.Error(err)
			}
		}
	}
}

// ask sends one operation to node i and tells what came of it.
func (w *world) ask(i int, in history.Input) history.Output {
	c, s, ok := w.session(i)
	if !ok {
		return history.Output{Outcome: history.NoEffect}
	}
	ctx := context.Background()
	path := simPath(in.Key)
	write := coordinator.Write{Path: path, Value: dsv.SecretOf([]byte(in.Value))}
	var wr coordinator.Written
	var err error
	switch in.Kind {
	case history.Create:
		wr, err = c.Create(ctx, s, write)
	case history.Update:
		wr, err = c.Update(ctx, s, write)
	case history.Put:
		wr, err = c.Put(ctx, s, write)
	case history.Delete:
		wr, err = c.Delete(ctx, s, coordinator.Change{Path: path})
	case history.Get, history.GetVersion:
		var f coordinator.Found
		f, err = c.Get(ctx, s, coordinator.Read{Path: path, Version: in.Version})
		if err == nil {
			return history.Output{Version: f.Version.Version, Value: string(f.Value.Reveal())}
		}
	}
	if err == nil {
		return history.Output{Version: wr.Version}
	}
	return history.Output{Outcome: outcomeOf(err)}
}

func outcomeOf(err error) history.Outcome {
	switch dsv.KindOf(err) {
	case dsv.KindConflict:
		return history.Exists
	case dsv.KindNotFound:
		return history.NotFound
	case dsv.KindUnavailable, dsv.KindTooMany:
		return history.NoEffect
	}
	return history.Unknown
}

// faults is what goes wrong, in the order drawn from the seed.
func (w *world) faults(r *rand.Rand) {
	jitter := rand.New(rand.NewPCG(*seed, 7))
	var mu sync.Mutex
	for i := range w.nodes {
		w.logNet.SetDelay(string(w.nodes[i].id), time.Duration(r.IntN(5))*time.Millisecond)
		for j := range w.nodes {
			if i != j {
				w.net.Delay(host(i), host(j), func() time.Duration {
					mu.Lock()
					defer mu.Unlock()
					return time.Duration(jitter.IntN(8)) * time.Millisecond
				})
			}
		}
	}
	time.Sleep(3 * time.Second)
	perm := r.Perm(len(w.nodes))
	w.partition(perm[0], time.Duration(2+r.IntN(4))*time.Second)
	time.Sleep(2 * time.Second)
	w.crash(perm[1], false)
	time.Sleep(time.Duration(1+r.IntN(3)) * time.Second)
	w.start(perm[1])
	w.ready(perm[1])
	time.Sleep(3 * time.Second)
	w.crash(perm[2], true)
	time.Sleep(time.Duration(1+r.IntN(3)) * time.Second)
	w.start(perm[2])
	w.ready(perm[2])
}

// partition cuts a node off from its peers and the log.
func (w *world) partition(i int, d time.Duration) {
	for j := range w.nodes {
		if j != i {
			w.net.CutBoth(host(i), host(j))
			w.gossip.CutBoth(host(i), host(j))
		}
	}
	w.logNet.Cut(string(w.nodes[i].id))
	time.Sleep(d)
	w.logNet.Heal(string(w.nodes[i].id))
	for j := range w.nodes {
		if j != i {
			w.net.HealBoth(host(i), host(j))
			w.gossip.HealBoth(host(i), host(j))
		}
	}
}

// checkQuiet waits until nothing is staged and no hole is left, then compares
// the nodes and checks what must hold on each (I1, I3, I6, I10).
func (w *world) checkQuiet() {
	w.t.Helper()
	w.eventually(5*time.Minute, func() error {
		for _, s := range w.nodes {
			if st := s.get().Replica().Stats(); st.Staged != 0 || st.Holes != 0 || st.StagedBytes != 0 {
				return fmt.Errorf("%s has %d staged rows (%d bytes) and %d holes", s.id, st.Staged, st.StagedBytes, st.Holes)
			}
		}
		return nil
	})
	for p := range w.topo.Partitions {
		w.eventually(time.Minute, func() error { return w.samePartition(dsv.Partition(p)) })
	}
}

func (w *world) samePartition(p dsv.Partition) error {
	var first meta.Head
	for i, s := range w.nodes {
		r := s.get().Replica()
		var h meta.Head
		err := r.View(func(tx store.Txn) (err error) {
			if h, err = meta.ReadHead(tx, p); err != nil {
				return err
			}
			return meta.AssertInvariants(tx, p)
		})
		switch {
		case err != nil:
			return fmt.Errorf("%s partition %d: %w", s.id, p, err)
		case i == 0:
			first = h
		case h.Offset != first.Offset:
			return fmt.Errorf("partition %d: %s is at %d and %s at %d", p, s.id, h.Offset, w.nodes[0].id, first.Offset)
		case h.Digest != first.Digest:
			w.t.Fatalf("partition %d at offset %d: the state digests of %s and %s differ", p, h.Offset, s.id, w.nodes[0].id)
		}
	}
	return nil
}

// checkAcked reads every acknowledged version back, from every node.
func (w *world) checkAcked(a *ackedVersions) {
	w.t.Helper()
	n := 0
	for key, versions := range a.m {
		for v, want := range versions {
			for i := range w.nodes {
				c, s, ok := w.session(i)
				if !ok {
					w.t.Fatalf("node %d does not serve", i)
				}
				f, err := c.Get(context.Background(), s, coordinator.Read{Path: simPath(key), Version: v})
				if err != nil || string(f.Value.Reveal()) != want {
					w.t.Errorf("%s@%d on %s: %q, %v; acknowledged %q", key, v, w.nodes[i].id, f.Value.Reveal(), err, want)
				}
			}
			n++
		}
	}
	w.t.Logf("%d acknowledged versions read back from every node", n)
}
