package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// TestSpikeFaults: what the prototype before this one got wrong.
func TestSpikeFaults(t *testing.T) {
	t.Run("1 200 concurrent puts make 200 versions", testPutsAtOnce)
	t.Run("2 a number is never used again", testNumbers)
	t.Run("4 metadata shows every version on every node", testMetadata)
	t.Run("7 what is acknowledged survives kill -9 of everything", testKillAll)
}

// testPutsAtOnce: never may a version be told twice, or a value be missing.
func testPutsAtOnce(t *testing.T) {
	w := shared(t)
	p := pathOf(t, "spike", "HOT")
	const puts = 200
	told := make([]uint64, puts)
	var wg sync.WaitGroup
	for i := range puts {
		wg.Go(func() {
			got, err := w.at[i%5].Put(t.Context(), p, secret(fmt.Sprint("put-", i)), nil)
			if err != nil {
				t.Errorf("put %d: %v", i, err)
			}
			told[i] = got.Version
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	values := w.values(t, p)
	if len(values) != puts {
		t.Errorf("%d acknowledged puts left %d versions", puts, len(values))
	}
	for i, v := range told {
		if values[v] != fmt.Sprint("put-", i) {
			t.Errorf("put %d was told version %d, which holds %q", i, v, values[v])
		}
	}
	slices.Sort(told)
	for i, v := range told {
		if v != uint64(i+1) {
			t.Fatalf("the versions told are not 1 to %d: %v", puts, told)
		}
	}
}

func kindOf(err error) dsv.Kind {
	if err == nil {
		return 255
	}
	return dsv.KindOf(err)
}

// testNumbers: a version's number never names another value later, and a
// delete destroys nothing.
func testNumbers(t *testing.T) {
	w := shared(t)
	ctx := t.Context()
	must := func(want uint64) func(got client.Written, err error) {
		t.Helper()
		return func(got client.Written, err error) {
			t.Helper()
			if err != nil || got.Version != want {
				t.Fatalf("version %d (%v), want %d", got.Version, err, want)
			}
		}
	}
	p := pathOf(t, "spike", "NUMBERS")
	for i := range uint64(3) {
		must(i + 1)(w.at[i].Put(ctx, p, secret(fmt.Sprint("v", i+1)), nil))
	}
	must(3)(w.at[3].Delete(ctx, p, nil))
	must(3)(w.at[4].Undelete(ctx, p, nil))
	w.allAnswer(t, p, 3, "v3")
	must(3)(w.at[0].Delete(ctx, p, nil))
	must(4)(w.at[1].Put(ctx, p, secret("v4"), nil))
	w.allAnswer(t, p, 4, "v4")
	if got := w.values(t, p); len(got) != 4 || got[3] != "v3" {
		t.Errorf("after delete and put the versions are %v", got)
	}
	if _, err := w.at[2].Destroy(ctx, p, []uint64{4}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.at[3].Undelete(ctx, p, nil); kindOf(err) != dsv.KindGone {
		t.Errorf("undelete of a destroyed version: %v", err)
	}
	must(5)(w.at[3].Put(ctx, p, secret("v5"), nil))
	for i, cl := range w.at {
		if _, err := cl.Get(ctx, p, &client.ReadOptions{Version: 4}); kindOf(err) != dsv.KindGone {
			t.Errorf("%s: the destroyed version answers %v", nodeNo(i), err)
		}
		if f, err := cl.Get(ctx, p, &client.ReadOptions{Version: 3}); err != nil || text(f) != "v3" {
			t.Errorf("%s: version 3 is %q, %v", nodeNo(i), text(f), err)
		}
	}
	w.allAnswer(t, p, 5, "v5")
}

// testMetadata: n versions are n entries, each with its time, on every node,
// by a strict read and by the node's own copy alone.
func testMetadata(t *testing.T) {
	w := shared(t)
	p := pathOf(t, "spike", "META")
	const n = 12
	var last client.Written
	for i := range n {
		var err error
		if last, err = w.at[i%5].Put(t.Context(), p, secret(fmt.Sprint("v", i+1)), nil); err != nil {
			t.Fatal(err)
		}
	}
	h := w.sameHistory(t, p)
	if len(h) != n {
		t.Fatalf("%d versions have %d entries", n, len(h))
	}
	for i, v := range h {
		if len(v.Intervals) != 1 || v.Intervals[0].To.IsZero() != (i == n-1) || i > 0 && !h[i-1].Intervals[0].To.Equal(v.Intervals[0].From.Time) {
			t.Errorf("version %d holds in %v", v.Version, v.Intervals)
		}
	}
	for i, cl := range w.at {
		own, err := cl.History(t.Context(), p, &client.ReadOptions{MinPosition: &last.Position})
		if err != nil || len(own.Versions) != n {
			t.Errorf("%s alone tells %d entries, %v", nodeNo(i), len(own.Versions), err)
		}
	}
}

// testKillAll: right after the answers every node and every broker is killed.
// No acknowledged version may be missing afterwards.
func testKillAll(t *testing.T) {
	w := shared(t)
	var l ledger
	ctx, cancel := context.WithCancel(t.Context())
	wait := l.load(ctx, t, w, 10, "spike/kill", 10)
	until(t, "100 writes", func() error {
		if n := l.count(done); n < 100 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	var wg sync.WaitGroup
	errs := make([]error, w.Nodes()+1)
	for i := range w.Nodes() {
		wg.Go(func() { errs[i] = w.Node(i).Kill() })
	}
	wg.Go(func() { errs[w.Nodes()] = w.StopLog() })
	wg.Wait()
	cancel()
	wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.mend(t)
	t.Logf("%d acknowledged, %d refused, %d broken off; all serve again %v later", l.count(done), l.count(noEffect), l.count(broken), time.Since(began).Round(time.Millisecond))
	l.check(t, w)
}
