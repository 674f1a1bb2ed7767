package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// testFailedWritesLeaveReads: two nodes hang, so writes reach three of five and
// fail. The latest version must be read all the while, and be the old one.
func testFailedWritesLeaveReads(t *testing.T) {
	w := shared(t)
	p := pathOf(t, "original/14", "KEY")
	if _, err := w.at[0].Create(t.Context(), p, secret("v1"), nil); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{3, 4} {
		if err := w.Node(i).Pause(); err != nil {
			t.Fatal(err)
		}
	}
	end := make(chan error, 3)
	for i := range 3 {
		go func() {
			_, err := w.at[i].Update(t.Context(), p, secret(fmt.Sprint("never-", i)), nil)
			end <- err
		}()
	}
	reads := 0
	for failed := 0; failed < 3; {
		select {
		case err := <-end:
			failed++
			if e := dsv.AsError(err); e == nil || e.Code != dsv.CodeWriteQuorum {
				t.Errorf("a write that three of five nodes took got %v", err)
			}
		default:
		}
		f, err := w.at[reads%3].Get(t.Context(), p, nil)
		if err != nil || f.Version != 1 || text(f) != "v1" {
			t.Fatalf("a read while a write fails: version %d %q, %v", f.Version, text(f), err)
		}
		reads++
	}
	for i := range 3 {
		if f, err := w.at[i].Get(t.Context(), p, nil); err != nil || text(f) != "v1" {
			t.Errorf("a read after writes failed, on %s: %q, %v", nodeNo(i), text(f), err)
		}
	}
	t.Logf("%d reads while three writes failed", reads)
	w.mend(t)
	w.allAnswer(t, p, 1, "v1")
	if h := w.sameHistory(t, p); len(h) != 1 {
		t.Errorf("failed writes left %d versions", len(h))
	}
}

// testRefusedIsNeverKept: the log hangs for longer than a request may last.
// Never may a write that got 503 be there when the log goes on; a 504 settles.
func testRefusedIsNeverKept(t *testing.T) {
	w := shared(t)
	var l ledger
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := l.load(ctx, t, w, 15, "original/15", 10)
	count := func(f fate, more int) {
		t.Helper()
		n := l.count(f) + more
		until(t, "writes", func() error {
			if got := l.count(f); got < n {
				return fmt.Errorf("%d of %d", got, n)
			}
			return nil
		})
	}
	for range 2 {
		count(done, 40)
		if err := w.PauseLog(); err != nil {
			t.Fatal(err)
		}
		paused := time.Now()
		count(noEffect, 150)
		until(t, "the end of every request that was in flight", func() error {
			if d := time.Since(paused); d < 5*time.Second {
				return fmt.Errorf("%v", d)
			}
			return nil
		})
		if err := w.ResumeLog(); err != nil {
			t.Fatal(err)
		}
		count(done, 40)
	}
	cancel()
	wait()
	w.whole(t)
	t.Logf("%d acknowledged, %d refused, %d got 504", l.count(done), l.count(noEffect), l.count(unknown))
	if l.count(unknown) == 0 {
		t.Error("no write was in flight when the log stopped: the test tested half of what it should")
	}
	l.check(t, w)
}

// testSixNodes: six nodes, five shards. Each namespace has a node that holds no
// shard of it; that node serves it like any other.
func testSixNodes(t *testing.T) {
	w, err := start("six", 6)
	if err != nil {
		t.Fatal(err)
	}
	w.tell(t)
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	w.whole(t)
	outsiders := map[int]dsv.Path{}
	for n := 0; len(outsiders) < 3 && n < 60; n++ {
		p := pathOf(t, fmt.Sprintf("six/%d", n), "KEY")
		if _, err := w.at[n%6].Create(t.Context(), p, secret("v1"), nil); err != nil {
			t.Fatal(err)
		}
		outsiders[w.outsider(t, p)] = p
	}
	if len(outsiders) < 3 {
		t.Fatalf("all of 60 namespaces leave out the same %d nodes", len(outsiders))
	}
	for i, p := range outsiders {
		cl := w.at[i]
		if f, err := cl.Get(t.Context(), p, nil); err != nil || text(f) != "v1" {
			t.Errorf("get through %s, which has no shard: %q, %v", nodeNo(i), text(f), err)
		}
		if _, err := cl.Create(t.Context(), p, secret("x"), nil); kindOf(err) != dsv.KindConflict {
			t.Errorf("create of what is there, through %s: %v", nodeNo(i), err)
		}
		if got, err := cl.Update(t.Context(), p, secret("v2"), nil); err != nil || got.Version != 2 {
			t.Errorf("update through %s: version %d, %v", nodeNo(i), got.Version, err)
		}
		w.allAnswer(t, p, 2, "v2")
		if got, err := cl.Update(t.Context(), p, secret("v2"), nil); err != nil || !got.Unchanged {
			t.Errorf("the same value through %s: %+v, %v", nodeNo(i), got, err)
		}
		if _, err := cl.Delete(t.Context(), p, nil); err != nil {
			t.Errorf("delete through %s: %v", nodeNo(i), err)
		}
		for j := range w.at {
			if _, err := w.at[j].Get(t.Context(), p, nil); kindOf(err) != dsv.KindNotFound {
				t.Errorf("%s after the delete: %v", nodeNo(j), err)
			}
		}
		if got, err := cl.Create(t.Context(), p, secret("v3"), nil); err != nil || got.Version != 3 {
			t.Errorf("create through %s: version %d, %v", nodeNo(i), got.Version, err)
		}
		w.allAnswer(t, p, 3, "v3")
		if values := w.values(t, p); len(values) != 3 || values[1] != "v1" || values[2] != "v2" {
			t.Errorf("%s: %v", p, values)
		}
	}
}

// outsider is the node that holds no shard of a namespace.
func (w *world) outsider(t *testing.T, p dsv.Path) int {
	t.Helper()
	s, err := w.at[0].Shards(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	holds := map[string]bool{}
	for _, h := range s.Versions[0].Holders {
		holds[h.Node] = true
	}
	if len(holds) != 5 {
		t.Fatalf("%s has %d holders", p, len(holds))
	}
	for i := range w.Nodes() {
		if !holds[string(w.NodeID(i))] {
			return i
		}
	}
	t.Fatal("nobody is left out")
	return -1
}

// shardsOf is who holds what of each version, as node i finds it.
func (w *world) shardsOf(t *testing.T, i int, p dsv.Path) client.Shards {
	t.Helper()
	s, err := w.at[i].Shards(t.Context(), p)
	if err != nil {
		t.Fatalf("shards of %s: %v", p, err)
	}
	return s
}
