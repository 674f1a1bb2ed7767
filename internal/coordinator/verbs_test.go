package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/core"
)

var ctx = context.Background()

func kind(t *testing.T, what string, err error, k dsv.Kind) {
	t.Helper()
	if err == nil || dsv.KindOf(err) != k {
		t.Errorf("%s: %v, want kind %d", what, err, k)
	}
}

func value(t *testing.T, what string, f coordinator.Found, err error, want string, version uint64) {
	t.Helper()
	if err != nil || string(f.Value.Reveal()) != want || f.Version.Version != version {
		t.Errorf("%s: %q (version %d), %v; want %q (version %d)", what, f.Value.Reveal(), f.Version.Version, err, want, version)
	}
}

// The life of one secret by number and by time, from every node.
func TestVersionsAndInstants(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		s := n.Session()
		start := time.Now()
		pause := func() time.Time { time.Sleep(time.Second); at := time.Now(); time.Sleep(time.Second); return at }
		if _, err := n.Coord.Update(ctx, s, write("K", "one")); dsv.KindOf(err) != dsv.KindNotFound {
			t.Errorf("update of nothing: %v", err)
		}
		if _, err := n.Coord.Create(ctx, s, write("K", "one")); err != nil {
			t.Fatal(err)
		}
		_, err := n.Coord.Create(ctx, s, write("K", "one"))
		kind(t, "create of a live one", err, dsv.KindConflict)
		in1 := pause()
		if _, err := n.Coord.Update(ctx, s, write("K", "two")); err != nil {
			t.Fatal(err)
		}
		in2 := pause()
		if _, err := n.Coord.Delete(ctx, s, coordinator.Change{Path: path("K")}); err != nil {
			t.Fatal(err)
		}
		gone := pause()
		_, err = n.Coord.Delete(ctx, s, coordinator.Change{Path: path("K")})
		kind(t, "delete of a deleted one", err, dsv.KindNotFound)
		if _, err := n.Coord.Undelete(ctx, s, coordinator.Change{Path: path("K")}); err != nil {
			t.Fatal(err)
		}
		_, err = n.Coord.Undelete(ctx, s, coordinator.Change{Path: path("K")})
		kind(t, "undelete of a live one", err, dsv.KindConflict)
		back := pause()
		if _, err := n.Coord.Put(ctx, s, write("K", "three")); err != nil {
			t.Fatal(err)
		}
		in3 := pause()
		for _, m := range c.Nodes {
			f, err := get(m, coordinator.Read{})
			value(t, "latest", f, err, "three", 3)
			for v, want := range []string{"one", "two", "three"} {
				f, err := get(m, coordinator.Read{Version: uint64(v + 1)})
				value(t, "by number", f, err, want, uint64(v+1))
			}
			_, err = get(m, coordinator.Read{Version: 4})
			kind(t, "a version that is not", err, dsv.KindNotFound)
			f, err = get(m, coordinator.Read{At: in1})
			value(t, "in the first", f, err, "one", 1)
			f, err = get(m, coordinator.Read{At: in2})
			value(t, "in the second", f, err, "two", 2)
			f, err = get(m, coordinator.Read{At: back})
			value(t, "after the undelete", f, err, "two", 2)
			if f.NotFinal || len(f.Version.Intervals) != 2 || !f.Interval.From.After(gone) || f.Interval.To.Before(back) {
				t.Errorf("after the undelete: %+v", f.Interval)
			}
			_, err = get(m, coordinator.Read{At: gone})
			kind(t, "while deleted", err, dsv.KindNotFound)
			_, err = get(m, coordinator.Read{At: start.Add(-time.Hour)})
			kind(t, "before all", err, dsv.KindNotFound)
			f, err = get(m, coordinator.Read{At: in3})
			value(t, "now", f, err, "three", 3)
			if f.NotFinal {
				t.Error("a barrier lies past that instant: it is final")
			}
			f, err = get(m, coordinator.Read{At: time.Now().Add(time.Hour)})
			value(t, "in an hour", f, err, "three", 3)
			if !f.NotFinal {
				t.Error("the future was called final")
			}
			f, err = get(m, coordinator.Read{At: time.Now().Add(time.Hour), MinPosition: &f.Position})
			value(t, "in an hour, from a position on", f, err, "three", 3)
			if !f.NotFinal {
				t.Error("the future was called final")
			}
			_, err = get(m, coordinator.Read{At: in1, Version: 1})
			kind(t, "both", err, dsv.KindInvalid)
		}
		h, _, err := n.Coord.History(ctx, s, coordinator.Read{Path: path("K")})
		if err != nil || len(h) != 3 || len(h[1].Intervals) != 2 || !h[2].Current || h[1].Current {
			t.Errorf("%+v, %v", h, err)
		}
	})
}

// A destroyed version is gone for every strict read that begins afterwards, by
// number and by instant, also at a node that has not heard of it.
func TestDestroy(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n, lagging := c.Nodes[0], c.Nodes[4]
		s := n.Session()
		put(t, n, "K", "one")
		time.Sleep(time.Second)
		in1 := time.Now()
		time.Sleep(time.Second)
		put(t, n, "K", "two")
		c.Settled(time.Minute)
		for i := 2; i < 5; i++ { // three nodes know nothing yet
			c.LogNet.SetDelay(string(c.Nodes[i].ID), 300*time.Millisecond)
		}
		c.Cut(0, 4) // and of those who do, the reader hears nothing
		c.Cut(1, 4)
		if _, err := n.Coord.Destroy(ctx, s, coordinator.Destroy{Path: path("K"), Versions: []uint64{1}}); err != nil {
			t.Fatal(err)
		}
		for _, q := range []coordinator.Read{{At: in1}, {Version: 1}} {
			if f, err := get(lagging, q); err == nil {
				t.Errorf("%q after it was destroyed", f.Value.Reveal())
			} else {
				kind(t, "a destroyed version", err, dsv.KindGone)
			}
		}
		c.Heal(0, 4)
		c.Heal(1, 4)
		f, err := get(lagging, coordinator.Read{})
		value(t, "latest", f, err, "two", 2)
		if _, err := n.Coord.Destroy(ctx, s, coordinator.Destroy{Path: path("K"), Versions: []uint64{1}}); err != nil {
			t.Errorf("again: %v", err)
		}
		_, err = n.Coord.Destroy(ctx, s, coordinator.Destroy{Path: path("K"), Versions: []uint64{3}})
		kind(t, "a version that is not", err, dsv.KindNotFound)
		if _, err := n.Coord.Destroy(ctx, s, coordinator.Destroy{Path: path("K"), All: true}); err != nil {
			t.Fatal(err)
		}
		_, err = get(lagging, coordinator.Read{})
		kind(t, "latest", err, dsv.KindNotFound)
		_, err = n.Coord.Undelete(ctx, s, coordinator.Change{Path: path("K")})
		kind(t, "undelete", err, dsv.KindGone)
		if w := put(t, n, "K", "three"); w.Version != 3 {
			t.Errorf("version %d: numbers go on", w.Version)
		}
		for i := range c.Nodes {
			c.LogNet.SetDelay(string(c.Nodes[i].ID), 0)
		}
		c.Settled(time.Minute)
		c.AllHold(path("K").NS, 1)
	})
}

func num(v uint64) *uint64 { return &v }

func TestIfVersion(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		s := n.Session()
		put(t, n, "K", "one")
		w := write("K", "two")
		w.IfVersion = num(2)
		_, err := n.Coord.Update(ctx, s, w)
		kind(t, "a version that is not", err, dsv.KindPrecondition)
		w = write("K", "one") // the value that is current
		w.IfVersion = num(2)
		_, err = n.Coord.Update(ctx, s, w)
		kind(t, "preconditions come before unchanged", err, dsv.KindPrecondition)
		w.IfVersion = num(0)
		_, err = n.Coord.Put(ctx, s, w)
		kind(t, "only if there is none", err, dsv.KindPrecondition)
		w.IfVersion = num(1)
		if out, err := n.Coord.Update(ctx, s, w); err != nil || !out.Unchanged || out.Version != 1 {
			t.Errorf("%+v, %v", out, err)
		}
		w = write("K", "two")
		w.IfVersion = num(1)
		if out, err := n.Coord.Update(ctx, s, w); err != nil || out.Version != 2 {
			t.Errorf("%+v, %v", out, err)
		}
		_, err = n.Coord.Delete(ctx, s, coordinator.Change{Path: path("K"), IfVersion: num(1)})
		kind(t, "delete of another version", err, dsv.KindPrecondition)
		// A counter by compare and set from every node: no increment is lost.
		put(t, n, "COUNT", "0")
		var wg sync.WaitGroup
		for i, m := range c.Nodes {
			wg.Go(func() {
				for done := 0; done < 5; {
					f, err := get(m, coordinator.Read{Path: path("COUNT")})
					if err != nil {
						t.Errorf("%d: %v", i, err)
						return
					}
					var k int
					_, _ = fmt.Sscan(string(f.Value.Reveal()), &k)
					w := write("COUNT", fmt.Sprint(k+1))
					w.IfVersion = num(f.Version.Version)
					switch _, err := m.Coord.Update(ctx, m.Session(), w); {
					case err == nil:
						done++
					case dsv.KindOf(err) != dsv.KindPrecondition:
						t.Errorf("%d: %v", i, err)
						return
					}
				}
			})
		}
		wg.Wait()
		f, err := get(n, coordinator.Read{Path: path("COUNT")})
		value(t, "the counter", f, err, "25", 26)
	})
}

// Reads by position, index and local.
func TestWeakerReads(t *testing.T) {
	bubble(t, core.Options{Partitions: 2}, func(t *testing.T, c *core.Cluster) {
		a, b := c.Nodes[0], c.Nodes[1]
		put(t, a, "K", "old")
		c.Settled(time.Minute)
		c.LogNet.SetDelay("n2", 50*time.Millisecond)
		w := put(t, a, "K", "new")
		f, err := get(b, coordinator.Read{Consistency: coordinator.Local})
		value(t, "local on a node that lags", f, err, "old", 1)
		f, err = get(b, coordinator.Read{MinPosition: &w.Position})
		value(t, "read your write", f, err, "new", 2)
		if f.Position.Offset < w.Position.Offset || f.Position.Partition != w.Position.Partition {
			t.Errorf("position %v of a read from %v on", f.Position, w.Position)
		}
		w = put(t, a, "K", "newest")
		f, err = get(b, coordinator.Read{Consistency: coordinator.Index})
		value(t, "index", f, err, "newest", 3)
		other := dsv.Position{Partition: 1 - w.Position.Partition, Offset: 0}
		_, err = get(b, coordinator.Read{MinPosition: &other})
		kind(t, "a position of another partition", err, dsv.KindInvalid)
		_, err = b.Coord.List(ctx, b.Session(), coordinator.ListRequest{NS: path("K").NS, Limit: 1, MinPosition: &other})
		kind(t, "a list from a position of another partition", err, dsv.KindInvalid)
		far := dsv.Position{Partition: w.Position.Partition, Offset: 1 << 40}
		began := time.Now()
		_, err = get(b, coordinator.Read{MinPosition: &far})
		kind(t, "a position that does not come", err, dsv.KindUnavailable)
		if d := time.Since(began); d > 4100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		c.CutLog(1)
		time.Sleep(1200 * time.Millisecond)
		_, err = get(b, coordinator.Read{Consistency: coordinator.Index})
		kind(t, "index on a silent log", err, dsv.KindUnavailable)
		f, err = get(b, coordinator.Read{Consistency: coordinator.Local})
		value(t, "local on a silent log", f, err, "newest", 3)
		if f.Lag < time.Second {
			t.Errorf("lag %v", f.Lag)
		}
	})
}

// Lists and batches of reads are one point in the order, behind a barrier.
func TestListsAndBatchReads(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		a, b := c.Nodes[0], c.Nodes[1]
		for i := range 5 {
			put(t, a, fmt.Sprintf("K%d", i), "old")
		}
		c.Settled(time.Minute)
		c.LogNet.SetDelay("n2", 50*time.Millisecond)
		put(t, a, "K9", "new")
		if _, err := a.Coord.Delete(ctx, a.Session(), coordinator.Change{Path: path("K0")}); err != nil {
			t.Fatal(err)
		}
		l, err := b.Coord.List(ctx, b.Session(), coordinator.ListRequest{NS: path("K").NS, Limit: 3})
		var names []string
		for err == nil {
			for _, x := range l.Names {
				names = append(names, x.Key.String())
			}
			if l.Next == "" {
				break
			}
			l, err = b.Coord.List(ctx, b.Session(), coordinator.ListRequest{NS: path("K").NS, Limit: 3, After: l.Next})
		}
		if got := strings.Join(names, " "); err != nil || got != "K1 K2 K3 K4 K9" {
			t.Errorf("%q, %v", got, err)
		}
		put(t, a, "K9", "newer")
		one, err := b.Coord.Batch(ctx, b.Session(), coordinator.Batch{NS: path("K").NS, Ops: []coordinator.BatchOp{{Kind: coordinator.BatchGet, Key: path("K9").Key}}})
		if err != nil || string(one.Found[0].Value.Reveal()) != "newer" {
			t.Errorf("a batch of reads on a node that lags: %+v, %v", one, err)
		}
		// Batches of writes change many keys together; a batch of reads, more than are
		// read at once, never sees some of them alone.
		c.LogNet.SetDelay("n2", 2*time.Millisecond)
		for i := range c.Nodes {
			c.Net.Delay(c.Nodes[i].Host, "10.0.0.2", func() time.Duration { return 2 * time.Millisecond })
		}
		const keys = 40
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			defer close(stop)
			for i := range 20 {
				var ops []coordinator.BatchOp
				for k := range keys {
					ops = append(ops, coordinator.BatchOp{Kind: coordinator.BatchPut, Key: path(fmt.Sprint("X", k)).Key, Value: dsv.SecretOf([]byte(fmt.Sprint(i)))})
				}
				n := c.Nodes[i%5]
				if _, err := n.Coord.Batch(ctx, n.Session(), coordinator.Batch{NS: path("X").NS, Ops: ops}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
		var ops []coordinator.BatchOp
		for k := range keys {
			ops = append(ops, coordinator.BatchOp{Kind: coordinator.BatchGet, Key: path(fmt.Sprint("X", k)).Key})
		}
		reads := 0
		for running := true; running; {
			out, err := b.Coord.Batch(ctx, b.Session(), coordinator.Batch{NS: path("X").NS, Ops: ops})
			if err == nil {
				reads++
				for _, x := range out.Found {
					if y := out.Found[0]; string(x.Value.Reveal()) != string(y.Value.Reveal()) || x.Version.Version != y.Version.Version {
						t.Fatalf("half a batch: %q and %q", x.Value.Reveal(), y.Value.Reveal())
					}
				}
			} else if dsv.KindOf(err) != dsv.KindNotFound {
				t.Fatal(err)
			}
			select {
			case <-stop:
				running = false
			default:
				time.Sleep(time.Millisecond)
			}
		}
		wg.Wait()
		if reads == 0 {
			t.Error("no batch was read")
		}
	})
}

// A batch is all or nothing, and tells the operation that failed.
func TestBatchIsAtomic(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		put(t, n, "THERE", "v")
		b := func(ops ...coordinator.BatchOp) (coordinator.BatchResult, error) {
			return n.Coord.Batch(ctx, n.Session(), coordinator.Batch{NS: path("K").NS, Ops: ops})
		}
		op := func(k coordinator.BatchKind, key string) coordinator.BatchOp {
			return coordinator.BatchOp{Kind: k, Key: path(key).Key, Value: dsv.SecretOf([]byte("v"))}
		}
		_, err := b(op(coordinator.BatchCreate, "A"), op(coordinator.BatchUpdate, "B"), op(coordinator.BatchCreate, "THERE"))
		if e := dsv.AsError(err); e == nil || e.Kind != dsv.KindNotFound || e.Index != 2 || e.Path != "app:B" {
			t.Errorf("%+v", e)
		}
		_, err = b(op(coordinator.BatchCreate, "A"), op(coordinator.BatchCreate, "THERE"))
		if e := dsv.AsError(err); e == nil || e.Kind != dsv.KindConflict || e.Index != 2 {
			t.Errorf("%+v", e)
		}
		_, err = get(n, coordinator.Read{Path: path("A")})
		kind(t, "of a batch that failed", err, dsv.KindNotFound)
		_, err = b(op(coordinator.BatchCreate, "A"), op(coordinator.BatchPut, "A"))
		kind(t, "one key twice", err, dsv.KindInvalid)
		_, err = b(op(coordinator.BatchCreate, "A"), op(coordinator.BatchGet, "B"))
		kind(t, "reads and writes", err, dsv.KindInvalid)
		_, err = b()
		kind(t, "nothing", err, dsv.KindInvalid)
		_, err = b(op(coordinator.BatchGet, "THERE"), op(coordinator.BatchGet, "NONE"))
		if e := dsv.AsError(err); e == nil || e.Kind != dsv.KindNotFound || e.Index != 2 {
			t.Errorf("%+v", e)
		}
		del := coordinator.BatchOp{Kind: coordinator.BatchDelete, Key: path("THERE").Key}
		out, err := b(op(coordinator.BatchCreate, "A"), del, op(coordinator.BatchPut, "C"))
		if err != nil || len(out.Written) != 3 || out.Written[0].Version != 1 || out.Written[1].ValidTo.IsZero() {
			t.Errorf("%+v, %v", out, err)
		}
		c.Settled(time.Minute)
		c.AllHold(path("K").NS, 3)
	})
}

// Unchanged is only said of the value that is current: not of one that another
// node has replaced before the request began, however far this node lags.
func TestUnchangedIsProven(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n, m := c.Nodes[0], c.Nodes[1]
		put(t, n, "K", "A")
		out, err := n.Coord.Update(ctx, n.Session(), write("K", "A"))
		if err != nil || !out.Unchanged || out.Version != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		c.LogNet.SetDelay("n1", 60*time.Millisecond)
		for i := range 6 { // B is committed and acknowledged elsewhere; here A is the newest known
			value := []string{"A", "B"}
			w := put(t, m, "K", value[(i+1)%2])
			time.Sleep(time.Duration(i*7) * time.Millisecond)
			out, err := n.Coord.Update(ctx, n.Session(), write("K", value[i%2]))
			if err != nil || out.Unchanged || out.Version <= w.Version {
				t.Fatalf("round %d: %+v, %v: that value was replaced by version %d", i, out, err, w.Version)
			}
			f, err := get(c.Nodes[2], coordinator.Read{})
			if err != nil || string(f.Value.Reveal()) != value[i%2] {
				t.Fatalf("round %d: %q, %v", i, f.Value.Reveal(), err)
			}
			w = put(t, m, "K", value[(i+1)%2])
		}
		// A caller who may not read is not told that a value is the same.
		token, _ := c.Grant("blind", auth.Update, "app")
		c.LogNet.SetDelay("n1", 0)
		c.Eventually(time.Minute, func() error { _, err := n.Coord.Authenticate(ctx, token); return err })
		f, err := get(n, coordinator.Read{})
		if err != nil {
			t.Fatal(err)
		}
		out, err = n.Coord.Update(ctx, n.As(token), coordinator.Write{Path: path("K"), Value: f.Value})
		if err != nil || out.Unchanged {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// Two equal writes at one moment: each is told a version that holds its value.
func TestEqualWritesAtOnce(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "start")
		for i := range 10 {
			var wg sync.WaitGroup
			v := fmt.Sprint("v", i)
			out := make([]coordinator.Written, 4)
			for j := range out {
				wg.Go(func() {
					var err error
					if out[j], err = c.Nodes[j].Coord.Update(ctx, c.Nodes[j].Session(), write("K", v)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			changed := 0
			for _, w := range out {
				f, err := get(c.Nodes[4], coordinator.Read{Version: w.Version})
				value(t, "what it was told", f, err, v, w.Version)
				if !w.Unchanged {
					changed++
				}
			}
			if changed == 0 {
				t.Errorf("round %d: nobody changed anything", i)
			}
		}
	})
}

// N updates at once make N versions, one create of many wins (I3, A5, A6).
func TestConcurrentWrites(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "start")
		var mu sync.Mutex
		told := map[uint64]string{}
		created := 0
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				n, v := c.Nodes[i%5], fmt.Sprint("value ", i)
				w, err := n.Coord.Update(ctx, n.Session(), write("K", v))
				_, cerr := n.Coord.Create(ctx, n.Session(), write("NEW", v))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case told[w.Version] != "":
					t.Errorf("version %d was told twice", w.Version)
				}
				told[w.Version] = v
				if cerr == nil {
					created++
				} else if dsv.KindOf(cerr) != dsv.KindConflict {
					t.Error(cerr)
				}
			})
		}
		wg.Wait()
		if created != 1 {
			t.Errorf("%d creates won", created)
		}
		for v := uint64(2); v <= 41; v++ {
			f, err := get(c.Nodes[v%5], coordinator.Read{Version: v})
			value(t, "each", f, err, told[v], v)
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n, m := c.Nodes[0], c.Nodes[1]
		key := func(w coordinator.Write, k string) coordinator.Write { w.Meta.IdempotencyKey = k; return w }
		first, err := n.Coord.Create(ctx, n.Session(), key(write("K", "v"), "k1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range c.Nodes { // also where it is not applied yet
			again, err := x.Coord.Create(ctx, x.Session(), key(write("K", "v"), "k1"))
			if err != nil || again.Version != first.Version || again.Operation != first.Operation || again.Position != first.Position || !again.ValidFrom.Equal(first.ValidFrom) {
				t.Errorf("%s: %+v, %v; want %+v", x.ID, again, err, first)
			}
		}
		_, err = m.Coord.Create(ctx, m.Session(), key(write("OTHER", "v"), "k1"))
		kind(t, "another secret", err, dsv.KindUnprocessable)
		_, err = m.Coord.Put(ctx, m.Session(), key(write("K", "v"), "k1"))
		kind(t, "another verb", err, dsv.KindUnprocessable)
		_, err = m.Coord.Create(ctx, m.Session(), key(write("K", "w"), "k1"))
		kind(t, "another value", err, dsv.KindUnprocessable)
		w := key(write("K", "v"), "k1")
		w.IfVersion = num(0)
		_, err = m.Coord.Create(ctx, m.Session(), w)
		kind(t, "another condition", err, dsv.KindUnprocessable)
		_, err = m.Coord.Create(ctx, m.Session(), key(write("K", "v"), strings.Repeat("k", dsv.MaxIdempotency+1)))
		kind(t, "a key that is too long", err, dsv.KindInvalid)

		// The same key of another caller, and in another namespace, is another key.
		token, _ := c.Grant("other", auth.AllVerbs, "")
		c.Eventually(time.Minute, func() error { _, err := m.Coord.Authenticate(ctx, token); return err })
		_, err = m.Coord.Create(ctx, m.As(token), key(write("K", "v"), "k1"))
		kind(t, "another caller", err, dsv.KindConflict)
		far := key(coordinator.Write{Path: core.Path("elsewhere", "K"), Value: dsv.SecretOf([]byte("v"))}, "k1")
		if _, err := m.Coord.Create(ctx, m.Session(), far); err != nil {
			t.Errorf("another namespace: %v", err)
		}

		// A refusal is not kept.
		_, err = n.Coord.Update(ctx, n.Session(), key(write("LATER", "v"), "k2"))
		kind(t, "update of nothing", err, dsv.KindNotFound)
		put(t, n, "LATER", "u")
		if out, err := n.Coord.Update(ctx, n.Session(), key(write("LATER", "v"), "k2")); err != nil || out.Version != 2 {
			t.Errorf("%+v, %v", out, err)
		}

		// An unchanged update is kept as such, also when the value has moved on.
		un, err := n.Coord.Update(ctx, n.Session(), key(write("LATER", "v"), "k3"))
		if err != nil || !un.Unchanged || un.Version != 2 {
			t.Fatalf("%+v, %v", un, err)
		}
		put(t, n, "LATER", "x")
		again, err := m.Coord.Update(ctx, m.Session(), key(write("LATER", "v"), "k3"))
		if err != nil || !again.Unchanged || again.Version != 2 || again.Operation != un.Operation {
			t.Errorf("%+v, %v; want %+v", again, err, un)
		}

		// Many at once: one version.
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[uint64]int{}
		for i := range 15 {
			wg.Go(func() {
				x := c.Nodes[i%5]
				out, err := x.Coord.Put(ctx, x.Session(), key(write("MANY", "v"), "k4"))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[out.Version]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if len(seen) != 1 || seen[1] != 15 {
			t.Errorf("versions %v", seen)
		}
		for _, d := range []coordinator.Change{{Path: path("MANY"), Meta: coordinator.RequestMeta{IdempotencyKey: "k5"}}} {
			one, err := n.Coord.Delete(ctx, n.Session(), d)
			two, err2 := m.Coord.Delete(ctx, m.Session(), d)
			if err != nil || err2 != nil || one.Operation != two.Operation || !one.ValidTo.Equal(two.ValidTo) {
				t.Errorf("delete: %+v, %v and %+v, %v", one, err, two, err2)
			}
		}
	})
}

// What became of an operation, on every node, and for whom.
func TestOperations(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		w := put(t, n, "K", "v")
		token, _ := c.Grant("other", auth.AllVerbs&^auth.Admin, "")
		for _, m := range c.Nodes {
			out, err := m.Coord.Operation(ctx, m.Session(), w.Operation)
			if err != nil || out.State != "committed" || len(out.Results) != 1 || out.Results[0].Version != 1 || out.Position != w.Position {
				t.Errorf("%s: %+v, %v", m.ID, out, err)
			}
			c.Eventually(time.Minute, func() error { _, err := m.Coord.Authenticate(ctx, token); return err })
			_, err = m.Coord.Operation(ctx, m.As(token), w.Operation)
			kind(t, "somebody else's", err, dsv.KindNotFound)
		}
		h := c.Begin("app", update("K", "w"))
		h.Prepare()
		if out, err := n.Coord.Operation(ctx, n.Session(), h.Tx); err != nil || out.State != "pending" {
			t.Errorf("%+v, %v", out, err)
		}
		c.Settled(time.Minute)
		if out, err := n.Coord.Operation(ctx, n.Session(), h.Tx); err != nil || out.State != "expired" {
			t.Errorf("%+v, %v", out, err)
		}
		_, err := n.Coord.Operation(ctx, n.Session(), dsv.TxID{Partition: 9})
		kind(t, "of a partition that is not", err, dsv.KindInvalid)
	})
}

// Who may not do a thing is told so before anything is looked at: the same
// words whether it exists or not, and without a record or a question to peers.
func TestDeniedBeforeAnyLookup(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		put(t, n, "THERE", "v")
		tokens := map[string]dsv.Secret{}
		tokens["another namespace"], _ = c.Grant("a", auth.AllVerbs&^auth.Admin, "appendix")
		tokens["no verb that fits"], _ = c.Grant("b", auth.Watch, "app")
		for _, tok := range tokens {
			c.Eventually(time.Minute, func() error { _, err := n.Coord.Authenticate(ctx, tok); return err })
		}
		before, frames := n.Log.Stats().Appended, n.Pool.Stats().FramesOut
		for name, tok := range tokens {
			s := n.As(tok)
			calls := map[string]func(dsv.Path) error{
				"create": func(p dsv.Path) error { _, err := n.Coord.Create(ctx, s, coordinator.Write{Path: p}); return err },
				"update": func(p dsv.Path) error { _, err := n.Coord.Update(ctx, s, coordinator.Write{Path: p}); return err },
				"put":    func(p dsv.Path) error { _, err := n.Coord.Put(ctx, s, coordinator.Write{Path: p}); return err },
				"get":    func(p dsv.Path) error { _, err := n.Coord.Get(ctx, s, coordinator.Read{Path: p}); return err },
				"version": func(p dsv.Path) error {
					_, err := n.Coord.Get(ctx, s, coordinator.Read{Path: p, Version: 1})
					return err
				},
				"local": func(p dsv.Path) error {
					_, err := n.Coord.Get(ctx, s, coordinator.Read{Path: p, Consistency: coordinator.Local})
					return err
				},
				"head":     func(p dsv.Path) error { _, err := n.Coord.Head(ctx, s, coordinator.Read{Path: p}); return err },
				"history":  func(p dsv.Path) error { _, _, err := n.Coord.History(ctx, s, coordinator.Read{Path: p}); return err },
				"shards":   func(p dsv.Path) error { _, err := n.Coord.Shards(ctx, s, p); return err },
				"delete":   func(p dsv.Path) error { _, err := n.Coord.Delete(ctx, s, coordinator.Change{Path: p}); return err },
				"undelete": func(p dsv.Path) error { _, err := n.Coord.Undelete(ctx, s, coordinator.Change{Path: p}); return err },
				"destroy": func(p dsv.Path) error {
					_, err := n.Coord.Destroy(ctx, s, coordinator.Destroy{Path: p, All: true})
					return err
				},
				"list": func(p dsv.Path) error {
					_, err := n.Coord.List(ctx, s, coordinator.ListRequest{NS: p.NS, Limit: 1})
					return err
				},
				"batch": func(p dsv.Path) error {
					_, err := n.Coord.Batch(ctx, s, coordinator.Batch{NS: p.NS, Ops: []coordinator.BatchOp{{Kind: coordinator.BatchPut, Key: p.Key}}})
					return err
				},
				"batch of reads": func(p dsv.Path) error {
					_, err := n.Coord.Batch(ctx, s, coordinator.Batch{NS: p.NS, Ops: []coordinator.BatchOp{{Kind: coordinator.BatchGet, Key: p.Key}}})
					return err
				},
				"token": func(dsv.Path) error {
					_, err := n.Coord.CreateToken(ctx, s, coordinator.TokenRequest{Name: "x", Prefixes: []string{""}, Verbs: []string{"read"}})
					return err
				},
			}
			for verb, call := range calls {
				there, none := call(path("THERE")), call(path("NONE"))
				kind(t, name+" "+verb, there, dsv.KindDenied)
				if dsv.AsError(there).Detail != dsv.AsError(none).Detail || dsv.CodeOf(there) != dsv.CodeOf(none) {
					t.Errorf("%s %s: %v where it exists, %v where not", name, verb, there, none)
				}
			}
		}
		if n.Log.Stats().Appended != before || n.Pool.Stats().FramesOut-frames > 8 { // pings go on
			t.Errorf("%d records and %d frames for refusals", n.Log.Stats().Appended-before, n.Pool.Stats().FramesOut-frames)
		}
		if _, err := n.Coord.Authenticate(ctx, dsv.SecretOf([]byte("dsv.rubbish"))); dsv.KindOf(err) != dsv.KindUnauthenticated {
			t.Errorf("%v", err)
		}
	})
}

// A holder judges by itself: a coordinator that lies about the verbs, that
// carries a revoked token, or that says it repairs, gets nothing.
func TestHoldersJudgeTheCaller(t *testing.T) {
	bubble(t, core.Options{Nodes: 6}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "v")
		reader, _ := c.Grant("reader", auth.List|auth.History, "app")
		gone, goneID := c.Grant("gone", auth.AllVerbs, "")
		away, _ := c.Grant("away", auth.AllVerbs&^auth.Admin, "elsewhere")
		var outsider, liar *core.Node
		for _, n := range c.Nodes {
			if n.Rank(path("K").NS) < 0 {
				outsider = n
			} else {
				liar = n
			}
			c.Eventually(time.Minute, func() error { _, err := n.Coord.Authenticate(ctx, away); return err })
		}
		c.RevokeToken(goneID)
		for _, n := range c.Nodes {
			c.Eventually(time.Minute, func() error {
				if _, err := n.Coord.Authenticate(ctx, gone); err == nil {
					return errors.New("not revoked yet")
				}
				return nil
			})
		}
		v, _ := c.Newest(0, path("K"))
		fetch := func(from *core.Node, p peer.Proof, q replica.FetchRequest) map[dsv.Kind]int {
			holders := c.Config().Holders(path("K").NS)
			holders = slices.DeleteFunc(holders, func(id dsv.NodeID) bool { return id == from.ID })
			g := from.Peers.Gather(ctx, holders, q, p)
			defer g.Close()
			g.More(len(holders))
			out := map[dsv.Kind]int{}
			for {
				r, ok := g.Next(ctx, time.Second)
				if !ok {
					return out
				}
				if r.Err == nil && q.Set.IsZero() {
					out[255]++ // an answer without a shard
				} else if r.Err == nil && len(r.Answer.Shard) == 0 {
					out[254]++ // a probe
				} else {
					out[dsv.KindOf(r.Err)]++
				}
			}
		}
		shard := replica.FetchRequest{Path: path("K"), Set: v.ShareSet}
		for name, x := range map[string]struct {
			from  *core.Node
			proof peer.Proof
			want  dsv.Kind
		}{
			"list, said to be list":         {liar, peer.Proof{Token: reader, Verbs: auth.List}, dsv.KindDenied},
			"list, said to be read":         {liar, peer.Proof{Token: reader, Verbs: auth.Read}, dsv.KindDenied},
			"no verb at all":                {liar, peer.Proof{Token: c.Token}, dsv.KindInternal},
			"revoked, at an old revision":   {liar, peer.Proof{Token: gone, Verbs: auth.Read, Revision: 1}, dsv.KindUnauthenticated},
			"another namespace":             {liar, peer.Proof{Token: away, Verbs: auth.Read}, dsv.KindDenied},
			"no token":                      {liar, peer.Proof{Verbs: auth.Read}, dsv.KindUnauthenticated},
			"a repair of no holder":         {outsider, peer.Proof{Repair: true}, dsv.KindDenied},
			"a repair with a caller's name": {outsider, peer.Proof{Repair: true, Token: c.Token, Verbs: auth.Read}, dsv.KindDenied},
		} {
			got := fetch(x.from, x.proof, shard)
			if x.want == dsv.KindInternal { // a shard is read, whatever verbs were said
				if n := got[dsv.KindInternal]; n != 4 {
					t.Errorf("%s: %v", name, got)
				}
				continue
			}
			if len(got) != 1 || got[x.want] < 4 {
				t.Errorf("%s: %v, want only kind %d", name, got, x.want)
			}
		}
		if got := fetch(liar, peer.Proof{Token: reader, Verbs: auth.History}, replica.FetchRequest{Path: path("K"), Set: v.ShareSet, Probe: true}); got[254] != 4 {
			t.Errorf("a probe for who may see the history: %v", got)
		}

		// Stages.
		h := c.Begin("app", core.Op{Kind: metapb.OpKind_PUT, Key: "K", Value: "w"})
		to := 0
		for i, n := range c.Nodes {
			if n != liar && n != outsider {
				to = i
			}
		}
		stage := func(from *core.Node, p peer.Proof, change func(*replica.StageRequest)) error {
			q := h.StageRequest(to)
			if change != nil {
				change(&q)
			}
			done := make(chan error, 1)
			from.Peers.Stage(ctx, c.Nodes[to].ID, q, p, func(_ dsv.StoreID, err error) { done <- err })
			return <-done
		}
		writer, _ := c.Grant("updater", auth.Update, "app")
		c.Eventually(time.Minute, func() error { _, err := c.Nodes[to].Coord.Authenticate(ctx, writer); return err })
		kind(t, "update only, for a put", stage(liar, peer.Proof{Token: writer, Verbs: auth.Update}, nil), dsv.KindDenied)
		kind(t, "revoked", stage(liar, peer.Proof{Token: gone, Verbs: auth.AllVerbs}, nil), dsv.KindUnauthenticated)
		kind(t, "a write that says it repairs", stage(liar, peer.Proof{Repair: true}, nil), dsv.KindInvalid)
		asRepair := func(q *replica.StageRequest) { q.Ops[0].Kind = metapb.OpKind_REPAIR }
		kind(t, "a repair with a token", stage(liar, peer.Proof{Token: c.Token, Verbs: auth.AllVerbs}, asRepair), dsv.KindInvalid)
		kind(t, "a repair of no holder", stage(outsider, peer.Proof{Repair: true}, asRepair), dsv.KindDenied)
		kind(t, "an unknown kind", stage(liar, peer.Proof{Token: c.Token}, func(q *replica.StageRequest) { q.Ops[0].Kind = 77 }), dsv.KindInvalid)
		if err := stage(liar, peer.Proof{Token: writer, Verbs: auth.AllVerbs}, func(q *replica.StageRequest) { q.Ops[0].Kind = metapb.OpKind_UPDATE }); err != nil {
			t.Errorf("what it may: %v", err)
		}
		if n := c.Nodes[to].Rep.Stats().Staged; n != 1 {
			t.Errorf("%d staged rows", n)
		}
		c.Settled(time.Minute)
	})
}

// A caller's token is judged at the revision that the coordinator judged it by:
// a holder that lags waits for that.
func TestHoldersWaitForTheRevision(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "v")
		c.Settled(time.Minute)
		for i := 1; i < 5; i++ {
			c.LogNet.SetDelay(string(c.Nodes[i].ID), 60*time.Millisecond)
		}
		n := c.Nodes[0]
		token, _ := c.Grant("fresh", auth.AllVerbs&^auth.Admin, "app")
		c.Eventually(time.Second, func() error { _, err := n.Coord.Authenticate(ctx, token); return err })
		f, err := n.Coord.Get(ctx, n.As(token), coordinator.Read{Path: path("K")})
		value(t, "a token that the holders have not heard of", f, err, "v", 1)
		if _, err := n.Coord.Put(ctx, n.As(token), write("K", "w")); err != nil {
			t.Error(err)
		}
	})
}

// Reads of a cluster under writes and restarts of one node never go back.
func TestReadsNeverGoBack(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "0")
		var mu sync.Mutex
		acked := uint64(1)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 5 {
			c.LogNet.SetDelay(string(c.Nodes[i].ID), time.Duration(i*3)*time.Millisecond)
		}
		wg.Go(func() {
			defer close(stop)
			for i := range 100 {
				n := c.Nodes[i%3]
				w, err := n.Coord.Put(ctx, n.Session(), write("K", fmt.Sprint(i)))
				if err != nil {
					if k := dsv.KindOf(err); k != dsv.KindUnavailable && k != dsv.KindUnknownOutcome {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				acked = max(acked, w.Version)
				mu.Unlock()
			}
		})
		for i := range 3 {
			wg.Go(func() {
				last := uint64(0)
				for {
					select {
					case <-stop:
						return
					default:
					}
					mu.Lock()
					floor := max(acked, last)
					mu.Unlock()
					f, err := get(c.Nodes[i], coordinator.Read{})
					switch {
					case err == nil && f.Version.Version < floor:
						t.Errorf("version %d after version %d was told", f.Version.Version, floor)
					case err == nil:
						last = f.Version.Version
					case dsv.KindOf(err) != dsv.KindUnavailable:
						t.Error(err)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Go(func() {
			for i := range 3 {
				n := c.Nodes[3+i%2]
				time.Sleep(30 * time.Millisecond)
				if i == 1 {
					n.Wipe()
				} else {
					n.Crash()
				}
				time.Sleep(20 * time.Millisecond)
				n.Start()
				n.Ready()
			}
		})
		wg.Wait()
		for i := range c.Nodes {
			c.LogNet.SetDelay(string(c.Nodes[i].ID), 0)
		}
		c.Settled(time.Minute)
		c.Nodes[1].View(func(tx store.Txn) error { return meta.AssertInvariants(tx, 0) })
	})
}
