package replica_test

import (
	"context"
	"testing"

	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/tests/core"
)

// A late stage of a committed transaction fills the hole that it left, and
// nothing else.
func TestLateFill(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[4]
		all := func(h *core.Hand, but int) int64 {
			h.Prepare()
			for i := range c.Nodes {
				if i != but {
					h.Stage(i)
				}
			}
			off := h.Commit()
			n.Applied(0, off)
			return off
		}
		h1 := c.Begin("app", create("K", "one"), create("L", "two"))
		all(h1, 4)
		quiet(t, n, 0, 2)
		h2 := c.Begin("app", update("K", "three"))
		all(h2, 4)
		quiet(t, n, 0, 3)

		bad := h1.StageRequest(4) // the right share set and rank, another content
		bad.Ops = bad.Ops[:1]
		bad.Ops[0].Shard = append([]byte(nil), bad.Ops[0].Shard...)
		bad.Ops[0].Shard[len(bad.Ops[0].Shard)-1] ^= 1
		if _, err := n.Rep.Stage(context.Background(), bad); err == nil {
			t.Error("a shard that does not fit its digest was taken")
		}
		quiet(t, n, 0, 3)

		half := h1.StageRequest(4)
		half.Ops = half.Ops[1:]
		if _, err := n.Rep.Stage(context.Background(), half); err != nil {
			t.Error(err)
		}
		quiet(t, n, 1, 2)
		h1.Stage(4, 4) // both, twice; the older version of K too
		quiet(t, n, 2, 1)
		if a, err := h1.Answer(4, 0); err != nil || a.State != replica.ShardGood {
			t.Errorf("%+v, %v", a, err)
		}

		// A repair without this node supersedes h2: its shard is not wanted any more.
		rep := c.Begin("app", core.Op{Kind: metapb.OpKind_REPAIR, Key: "K", Value: "three", Version: 2, From: h2.Set(0)})
		all(rep, 4)
		h2.Stage(4)
		quiet(t, n, 2, 1)
		if a, _ := h2.Answer(4, 0); a.State != replica.ShardMissing {
			t.Error("a superseded shard was kept")
		}
		rep.Stage(4)
		quiet(t, n, 3, 0)

		d := c.Begin("app", core.Op{Kind: metapb.OpKind_DESTROY, Key: "K", Versions: []uint64{2}})
		all(d, -1)
		quiet(t, n, 2, 0)
		rep.Stage(4)
		quiet(t, n, 2, 0)
	})
}

// A damaged shard is a hole that a late stage heals too, without counting twice.
func TestLateFillHealsDamage(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		h := c.Begin("app", create("K", "v"))
		n.Applied(0, h.All())
		spoil(c, n, h.Set(0))
		c.Must(n.Rep.NoteHole(context.Background(), core.Path("app", "K"), 1, h.Set(0)))
		quiet(t, n, 1, 1)
		h.Stage(0)
		quiet(t, n, 1, 0)
		if a, err := h.Answer(0, 0); err != nil || a.State != replica.ShardGood {
			t.Errorf("%+v, %v", a, err)
		}
	})
}
