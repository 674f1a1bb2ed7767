package integration

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
			t.Errorf("%s after the repair: version %d %q, %v", nodeNo(i), f.Version, text(f), err)
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
					t.Errorf("%s through %s: %q, %v", p, nodeNo(nodes[c%len(nodes)]), text(f), err)
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
				out[nodeNo(i)+" "+name] = value
			}
		}
	}
	return out
}
