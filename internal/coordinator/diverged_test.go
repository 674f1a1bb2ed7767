package coordinator_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/tests/core"
)

// A partition of the log that is not the one that was read: what lies there is
// refused, everything else goes on.
func TestDivergedPartition(t *testing.T) {
	bubble(t, core.Options{Partitions: 2}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		put(t, n, "K", "v")
		s := n.Session()
		p := n.Rep.PartitionOf(path("K").NS)
		c.RecreateTopic(p) // both partitions are in it
		c.Eventually(time.Minute, func() error {
			if n.Rep.Diverged(p) == "" {
				return errors.New("not noticed")
			}
			return nil
		})
		for name, err := range map[string]error{
			"get": func() error { _, err := n.Coord.Get(ctx, s, coordinator.Read{Path: path("K")}); return err }(),
			"local": func() error {
				_, err := n.Coord.Head(ctx, s, coordinator.Read{Path: path("K"), Consistency: coordinator.Local})
				return err
			}(),
			"put": func() error { _, err := n.Coord.Put(ctx, s, write("K", "w")); return err }(),
			"list": func() error {
				_, err := n.Coord.List(ctx, s, coordinator.ListRequest{NS: path("K").NS, Limit: 1})
				return err
			}(),
		} {
			if dsv.CodeOf(err) != dsv.CodeLogDiverged {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Settings that have stopped judge nobody: a token revoked since would be good
// for ever.
func TestDivergedSettings(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		put(t, n, "K", "v")
		c.RecreateTopic(commitlog.Control)
		for _, m := range c.Nodes {
			c.Eventually(time.Minute, func() error {
				if m.Rep.Diverged(commitlog.Control) == "" {
					return errors.New("not noticed")
				}
				return nil
			})
		}
		if _, err := n.Coord.Authenticate(ctx, c.Token); dsv.CodeOf(err) != dsv.CodeLogDiverged {
			t.Errorf("%v", err)
		}
		g := n.Peers.Gather(ctx, []dsv.NodeID{c.Nodes[1].ID}, replica.FetchRequest{Path: path("K")}, peer.Proof{Token: c.Token, Verbs: auth.Read})
		defer g.Close()
		g.More(1)
		if r, ok := g.Next(ctx, 0); !ok || dsv.CodeOf(r.Err) != dsv.CodeLogDiverged {
			t.Errorf("a holder: %v", r.Err)
		}
		if n.Rep.Ready() == nil {
			t.Error("it calls itself ready")
		}
	})
}
