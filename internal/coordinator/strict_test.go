package coordinator_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/tests/core"
)

func bubble(t *testing.T, opt core.Options, f func(*testing.T, *core.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, core.New(t, opt)) })
}

// tight is a quorum where any k holders share exactly one with any w.
var tight = core.Options{Nodes: 4, Quorum: dsv.Quorum{K: 2, N: 4, W: 3}}

func path(key string) dsv.Path { return core.Path("app", key) }

func get(n *core.Node, q coordinator.Read) (coordinator.Found, error) {
	if q.Path == (dsv.Path{}) {
		q.Path = path("K")
	}
	return n.Coord.Get(context.Background(), n.Session(), q)
}

func head(n *core.Node, q coordinator.Read) (coordinator.Found, error) {
	if q.Path == (dsv.Path{}) {
		q.Path = path("K")
	}
	return n.Coord.Head(context.Background(), n.Session(), q)
}

func write(key, value string) coordinator.Write {
	return coordinator.Write{Path: path(key), Value: dsv.SecretOf([]byte(value))}
}

func put(t *testing.T, n *core.Node, key, value string) coordinator.Written {
	t.Helper()
	w, err := n.Coord.Put(context.Background(), n.Session(), write(key, value))
	if err != nil {
		t.Fatalf("put %s=%s at %s: %v", key, value, n.ID, err)
	}
	return w
}

// later is a read under way.
type later struct {
	done  chan struct{}
	found coordinator.Found
	err   error
	took  time.Duration
}

func reading(n *core.Node, q coordinator.Read) *later {
	l := &later{done: make(chan struct{})}
	began := time.Now()
	go func() {
		defer close(l.done)
		l.found, l.err = get(n, q)
		l.took = time.Since(began)
	}()
	return l
}

// stillReading fails if the read was answered within d.
func (l *later) still(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-l.done:
		t.Fatalf("it answered %q (version %d), %v after %v", l.found.Value.Reveal(), l.found.Version.Version, l.err, l.took)
	case <-time.After(d):
	}
}

func (l *later) want(t *testing.T, value string, version uint64) {
	t.Helper()
	<-l.done
	if l.err != nil || string(l.found.Value.Reveal()) != value || l.found.Version.Version != version {
		t.Fatalf("%q (version %d), %v; want %q (version %d)", l.found.Value.Reveal(), l.found.Version.Version, l.err, value, version)
	}
}

func update(key, value string) core.Op {
	return core.Op{Kind: metapb.OpKind_UPDATE, Key: key, Value: value}
}

// alone leaves node 0 with node 1 only.
func alone(c *core.Cluster) {
	for i := range c.Nodes {
		for j := range i {
			if i > 1 {
				c.Cut(i, j)
			}
		}
	}
}

func together(c *core.Cluster) {
	for i := range c.Nodes {
		for j := range i {
			c.Heal(i, j)
		}
	}
}

// M2, M22: the only other holder that answers has the row of a committed write
// staged, and has not even seen its PREPARE; the reader knows nothing of it.
func TestStagedRowIsNamedWithoutItsPrepare(t *testing.T) {
	bubble(t, tight, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "old")
		c.CutLog(0)
		c.CutLog(1)
		h := c.Begin("app", update("K", "new"))
		h.Stage(1, 2, 3)
		h.Prepare()
		c.Nodes[2].Applied(0, h.Commit()) // committed and, for all we know, acknowledged
		alone(c)
		l := reading(c.Nodes[0], coordinator.Read{})
		l.still(t, 300*time.Millisecond)
		c.HealLog(0)
		together(c) // for a shard of what it now knows
		l.want(t, "new", 2)
	})
}

// M21: the holder names every staged transaction, not only its newest: the
// reader knows that the newer one was aborted.
func TestEveryStagedTransactionIsNamed(t *testing.T) {
	bubble(t, tight, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "old")
		c.CutLog(1)
		t1, t2 := c.Begin("app", update("K", "new")), c.Begin("app", update("K", "never"))
		t1.Stage(1, 2, 3)
		time.Sleep(time.Millisecond)
		t2.Stage(1)
		t1.Prepare()
		t2.Prepare()
		c.Nodes[0].Applied(0, t2.Abort())
		c.CutLog(0)
		c.Nodes[2].Applied(0, t1.Commit())
		alone(c)
		l := reading(c.Nodes[0], coordinator.Read{})
		l.still(t, 300*time.Millisecond)
		c.HealLog(0)
		together(c) // for a shard of what it now knows
		l.want(t, "new", 2)
	})
}

// M3: the holder has applied a write that the reader has not: the reader
// catches up first. M13: also where the change takes no version number.
func TestReaderCatchesUp(t *testing.T) {
	for name, op := range map[string]core.Op{
		"update":  update("K", "new"),
		"delete":  {Kind: metapb.OpKind_DELETE, Key: "K"},
		"destroy": {Kind: metapb.OpKind_DESTROY, Key: "K", All: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, tight, func(t *testing.T, c *core.Cluster) {
				put(t, c.Nodes[0], "K", "old")
				c.CutLog(0)
				h := c.Begin("app", op)
				h.Prepare()
				h.Stage(1, 2, 3)
				c.Nodes[1].Applied(0, h.Commit())
				alone(c)
				l := reading(c.Nodes[0], coordinator.Read{})
				l.still(t, 300*time.Millisecond)
				c.HealLog(0)
				together(c)
				if name == "update" {
					l.want(t, "new", 2)
					return
				}
				<-l.done
				if dsv.KindOf(l.err) != dsv.KindNotFound {
					t.Errorf("%q, %v; want 404", l.found.Value.Reveal(), l.err)
				}
			})
		})
	}
}

// M3 and the deadline: a reader that cannot catch up answers 503 in time, never
// what it has.
func TestReaderThatCannotCatchUp(t *testing.T) {
	bubble(t, tight, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "old")
		c.CutLog(0)
		put(t, c.Nodes[2], "K", "new")
		l := reading(c.Nodes[0], coordinator.Read{})
		<-l.done
		if dsv.KindOf(l.err) != dsv.KindUnavailable || dsv.CodeOf(l.err) != dsv.CodeLogUnavailable || l.took > 4100*time.Millisecond {
			t.Errorf("%q, %v after %v", l.found.Value.Reveal(), l.err, l.took)
		}
	})
}

// M5, M20: a holder that lost its directory says nothing before its own JOIN
// is applied there; what it acknowledged is not forgotten.
func TestAmnesiacIsSilent(t *testing.T) {
	bubble(t, tight, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "old")
		c.CutLog(0)
		h := c.Begin("app", update("K", "new"))
		h.Prepare()
		h.Stage(1, 2, 3)
		c.Nodes[2].Applied(0, h.Commit())
		alone(c)
		c.Nodes[1].Wipe()
		c.LogNet.SetDelay("n2", 100*time.Millisecond)
		c.Nodes[1].Start()
		c.Eventually(20*time.Second, func() error {
			if !c.Nodes[0].Peers.Reachable("n2") {
				return errors.New("not connected")
			}
			return nil
		})
		answered := 0
		for c.Nodes[1].Rep.Ready() != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			f, err := c.Nodes[0].Coord.Get(ctx, c.Nodes[0].Session(), coordinator.Read{Path: path("K")})
			cancel()
			if err == nil {
				t.Fatalf("%q with the word of a store that has not joined", f.Value.Reveal())
			}
			answered++
			time.Sleep(time.Millisecond)
		}
		if answered == 0 {
			t.Fatal("it was ready at once: this shows nothing")
		}
		c.HealLog(0)
		together(c)
		c.Eventually(20*time.Second, func() error {
			f, err := get(c.Nodes[0], coordinator.Read{})
			if err == nil && string(f.Value.Reveal()) != "new" {
				t.Fatalf("%q", f.Value.Reveal())
			}
			return err
		})
	})
}

// Answers under a replaced store id are dropped: the old process of a node that
// is back elsewhere may lag for ever (the part of hole Z that is closed).
func TestReplacedStoreIsNotHeard(t *testing.T) {
	bubble(t, tight, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "old")
		zombie, reader := c.Nodes[1], c.Nodes[2]
		id, other := zombie.Rep.StoreID(), dsv.NewStoreID()
		c.CutLog(1)
		reader.Applied(0, c.Append(0, &metapb.Record{Version: 1, Body: &metapb.Record_Join{Join: &metapb.Join{Node: string(zombie.ID), StoreId: other[:], Replaces: id[:]}}}))
		c.CutLog(2)
		h := c.Begin("app", update("K", "new"))
		h.Prepare()
		h.Stage(0, 3)
		h.Ack(1, other) // of the new process
		off := h.Commit()
		c.Nodes[0].Applied(0, off)
		if s := h.Status(0); s.State != meta.TxCommitted {
			t.Fatalf("%v", s.State)
		}
		for _, i := range []int{0, 3} {
			c.Cut(i, 1)
			c.Cut(i, 2)
		}
		f, err := get(reader, coordinator.Read{})
		if err == nil {
			t.Errorf("%q with the word of a replaced store", f.Value.Reveal())
		}
	})
}

// M7: a write that stays undecided is passed by a barrier: the answer is the
// state there, in one log round trip, whatever the coordinator does.
func TestUndecidedWriteIsPassedByABarrier(t *testing.T) {
	bubble(t, tight, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "old")
		h := c.Begin("app", update("K", "new"))
		h.Stage(0, 1, 2, 3)
		c.Nodes[0].Applied(0, h.Prepare())
		before := c.Nodes[0].Rep.Applied(0)
		l := reading(c.Nodes[0], coordinator.Read{})
		l.want(t, "old", 1)
		if l.took > 50*time.Millisecond {
			t.Errorf("it took %v", l.took)
		}
		if n := c.Nodes[0].Rep.Applied(0) - before; n != 1 {
			t.Errorf("%d records, want one TICK", n)
		}
		// Committed in the log, and neither the reader nor the holders know it yet.
		for i := range c.Nodes {
			c.LogNet.SetDelay(string(c.Nodes[i].ID), 40*time.Millisecond)
		}
		h.Commit()
		l = reading(c.Nodes[0], coordinator.Read{})
		l.want(t, "new", 2)
	})
}

// M12: the version that the reader asked shards of is not the one it answers,
// if a write is decided here while the answers are on their way.
func TestReaderLooksAfterTheTest(t *testing.T) {
	bubble(t, tight, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "old")
		for i := 1; i < 4; i++ {
			c.CutLog(i)
			host := c.Nodes[i].Host
			c.Net.Delay(host, c.Nodes[0].Host, func() time.Duration { return 30 * time.Millisecond })
		}
		h := c.Begin("app", update("K", "new"))
		h.Prepare()
		h.Stage(1, 2, 3)
		l := reading(c.Nodes[0], coordinator.Read{})
		time.Sleep(10 * time.Millisecond) // the holders have answered, the answers are under way
		c.Nodes[0].Applied(0, h.Commit())
		l.want(t, "new", 2)
	})
}

// M11: a holder's answer is one state: a write whose COMMIT was in the log
// before it was asked is in S or below d, at whatever moment it is applied.
func TestAnswersAreWhole(t *testing.T) {
	bubble(t, core.Options{Disk: true}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "v")
		n := c.Nodes[1]
		for i := range 60 {
			h := c.Begin("app", update("K", fmt.Sprint(i)))
			h.Prepare()
			h.Stage(0, 1, 2, 3, 4)
			off := h.Commit()
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 5 {
						a, err := n.Rep.Fetch(context.Background(), replica.FetchRequest{Path: path("K")})
						if err != nil {
							t.Error(err)
							return
						}
						named := false
						for _, x := range a.Staged {
							named = named || x == h.Tx
						}
						if !named && a.Decided < off {
							t.Errorf("round %d: the write at %d is neither staged nor decided (d = %d)", i, off, a.Decided)
						}
					}
				})
			}
			wg.Wait()
			n.Applied(0, off)
		}
	})
}

// Fewer than k holders: no value and never an older one; but what needs no
// value is answered by a barrier.
func TestTooFewHolders(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "one")
		put(t, c.Nodes[0], "K", "two")
		c.Settled(time.Minute)
		for _, i := range []int{2, 3, 4} {
			c.Nodes[i].Stop()
		}
		c.Eventually(10*time.Second, func() error {
			if c.Nodes[0].Peers.Reachable("n3") || c.Nodes[0].Peers.Reachable("n4") || c.Nodes[0].Peers.Reachable("n5") {
				return errors.New("connected")
			}
			return nil
		})
		for name, q := range map[string]coordinator.Read{"latest": {}, "version": {Version: 1}, "at": {At: time.Now()}, "local": {Consistency: coordinator.Local}} {
			began := time.Now()
			f, err := get(c.Nodes[0], q)
			e := dsv.AsError(err)
			if e == nil || e.Kind != dsv.KindUnavailable || e.Code != dsv.CodeNotEnoughShards || e.Need != 3 || e.Have != 2 || len(e.Silent) != 3 {
				t.Errorf("%s: %q, %+v", name, f.Value.Reveal(), e)
			}
			if d := time.Since(began); d > 100*time.Millisecond {
				t.Errorf("%s: it took %v", name, d)
			}
		}
		if f, err := head(c.Nodes[0], coordinator.Read{}); err != nil || f.Version.Version != 2 {
			t.Errorf("head: %+v, %v", f, err)
		}
		if _, err := get(c.Nodes[0], coordinator.Read{Path: path("NONE")}); dsv.KindOf(err) != dsv.KindNotFound {
			t.Errorf("404: %v", err)
		}
		if v, _, err := c.Nodes[0].Coord.History(context.Background(), c.Nodes[0].Session(), coordinator.Read{Path: path("K")}); err != nil || len(v) != 2 {
			t.Errorf("history: %v, %v", v, err)
		}
		c.CutLog(0)
		for name, f := range map[string]func() error{
			"head": func() error { _, err := head(c.Nodes[0], coordinator.Read{}); return err },
			"404":  func() error { _, err := get(c.Nodes[0], coordinator.Read{Path: path("NONE")}); return err },
		} {
			if err := f(); dsv.KindOf(err) != dsv.KindUnavailable {
				t.Errorf("%s without holders and log: %v", name, err)
			}
		}
		// Local needs nobody.
		if f, err := head(c.Nodes[0], coordinator.Read{Consistency: coordinator.Local}); err != nil || f.Version.Version != 2 || f.Lag == 0 {
			t.Errorf("local head, all alone: %+v, %v", f, err)
		}
		if _, err := head(c.Nodes[0], coordinator.Read{Path: path("NONE"), Consistency: coordinator.Local}); dsv.KindOf(err) != dsv.KindNotFound {
			t.Errorf("local 404, all alone: %v", err)
		}
		if v, _, err := c.Nodes[0].Coord.History(context.Background(), c.Nodes[0].Session(), coordinator.Read{Path: path("K"), Consistency: coordinator.Local}); err != nil || len(v) != 2 {
			t.Errorf("local history, all alone: %v, %v", v, err)
		}
		if l, err := c.Nodes[0].Coord.List(context.Background(), c.Nodes[0].Session(), coordinator.ListRequest{NS: path("K").NS, Limit: 10, Consistency: coordinator.Local}); err != nil || len(l.Names) != 1 {
			t.Errorf("local list, all alone: %v, %v", l, err)
		}
	})
}

// Holders that hang are passed by the hedge as long as k others answer.
func TestHedge(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "v")
		for i := 1; i < 5; i++ {
			for j := range i {
				c.AllHold(path("K").NS, 1)
				if k := i%4 + 1; j == 0 && k != i {
					c.Cut(0, i)
					c.Cut(0, k)
					l := reading(c.Nodes[0], coordinator.Read{})
					l.want(t, "v", 1)
					if l.took > 50*time.Millisecond {
						t.Errorf("without %s and %s: %v", c.Nodes[i].ID, c.Nodes[k].ID, l.took)
					}
					c.Heal(0, i)
					c.Heal(0, k)
				}
			}
		}
	})
}

// A holder that tells a position that no log has costs a barrier, not the read.
func TestLyingPosition(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "v")
		r, err := c.Nodes[0].Coord.ReadWithLiar(c.Nodes[0].Session(), path("K"), 1<<40)
		if err != nil || string(r.Reveal()) != "v" {
			t.Errorf("%q, %v", r.Reveal(), err)
		}
	})
}
