package replica_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/tests/core"
)

const seconds = int64(time.Second / time.Microsecond)

// bubble runs a test on a cluster inside a bubble.
func bubble(t *testing.T, opt core.Options, f func(*testing.T, *core.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, core.New(t, opt)) })
}

func create(key, value string) core.Op {
	return core.Op{Kind: metapb.OpKind_CREATE, Key: key, Value: value}
}

func update(key, value string) core.Op {
	return core.Op{Kind: metapb.OpKind_UPDATE, Key: key, Value: value}
}

// quiet is a replica without staged rows and bytes, with that many shards and
// holes.
func quiet(t *testing.T, n *core.Node, shards, holes int64) {
	t.Helper()
	st := n.Rep.Stats()
	if st.Staged != 0 || st.StagedBytes != 0 || st.Shards != shards || st.Holes != holes {
		t.Errorf("%s: staged %d (%d bytes), shards %d, holes %d; want none staged, %d shards, %d holes",
			n.ID, st.Staged, st.StagedBytes, st.Shards, st.Holes, shards, holes)
	}
}

func TestStageIsRefused(t *testing.T) {
	bubble(t, core.Options{Nodes: 6}, func(t *testing.T, c *core.Cluster) {
		time.Sleep(time.Minute) // so that a T0 can lie long ago
		c.Nodes[0].Applied(0, c.Tick(0))
		e := c.Nodes[0].Rep.EstimateE(0)
		outsider, holder := -1, -1
		for i, n := range c.Nodes {
			if n.Rank(core.Path("app", "K").NS) < 0 {
				outsider = i
			} else {
				holder = i
			}
		}
		n := c.Nodes[holder]
		n.Applied(0, c.Tick(0))
		want := func(name string, err, target error) {
			t.Helper()
			if !errors.Is(err, target) {
				t.Errorf("%s: %v, want %v", name, err, target)
			}
		}
		invalid := dsv.E(dsv.KindInvalid, "", "")
		want("no holder", c.Begin("app", create("K", "v")).TryStage(outsider), replica.ErrNotHolder)
		want("too early", c.BeginAt("app", e+11*seconds, create("K", "v")).TryStage(holder), replica.ErrTooEarly)
		want("too late", c.BeginAt("app", e-11*seconds, create("K", "v")).TryStage(holder), replica.ErrTooLate)

		q := c.Begin("app", create("K", "v")).StageRequest(holder)
		q.Tx.Partition = 7
		_, err := n.Rep.Stage(context.Background(), q)
		want("another partition than its namespace's", err, invalid)
		h := c.Begin("app", create("K", "v"))
		q = h.StageRequest(holder)
		q.Ops[0].Shard = h.Shard(0, (n.Rank(h.NS)+1)%5)
		_, err = n.Rep.Stage(context.Background(), q)
		want("the shard of another rank", err, invalid)
		q.Ops[0].Shard = c.Begin("app", create("K", "v")).Shard(0, n.Rank(h.NS))
		_, err = n.Rep.Stage(context.Background(), q)
		want("the shard of another share set", err, invalid)
		q.Ops[0].Shard = []byte("no shard")
		if _, err = n.Rep.Stage(context.Background(), q); err == nil {
			t.Error("bytes that are no shard were stored")
		}

		done := c.Begin("app", create("DONE", "v"))
		done.Prepare()
		n.Applied(0, done.Abort())
		want("aborted", done.TryStage(holder), replica.ErrTooLate)
		lost := c.Begin("app", create("LOST", "v"))
		lost.Prepare()
		n.Applied(0, lost.Commit()) // no acknowledgements
		if s := lost.Status(holder); s.State != meta.TxRejected {
			t.Fatalf("%v, want rejected", s.State)
		}
		want("rejected", lost.TryStage(holder), replica.ErrTooLate)
		old := c.Begin("app", create("OLD", "v"))
		old.Prepare()
		time.Sleep(11 * time.Second)
		n.Applied(0, c.Tick(0))
		want("expired", old.TryStage(holder), replica.ErrTooLate)
		quiet(t, n, 0, 0)
	})
}

func TestStageNeedsJoin(t *testing.T) {
	bubble(t, core.Options{Stopped: true}, func(t *testing.T, c *core.Cluster) {
		for _, n := range c.Nodes[1:] {
			n.Start()
		}
		for _, n := range c.Nodes[1:] {
			n.Ready()
		}
		h := c.Nodes[1]
		// The first node reads CONFIG and never gets its JOIN into the log.
		n := c.Nodes[0]
		n.Start()
		for n.Rep.Applied(0) < 0 {
			time.Sleep(time.Millisecond)
		}
		c.LogNet.SetDelay(string(n.ID), 400*time.Millisecond)
		tx := c.BeginAt("app", h.Rep.EstimateE(0), create("K", "v"))
		if err := tx.TryStage(0); !errors.Is(err, replica.ErrNotJoined) {
			t.Errorf("stage: %v, want %v", err, replica.ErrNotJoined)
		}
		if _, err := tx.Answer(0, 0); !errors.Is(err, replica.ErrNotJoined) {
			t.Errorf("fetch: %v, want %v", err, replica.ErrNotJoined)
		}
		n.Ready()
		if _, err := tx.Answer(0, 0); err != nil {
			t.Errorf("fetch after the join: %v", err)
		}
	})
}

func TestStageTwice(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		h := c.Begin("app", create("A", "v"), create("B", "w"), core.Op{Kind: metapb.OpKind_PUT, Key: "C", Value: "x"})
		h.Stage(0, 0, 0)
		st := c.Nodes[0].Rep.Stats()
		if st.Staged != 1 || st.Shards != 3 {
			t.Fatalf("staged %d, shards %d after three stages of one transaction", st.Staged, st.Shards)
		}
		// Another coordinator who saw the id cannot get an acknowledgement for what it did not store.
		q := h.StageRequest(0)
		q.Coordinator = "n5"
		if _, err := c.Nodes[0].Rep.Stage(context.Background(), q); dsv.KindOf(err) != dsv.KindDenied {
			t.Errorf("a stage of another coordinator under the same id: %v, want denied", err)
		}
		q = h.StageRequest(0)
		q.Incarnation[3]++
		if _, err := c.Nodes[0].Rep.Stage(context.Background(), q); dsv.KindOf(err) != dsv.KindDenied {
			t.Errorf("a stage of another incarnation under the same id: %v, want denied", err)
		}
		h.Prepare()
		h.Stage(1, 2, 3)
		off := h.Commit()
		for i := range 4 {
			c.Nodes[i].Applied(0, off)
			quiet(t, c.Nodes[i], 3, 0)
		}
		c.Nodes[4].Applied(0, off)
		quiet(t, c.Nodes[4], 0, 3)
		h.Stage(0) // a late duplicate
		quiet(t, c.Nodes[0], 3, 0)
	})
}

func TestRevokeIsItsCoordinators(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		h := c.Begin("app", create("K", "v")).Stage(0)
		rep := c.Nodes[0].Rep
		if err := rep.Revoke(context.Background(), "n2", h.StageRequest(0).Incarnation, h.Tx); dsv.KindOf(err) != dsv.KindDenied {
			t.Errorf("another node: %v, want denied", err)
		}
		if err := rep.Revoke(context.Background(), core.Coordinator, dsv.NewIncarnation(), h.Tx); dsv.KindOf(err) != dsv.KindDenied {
			t.Errorf("another incarnation: %v, want denied", err)
		}
		if st := rep.Stats(); st.Staged != 1 || st.Shards != 1 {
			t.Fatalf("staged %d, shards %d after refused revokes", st.Staged, st.Shards)
		}
		if err := h.Revoke(0); err != nil {
			t.Fatal(err)
		}
		quiet(t, c.Nodes[0], 0, 0)
		if err := h.Revoke(0); err != nil {
			t.Errorf("again: %v", err)
		}
		// One that is committed stays.
		h = c.Begin("app", create("K", "v"))
		c.Nodes[0].Applied(0, h.All())
		if err := h.Revoke(0); err != nil {
			t.Errorf("committed: %v", err)
		}
		quiet(t, c.Nodes[0], 1, 0)
		if err := rep.Revoke(context.Background(), core.Coordinator, dsv.Incarnation{}, dsv.TxID{Partition: 99}); dsv.KindOf(err) != dsv.KindInvalid {
			t.Errorf("a partition that does not exist: %v", err)
		}
	})
}

// What a decision does to the rows: live, gone, or a hole.
func TestDecisionMovesRows(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n, other := c.Nodes[0], c.Nodes[4]
		h1 := c.Begin("app", create("K", "one"))
		h1.Prepare()
		h1.Stage(0, 1, 2, 3)
		if a, err := h1.Answer(0, 0); err != nil || a.State != replica.ShardGood || len(a.Staged) != 1 || a.Staged[0] != h1.Tx || a.Decided != -1 {
			t.Errorf("staged: %+v, %v", a, err)
		}
		off := h1.Commit()
		n.Applied(0, off)
		other.Applied(0, off)
		if a, err := h1.Answer(0, 0); err != nil || a.State != replica.ShardGood || len(a.Staged) != 0 || a.Decided != off {
			t.Errorf("committed: %+v, %v", a, err)
		}
		if a, err := h1.Answer(4, 0); err != nil || a.State != replica.ShardMissing || a.Decided != off {
			t.Errorf("not staged: %+v, %v", a, err)
		}
		quiet(t, n, 1, 0)
		quiet(t, other, 0, 1)
		holes, _, err := other.Rep.Holes(0, nil, 10)
		if err != nil || len(holes) != 1 || holes[0].Set != h1.Set(0) || holes[0].Version != 1 || holes[0].Reason != replica.HoleMissing {
			t.Fatalf("holes %+v, %v", holes, err)
		}

		h2 := c.Begin("app", update("K", "two"))
		h2.Prepare()
		h2.Stage(0, 1, 2, 3, 4)
		off = h2.Abort()
		n.Applied(0, off)
		c.Nodes[1].Applied(0, off)
		quiet(t, n, 1, 0)

		// A repair: the old share set goes everywhere, also its hole; who has no
		// shard of the new one gets a hole of that.
		rep := c.Begin("app", core.Op{Kind: metapb.OpKind_REPAIR, Key: "K", Value: "one", Version: 1, From: h1.Set(0)})
		rep.Prepare()
		rep.Stage(1, 2, 3, 4)
		if a, _ := rep.Answer(1, 0); len(a.Staged) != 0 || a.State != replica.ShardGood {
			t.Errorf("a staged repair: %+v, want it unnamed and its shard served", a)
		}
		off = rep.Commit()
		n.Applied(0, off)
		other.Applied(0, off)
		quiet(t, n, 0, 1)
		quiet(t, other, 1, 0)
		if a, _ := h1.Answer(1, 0); a.State != replica.ShardMissing || a.Decided != off {
			t.Errorf("the old share set: %+v", a)
		}
		holes, _, _ = n.Rep.Holes(0, nil, 10)
		if len(holes) != 1 || holes[0].Set != rep.Set(0) {
			t.Errorf("holes %+v, want one of the repair's share set", holes)
		}

		// A destroy takes shards and holes.
		d := c.Begin("app", core.Op{Kind: metapb.OpKind_DESTROY, Key: "K", All: true})
		d.Prepare()
		d.Stage(0, 1, 2, 3)
		off = d.Commit()
		for _, n := range c.Nodes {
			n.Applied(0, off)
			quiet(t, n, 0, 0)
		}
	})
}

// A stage and its decision at one moment: whatever comes first, no row is left
// over and none is lost.
func TestStageRacesDecision(t *testing.T) {
	bubble(t, core.Options{Disk: true}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[4]
		const rounds = 40
		live, holes := int64(0), int64(0)
		for i := range rounds {
			h := c.Begin("app", create("K"+string(rune('A'+i%26))+strings.Repeat("x", i/26), "v"))
			h.Prepare()
			h.Stage(0, 1, 2, 3)
			var wg sync.WaitGroup
			var err error
			q := h.StageRequest(4)
			wg.Go(func() { _, err = n.Rep.Stage(context.Background(), q) })
			var off int64
			commit := i%2 == 0
			if commit {
				off = h.Commit()
			} else {
				off = h.Abort()
			}
			n.Applied(0, off)
			wg.Wait()
			a, ferr := h.Answer(4, 0)
			if ferr != nil || len(a.Staged) != 0 {
				t.Fatalf("round %d: %+v, %v", i, a, ferr)
			}
			switch {
			case !commit && a.State != replica.ShardMissing:
				t.Fatalf("round %d: the shard of an aborted transaction stayed", i)
			case commit && err != nil:
				t.Fatalf("round %d: stage: %v", i, err)
			case commit && a.State != replica.ShardGood:
				t.Fatalf("round %d: acknowledged, committed and %v", i, a.State)
			case commit:
				live++
			}
		}
		quiet(t, n, live, holes)
	})
}

// The bound on staged bytes is given back whatever becomes of the rows.
func TestStagedBytesAreBounded(t *testing.T) {
	bubble(t, core.Options{StagedBytes: 3000}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		var hs []*core.Hand
		var err error
		for range 100 {
			h := c.Begin("app", create("K", strings.Repeat("v", 600)))
			if err = h.TryStage(0); err != nil {
				break
			}
			hs = append(hs, h)
		}
		if !errors.Is(err, replica.ErrStagedFull) || dsv.KindOf(err) != dsv.KindTooMany || len(hs) < 2 {
			t.Fatalf("after %d stages: %v, want 429", len(hs), err)
		}
		if b := n.Rep.Stats().StagedBytes; b <= 0 || b > 3000 {
			t.Errorf("%d staged bytes", b)
		}
		c.Must(hs[0].Revoke(0))
		if err := c.Begin("app", create("K", strings.Repeat("v", 600))).TryStage(0); err != nil {
			t.Errorf("after a revoke: %v", err)
		}
		c.Eventually(time.Minute, func() error { // the rest never gets a PREPARE
			if n.Rep.Stats().Staged != 0 {
				return errors.New("rows without a PREPARE are still there")
			}
			return nil
		})
		quiet(t, n, 0, 0)
	})
}

// A stage whose caller is gone: the rows are either counted or not there.
func TestStageWhoseCallerLeaves(t *testing.T) {
	bubble(t, core.Options{Disk: true}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		for i := range 60 {
			h := c.Begin("app", create("K", "v"))
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = n.Rep.Stage(ctx, h.StageRequest(0)) })
			if i%2 == 0 {
				wg.Go(cancel)
			}
			wg.Wait()
			cancel()
			ctx, cancel = context.WithCancel(context.Background())
			wg.Go(func() { _ = n.Rep.Revoke(ctx, core.Coordinator, h.StageRequest(0).Incarnation, h.Tx) })
			if i%3 == 0 {
				wg.Go(cancel)
			}
			wg.Wait()
			cancel()
		}
		c.Eventually(time.Minute, func() error {
			if n.Rep.Stats().Staged != 0 {
				return errors.New("staged")
			}
			return nil
		})
		quiet(t, n, 0, 0)
		n.Stop()
		n.Start()
		quiet(t, n, 0, 0) // counted anew from the rows
	})
}

// A row that never gets a PREPARE goes by itself, in an idle partition too.
func TestSweep(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		before := c.Nodes[0].Rep.Applied(0)
		for range 200 {
			c.Begin("app", create("K", "v")).Stage(0, 1)
		}
		began := time.Now()
		c.Eventually(time.Minute, func() error {
			for _, i := range []int{0, 1} {
				if n := c.Nodes[i].Rep.Stats().Staged; n != 0 {
					return errors.New("staged")
				}
			}
			return nil
		})
		if d := time.Since(began); d > 40*time.Second {
			t.Errorf("it took %v", d)
		}
		quiet(t, c.Nodes[0], 0, 0)
		if ticks := c.Nodes[0].Rep.Applied(0) - before; ticks > 16 {
			t.Errorf("%d records for it: a TICK per ttl and node is enough", ticks)
		}
	})
}

// A PREPARE whose coordinator is gone expires, and its rows go.
func TestDeadCoordinatorSettles(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		h := c.Begin("app", create("K", "v"))
		h.Prepare()
		h.Stage(0, 1, 2, 3, 4)
		began := time.Now()
		c.Eventually(time.Minute, func() error {
			for i, n := range c.Nodes {
				if n.Rep.Stats().Staged != 0 || h.Status(i).State != meta.TxExpired {
					return errors.New("pending")
				}
			}
			return nil
		})
		if d := time.Since(began); d > 25*time.Second {
			t.Errorf("settled after %v", d)
		}
		quiet(t, c.Nodes[2], 0, 0)
	})
}
