package integration

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

func (w *world) wipe(t *testing.T, i int) {
	t.Helper()
	if err := w.Node(i).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.DataDir(i)); err != nil {
		t.Fatal(err)
	}
}

// testRepairWithoutMixing: a repair makes new shares while a node is down that
// holds one of the old. When that node is back, never may a read give anything
// but the value.
func testRepairWithoutMixing(t *testing.T) {
	w := quiet(t)
	w.aged(t)
	p := w.seeds[0]
	w.allAnswer(t, p, 1, seedValue(p))
	before := w.shardsOf(t, 0, p).Versions[0].ShareSet
	const lost, down = 1, 4
	w.wipe(t, lost)
	if err := w.Node(down).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Node(lost).Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "a repair", func() error {
		f, err := w.at[0].Get(t.Context(), p, nil)
		if err != nil || f.Version != 1 || text(f) != seedValue(p) {
			t.Fatalf("a read around a repair: version %d %q, %v", f.Version, text(f), err)
		}
		if now := w.shardsOf(t, 0, p).Versions[0].ShareSet; now == before {
			return fmt.Errorf("the share set is still %s", now)
		}
		return nil
	})
	if err := w.Node(down).Start(); err != nil {
		t.Fatal(err)
	}
	w.ready(t, down)
	w.whole(t)
	read := func(i int) {
		t.Helper()
		if f, err := w.at[i].Get(t.Context(), p, nil); err != nil || f.Version != 1 || text(f) != seedValue(p) {
			t.Errorf("%s after the repair: version %d %q, %v", w1(i), f.Version, text(f), err)
		}
	}
	for i := range w.at {
		read(i)
	}
	if err := w.Node(2).Kill(); err != nil { // every k answers now need one of the two
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 3, 4} {
		for range 5 {
			read(i)
		}
	}
}

// TestDirectoryDeleted: a node loses its whole directory. It must come back by
// itself and be refilled, and no strict read, through it or others, may ever be
// wrong meanwhile.
func TestDirectoryDeleted(t *testing.T) {
	w := quiet(t)
	const lost, keys = 3, 8
	paths := make([]dsv.Path, keys)
	var acked [keys]atomic.Uint64
	value := func(k int, v uint64) string { return fmt.Sprintf("key %d version %d", k, v) }
	for k := range paths {
		paths[k] = pathOf(t, fmt.Sprintf("wiped/%d", k%3), fmt.Sprintf("KEY-%d", k))
		if _, err := w.at[0].Create(t.Context(), paths[k], secret(value(k, 1)), nil); err != nil {
			t.Fatal(err)
		}
		acked[k].Store(1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var reads, refused, writes atomic.Int64
	for i := range w.Nodes() { // readers, two on each node
		for half := range 2 {
			wg.Go(func() {
				for n := half; ctx.Err() == nil; n++ {
					k := n % keys
					least := acked[k].Load()
					f, err := w.at[i].Get(ctx, paths[k], nil)
					switch {
					case ctx.Err() != nil:
					case err == nil && f.Version >= least && text(f) == value(k, f.Version):
						reads.Add(1)
						continue
					case err != nil && (kindOf(err) == dsv.KindUnavailable || dsv.CodeOf(err) == client.CodeUnreachable):
						refused.Add(1)
						if i != lost {
							t.Errorf("%s cannot answer: %v", w1(i), err)
						}
					default:
						t.Errorf("%s: %s is version %d %q (%v), at least %d was acknowledged", w1(i), paths[k], f.Version, text(f), err, least)
					}
					pause(ctx, 50*time.Millisecond)
				}
			})
		}
	}
	wg.Go(func() { // one writer: version v of key k is always value(k, v)
		for n := 0; ctx.Err() == nil; n++ {
			k := n % keys
			v := acked[k].Load()
			if _, err := w.at[n%3].Update(ctx, paths[k], secret(value(k, v+1)), &client.WriteOptions{IfVersion: &v}); err == nil {
				acked[k].Store(v + 1)
				writes.Add(1)
			} else if kindOf(err) == dsv.KindPrecondition { // a write of unknown outcome was kept
				acked[k].Store(v + 1)
			} else if ctx.Err() == nil {
				fateOf(t, err)
			}
			pause(ctx, 100*time.Millisecond)
		}
	})
	until(t, "reads", func() error { return atLeast(&reads, 200) })
	w.wipe(t, lost)
	began := time.Now()
	if err := w.Node(lost).Start(); err != nil {
		t.Fatal(err)
	}
	w.ready(t, lost)
	back := time.Since(began)
	more := reads.Load() + 100
	until(t, "more reads", func() error { return atLeast(&reads, more) })
	holesSeen := int64(0)
	full := func() error {
		s, err := w.at[lost].Status(t.Context())
		if err != nil {
			return err
		}
		for _, m := range s.Members {
			if m.Node == string(w.NodeID(lost)) {
				holesSeen = max(holesSeen, m.Holes)
			}
		}
		for _, m := range s.Members {
			if m.Holes != 0 || m.Shards != s.Members[0].Shards {
				return fmt.Errorf("%s has %d shards and %d holes, %s has %d", m.Node, m.Shards, m.Holes, s.Members[0].Node, s.Members[0].Shards)
			}
		}
		return nil
	}
	until(t, "every version older than the loss is refilled", func() error {
		if err := full(); err != nil && holesSeen == 0 {
			return err
		}
		if writes.Load() < 100 && time.Since(began) < 8*time.Second {
			return fmt.Errorf("%d writes", writes.Load())
		}
		return nil
	})
	cancel()
	wg.Wait()
	until(t, "it is refilled", full)
	t.Logf("served again %v after its start with nothing; %d holes, refilled %v after the start; %d right reads, %d refused by itself, %d writes meanwhile",
		back.Round(time.Millisecond), holesSeen, time.Since(began).Round(time.Millisecond), reads.Load(), refused.Load(), writes.Load())
	if holesSeen == 0 {
		t.Error("a node without its directory had no hole: the test tested nothing")
	}
	// The refilled node counts: with two others gone it must answer.
	for _, i := range []int{0, 1} {
		if err := w.Node(i).Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for k, p := range paths {
		f, err := w.at[lost].Get(t.Context(), p, nil)
		if err != nil || f.Version < acked[k].Load() || text(f) != value(k, f.Version) {
			t.Errorf("%s through the refilled node: version %d %q, %v", p, f.Version, text(f), err)
		}
	}
}

func atLeast(n *atomic.Int64, want int64) error {
	if got := n.Load(); got < want {
		return fmt.Errorf("%d of %d", got, want)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// TestHealthyReadsRepairNothing: reads of a healthy cluster, and of one with a
// node merely down, never make new shares.
func TestHealthyReadsRepairNothing(t *testing.T) {
	w := quiet(t)
	w.healthy(t)
	w.aged(t)
	before := w.allShards(t, 0)
	for p, s := range before {
		for _, v := range s.Versions {
			for _, h := range v.Holders {
				if h.State != "good" {
					t.Fatalf("%s is not whole before the reads: %s is %s at %s", p, p, h.State, h.Node)
				}
			}
		}
	}
	counters := w.repairCounters(t)
	rate := w.reads(t, 0, 1, 2, 3, 4)
	t.Logf("healthy: %d reads, %.0f/s", *readsFlag, rate)
	if d := cmp.Diff(before, w.allShards(t, 0)); d != "" {
		t.Errorf("reads of a healthy cluster changed shares:\n%s", d)
	}
	const down = 2
	if err := w.Node(down).Kill(); err != nil {
		t.Fatal(err)
	}
	rate = w.reads(t, 0, 1, 3, 4)
	t.Logf("one node down: %d reads, %.0f/s", *readsFlag, rate)
	for p, s := range w.allShards(t, 0) {
		for i, v := range s.Versions {
			if v.ShareSet != before[p].Versions[i].ShareSet {
				t.Errorf("reads with a node down repaired %s, version %d", p, v.Version)
			}
		}
	}
	w.mend(t)
	if d := cmp.Diff(before, w.allShards(t, 0)); d != "" {
		t.Errorf("after the node's return the shares are others:\n%s", d)
	}
	if d := cmp.Diff(counters, w.repairCounters(t)); d != "" {
		t.Errorf("a counter of repairs moved:\n%s", d)
	}
}

// reads reads the seeds again and again through some nodes.
func (w *world) reads(t *testing.T, nodes ...int) (rate float64) {
	t.Helper()
	began := time.Now()
	var left atomic.Int64
	left.Store(int64(*readsFlag))
	var wg sync.WaitGroup
	for c := range 3 * len(nodes) {
		wg.Go(func() {
			for n := c; left.Add(-1) >= 0; n++ {
				p := w.seeds[n%len(w.seeds)]
				if f, err := w.at[nodes[c%len(nodes)]].Get(t.Context(), p, nil); err != nil || text(f) != seedValue(p) {
					t.Errorf("%s through %s: %q, %v", p, w1(nodes[c%len(nodes)]), text(f), err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(*readsFlag) / time.Since(began).Seconds()
}

func (w *world) allShards(t *testing.T, i int) map[string]client.Shards {
	t.Helper()
	out := map[string]client.Shards{}
	for _, p := range w.seeds {
		out[p.String()] = w.shardsOf(t, i, p)
	}
	return out
}

// repairCounters are the lines of /metrics about repairs, of each node; those
// that count reads and requests are not among them.
func (w *world) repairCounters(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	a := w.asker(t)
	for i := range w.Nodes() {
		for line := range strings.Lines(a.do(t, i, "GET", "/metrics", "").body) {
			if strings.HasPrefix(line, "dsv_repair") && !strings.HasPrefix(line, "#") {
				name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				out[w1(i)+" "+name] = value
			}
		}
	}
	return out
}
