package repair_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/core"
)

var ctx = context.Background()

var reads = flag.Int("reads", 2000, "reads of a healthy cluster")

func bubble(t *testing.T, opt core.Options, f func(*testing.T, *core.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, core.New(t, opt)) })
}

func path(key string) dsv.Path { return core.Path("app", key) }

func put(t *testing.T, n *core.Node, key, value string) coordinator.Written {
	t.Helper()
	w, err := n.Coord.Put(ctx, n.Session(), coordinator.Write{Path: path(key), Value: dsv.SecretOf([]byte(value))})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return w
}

func get(t *testing.T, n *core.Node, key, want string, version uint64) coordinator.Found {
	t.Helper()
	f, err := n.Coord.Get(ctx, n.Session(), coordinator.Read{Path: path(key)})
	if err != nil || string(f.Value.Reveal()) != want || f.Version.Version != version {
		t.Fatalf("%s at %s: %q (version %d), %v; want %q (version %d)", key, n.ID, f.Value.Reveal(), f.Version.Version, err, want, version)
	}
	return f
}

// lose removes shards of a share set behind their nodes' backs.
func lose(c *core.Cluster, set dsv.ShareSet, nodes ...int) {
	for _, i := range nodes {
		change(c, i, func(tx store.Txn) error {
			_, err := tx.Delete(set.AppendBinary([]byte("rs")))
			return err
		})
	}
}

func change(c *core.Cluster, i int, f func(store.Txn) error) {
	tx, err := c.Nodes[i].Store.Begin(store.ReadWrite)
	c.Must(err)
	c.Must(f(tx))
	_, err = tx.Commit(ctx)
	c.Must(err)
}

// settle lets the ten seconds pass in which a shard may still be on its way.
func settle(c *core.Cluster) {
	c.Settled(time.Minute)
	time.Sleep(11 * time.Second)
	at := c.Tick(0)
	for _, n := range c.Nodes {
		n.Applied(0, at)
	}
}

// done is how many repairs all nodes have done.
func done(c *core.Cluster) (n int64) {
	for _, x := range c.Nodes {
		n += x.Repair.Stats().Done
	}
	return n
}

// repairs are the REPAIR transactions in the log.
func repairs(c *core.Cluster) (n int) {
	for _, x := range c.ReadLog(0) {
		for _, op := range x.Record.GetPrepare().GetOps() {
			if op.GetKind() == metapb.OpKind_REPAIR {
				n++
			}
		}
	}
	return n
}

// all checks that every node holds that many rows of shards, and neither a
// hole nor a staged row. It counts rows: lose goes behind the counters' backs.
func all(t *testing.T, c *core.Cluster, shards int) {
	t.Helper()
	c.Eventually(time.Minute, func() error {
		for _, n := range c.Nodes {
			for prefix, want := range map[string]int{"rs": shards, "rh": 0, "rx": 0} {
				err := n.Rep.View(func(tx store.Txn) error {
					got, err := tx.Count([]byte(prefix))
					if err == nil && got != want {
						err = fmt.Errorf("%s: %d rows %s, want %d", n.ID, got, prefix, want)
					}
					return err
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// A latest read that finds a hole re-splits the version: another share set,
// everything else as it was.
func TestReadRepair(t *testing.T) {
	for name, spoil := range map[string]func(*core.Cluster, dsv.ShareSet){
		"missing": func(c *core.Cluster, set dsv.ShareSet) { lose(c, set, 1, 2) },
		"damaged": func(c *core.Cluster, set dsv.ShareSet) {
			for _, i := range []int{1, 2} {
				change(c, i, func(tx store.Txn) error {
					return tx.Put(store.Pair{Key: set.AppendBinary([]byte("rs")), Value: []byte("rubbish")})
				})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				put(t, c.Nodes[0], "K", "v")
				settle(c)
				before, _ := c.Newest(0, path("K"))
				spoil(c, before.ShareSet)
				get(t, c.Nodes[0], "K", "v", 1)
				c.Eventually(10*time.Second, func() error {
					if done(c) != 1 {
						return errors.New("not repaired")
					}
					return nil
				})
				all(t, c, 1)
				after, _ := c.Newest(3, path("K"))
				if after.ShareSet == before.ShareSet {
					t.Error("the share set is the old one")
				}
				if after.Number != before.Number || after.Author != before.Author || after.CommittedAt != before.CommittedAt || after.RequestedAt != before.RequestedAt ||
					fmt.Sprint(after.Intervals) != fmt.Sprint(before.Intervals) || after.PaddedSize != before.PaddedSize || len(after.Acks) < 4 {
					t.Errorf("it changed %+v\ninto %+v", before, after)
				}
				for _, n := range c.Nodes {
					get(t, n, "K", "v", 1)
				}
				if n := repairs(c); n != 1 {
					t.Errorf("%d repairs in the log", n)
				}
			})
		})
	}
}

// A shard that opens and does not fit its digest is a hole to the repair, too,
// though its holder thinks well of it.
func TestWrongShardIsRepaired(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "BEFORE", "v")
		c.Settled(time.Minute)
		h := c.Begin("app", core.Op{Kind: metapb.OpKind_PUT, Key: "K", Value: "v"})
		h.Prepare()
		for i := range c.Nodes {
			q := h.StageRequest(i)
			if i == 1 || i == 2 { // a coordinator that gave two holders rubbish
				q.Ops[0].Shard = append([]byte(nil), q.Ops[0].Shard...)
				q.Ops[0].Shard[len(q.Ops[0].Shard)-1] ^= 1
			}
			id, err := c.Nodes[i].Rep.Stage(ctx, q)
			c.Must(err)
			h.Ack(i, id)
		}
		c.Nodes[0].Applied(0, h.Commit())
		settle(c)
		get(t, c.Nodes[0], "K", "v", 1)
		c.Eventually(10*time.Second, func() error {
			if done(c) != 1 {
				return errors.New("not repaired")
			}
			return nil
		})
		if v, _ := c.Newest(0, path("K")); v.ShareSet == h.Set(0) {
			t.Error("the share set is the old one")
		}
		all(t, c, 2)
	})
}

// What is no reason to repair: a shard that may still be on its way, silence,
// an explicit version or instant, and holes that leave enough.
func TestNoReasonToRepair(t *testing.T) {
	bubble(t, core.Options{TriggerBuffer: -2}, func(t *testing.T, c *core.Cluster) { // 5 - holes <= 1: never
		put(t, c.Nodes[0], "K", "v")
		settle(c)
		v, _ := c.Newest(0, path("K"))
		lose(c, v.ShareSet, 1, 2)
		for range 5 {
			get(t, c.Nodes[0], "K", "v", 1)
		}
		time.Sleep(time.Second)
		if n := repairs(c); n != 0 {
			t.Errorf("%d repairs below the trigger", n)
		}
	})
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "YOUNG", "v")
		c.Settled(time.Minute)
		all(t, c, 1) // also the holder that the COMMIT did not wait for
		v, _ := c.Newest(0, path("YOUNG"))
		lose(c, v.ShareSet, 1, 2)
		get(t, c.Nodes[0], "YOUNG", "v", 1)
		time.Sleep(time.Second)
		if n := repairs(c); n != 0 {
			t.Errorf("%d repairs of a share set just committed", n)
		}

		put(t, c.Nodes[0], "OLD", "one")
		at := time.Now()
		time.Sleep(time.Second)
		put(t, c.Nodes[0], "OLD", "two")
		settle(c)
		first := versionSet(c, "OLD", 1)
		lose(c, first, 1, 2)
		before := repairs(c)
		for _, q := range []coordinator.Read{{Path: path("OLD"), Version: 1}, {Path: path("OLD"), At: at}} {
			f, err := c.Nodes[0].Coord.Get(ctx, c.Nodes[0].Session(), q)
			if err != nil || string(f.Value.Reveal()) != "one" {
				t.Errorf("%q, %v", f.Value.Reveal(), err)
			}
		}
		time.Sleep(time.Second)
		if n := repairs(c) - before; n != 0 {
			t.Errorf("%d repairs after reads of an old version", n)
		}

		put(t, c.Nodes[0], "SILENT", "v")
		settle(c)
		c.Nodes[3].Stop()
		c.Nodes[4].Stop()
		before = repairs(c)
		for range 5 {
			get(t, c.Nodes[0], "SILENT", "v", 1)
		}
		time.Sleep(5 * time.Second)
		get(t, c.Nodes[0], "SILENT", "v", 1)
		if n := repairs(c) - before; n != 0 {
			t.Errorf("%d repairs because of silence", n)
		}
	})
}

// Silence is no hole, also beside holes: seven holders, two holes and one node
// down may still have five good shards.
func TestSilenceIsNoHole(t *testing.T) {
	bubble(t, core.Options{Nodes: 7, Quorum: dsv.Quorum{K: 3, N: 7, W: 5}}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "v")
		settle(c)
		set := versionSet(c, "K", 1)
		lose(c, set, 0, 1)
		c.Nodes[6].Stop()
		for range 3 {
			get(t, c.Nodes[0], "K", "v", 1)
			time.Sleep(2 * time.Second)
		}
		if n := repairs(c); n != 0 {
			t.Errorf("%d repairs with two holes of seven", n)
		}
		lose(c, set, 2)
		get(t, c.Nodes[0], "K", "v", 1)
		c.Eventually(20*time.Second, func() error {
			if versionSet(c, "K", 1) == set {
				return errors.New("three holes of seven are not repaired")
			}
			return nil
		})
	})
}

// versionSet is the share set of a version as the first node knows it.
func versionSet(c *core.Cluster, key string, n uint64) dsv.ShareSet {
	v, ok := c.Version(0, path(key), n)
	if !ok {
		c.T.Fatalf("%s has no version %d", key, n)
	}
	return v.ShareSet
}

// Several nodes repair one version at once: one wins, and of the others
// nothing is left.
func TestConcurrentRepairs(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		for round := range 5 {
			key := fmt.Sprint("K", round)
			put(t, c.Nodes[0], key, "v")
			settle(c)
			before := versionSet(c, key, 1)
			lose(c, before, 3, 4)
			was := done(c)
			var wg sync.WaitGroup
			for _, n := range c.Nodes {
				wg.Go(func() { get(t, n, key, "v", 1) })
			}
			wg.Wait()
			c.Eventually(20*time.Second, func() error {
				if v, _ := c.Newest(0, path(key)); v.ShareSet == before {
					return errors.New("not repaired")
				}
				return nil
			})
			all(t, c, round+1)
			if n := done(c) - was; n != 1 {
				t.Errorf("round %d: %d repairs won", round, n)
			}
		}
	})
}

// A repair beside updates, deletes, undeletes and destroys: none of them
// notices, and no secret comes back.
func TestRepairRaces(t *testing.T) {
	for _, what := range []string{"update", "delete", "destroy"} {
		t.Run(what, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				for round := range 6 {
					key := fmt.Sprint("K", round)
					put(t, c.Nodes[0], key, "v")
					settle(c)
					lose(c, versionSet(c, key, 1), 3, 4)
					var wg sync.WaitGroup
					for _, i := range []int{0, 1} {
						wg.Go(func() {
							n := c.Nodes[i]
							if f, err := n.Coord.Get(ctx, n.Session(), coordinator.Read{Path: path(key)}); err == nil && string(f.Value.Reveal()) != "v" && string(f.Value.Reveal()) != "w" {
								t.Errorf("%q", f.Value.Reveal())
							}
						})
					}
					wg.Go(func() {
						time.Sleep(time.Duration(round) * time.Millisecond / 2)
						n := c.Nodes[2]
						var err error
						switch what {
						case "update":
							_, err = n.Coord.Update(ctx, n.Session(), coordinator.Write{Path: path(key), Value: dsv.SecretOf([]byte("w"))})
						case "delete":
							_, err = n.Coord.Delete(ctx, n.Session(), coordinator.Change{Path: path(key)})
						case "destroy":
							_, err = n.Coord.Destroy(ctx, n.Session(), coordinator.Destroy{Path: path(key), All: true})
						}
						if err != nil {
							t.Errorf("%s: %v", what, err)
						}
					})
					wg.Wait()
					time.Sleep(time.Second)
					c.Settled(time.Minute)
					n := c.Nodes[4]
					f, err := n.Coord.Get(ctx, n.Session(), coordinator.Read{Path: path(key)})
					switch what {
					case "update":
						if err != nil || string(f.Value.Reveal()) != "w" || f.Version.Version != 2 {
							t.Errorf("%q, %v", f.Value.Reveal(), err)
						}
					default:
						if dsv.KindOf(err) != dsv.KindNotFound {
							t.Errorf("after a %s: %q, %v", what, f.Value.Reveal(), err)
						}
					}
					f, err = n.Coord.Get(ctx, n.Session(), coordinator.Read{Path: path(key), Version: 1})
					if what == "destroy" {
						if dsv.KindOf(err) != dsv.KindGone {
							t.Errorf("version 1 after a destroy: %q, %v", f.Value.Reveal(), err)
						}
					} else if err != nil || string(f.Value.Reveal()) != "v" {
						t.Errorf("version 1: %q, %v", f.Value.Reveal(), err)
					}
				}
				if what == "destroy" {
					all(t, c, 0)
				}
			})
		})
	}
}

// The scan refills a node that lost its directory: every version, old ones and
// deleted ones too, and nothing but the share sets changes.
func TestScanRefills(t *testing.T) {
	bubble(t, core.Options{Repair: true}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		for i := range 4 {
			for v := range 3 {
				put(t, n, fmt.Sprint("K", i), fmt.Sprint("v", v))
			}
		}
		_, err := n.Coord.Delete(ctx, n.Session(), coordinator.Change{Path: path("K3")})
		c.Must(err)
		c.Settled(time.Minute)
		h1, _, err := n.Coord.History(ctx, n.Session(), coordinator.Read{Path: path("K1")})
		c.Must(err)
		c.Nodes[4].Wipe()
		c.Nodes[4].Start()
		c.Nodes[4].Ready()
		if st := c.Nodes[4].Rep.Stats(); st.Holes != 12 || st.Shards != 0 {
			t.Errorf("%d holes, %d shards before", st.Holes, st.Shards)
		}
		c.Eventually(5*time.Minute, func() error {
			if st := c.Nodes[4].Rep.Stats(); st.Holes != 0 || st.Shards != 12 {
				return fmt.Errorf("%d holes, %d shards", st.Holes, st.Shards)
			}
			return nil
		})
		all(t, c, 12)
		c.Nodes[0].Stop()
		c.Nodes[1].Stop()
		m := c.Nodes[4]
		for i := range 3 {
			get(t, m, fmt.Sprint("K", i), "v2", 3)
		}
		for v := range 3 {
			f, err := m.Coord.Get(ctx, m.Session(), coordinator.Read{Path: path("K3"), Version: uint64(v + 1)})
			if err != nil || string(f.Value.Reveal()) != fmt.Sprint("v", v) {
				t.Errorf("version %d of a deleted one: %q, %v", v+1, f.Value.Reveal(), err)
			}
		}
		if _, err := m.Coord.Get(ctx, m.Session(), coordinator.Read{Path: path("K3")}); dsv.KindOf(err) != dsv.KindNotFound {
			t.Errorf("a deleted one came back: %v", err)
		}
		h2, _, err := m.Coord.History(ctx, m.Session(), coordinator.Read{Path: path("K1")})
		if err != nil || fmt.Sprint(h1) != fmt.Sprint(h2) {
			t.Errorf("the history changed:\n%v\n%v, %v", h1, h2, err)
		}
	})
}

// The scan goes on behind versions that cannot be helped.
func TestScanPassesWhatIsLost(t *testing.T) {
	bubble(t, core.Options{Repair: true}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "A", "v")
		put(t, c.Nodes[0], "B", "v")
		settle(c)
		lose(c, versionSet(c, "A", 1), 0, 1, 2) // 2 of 5 left: gone for good
		lose(c, versionSet(c, "B", 1), 0)
		for _, key := range []string{"A", "B"} { // whoever reads sees it
			_, _ = c.Nodes[0].Coord.Get(ctx, c.Nodes[0].Session(), coordinator.Read{Path: path(key)})
		}
		c.Eventually(time.Minute, func() error {
			if st := c.Nodes[0].Rep.Stats(); st.Holes != 1 {
				return fmt.Errorf("%d holes", st.Holes)
			}
			return nil
		})
		get(t, c.Nodes[0], "B", "v", 1)
		if _, err := c.Nodes[0].Coord.Get(ctx, c.Nodes[0].Session(), coordinator.Read{Path: path("A")}); dsv.CodeOf(err) != dsv.CodeNotEnoughShards {
			t.Errorf("%v", err)
		}
	})
}

// No holder that is merely away loses a good shard for less: with one hole and
// one node down a repair takes four acknowledgements or does not happen.
func TestRepairWithANodeDown(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		put(t, c.Nodes[0], "K", "v")
		settle(c)
		before := versionSet(c, "K", 1)
		lose(c, before, 1)
		c.Nodes[4].Stop()
		c.Nodes[3].Stop()
		time.Sleep(5 * time.Second)
		for range 3 { // three nodes, three shards with the hole not among them: no
			_, _ = c.Nodes[0].Coord.Get(ctx, c.Nodes[0].Session(), coordinator.Read{Path: path("K")})
		}
		time.Sleep(2 * time.Second)
		if now := versionSet(c, "K", 1); now != before {
			t.Error("repaired with fewer than w holders")
		}
		c.Nodes[3].Start()
		c.Nodes[3].Ready()
		get(t, c.Nodes[0], "K", "v", 1)
		c.Eventually(20*time.Second, func() error {
			if now, _ := c.Newest(0, path("K")); now.ShareSet == before {
				get(t, c.Nodes[0], "K", "v", 1)
				return errors.New("not repaired")
			}
			return nil
		})
		if v, _ := c.Newest(0, path("K")); len(v.Acks) < 4 {
			t.Errorf("switched with %d acknowledgements", len(v.Acks))
		}
		c.Nodes[4].Start()
		c.Nodes[4].Ready()
		for _, n := range c.Nodes {
			get(t, n, "K", "v", 1)
		}
	})
}

// Reads of a healthy cluster, and of one with a node down, repair nothing.
func TestHealthyClusterRepairsNothing(t *testing.T) {
	bubble(t, core.Options{Repair: true}, func(t *testing.T, c *core.Cluster) {
		for i := range 10 {
			put(t, c.Nodes[i%5], fmt.Sprint("K", i), "v")
		}
		settle(c)
		before := c.Nodes[0].Rep.Applied(0)
		ask := func(nodes int) {
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for i := range *reads / 16 {
						n := c.Nodes[(w+i)%nodes]
						if _, err := n.Coord.Get(ctx, n.Session(), coordinator.Read{Path: path(fmt.Sprint("K", i%10))}); err != nil {
							t.Errorf("%v", err)
							return
						}
						if i%50 == 0 {
							time.Sleep(100 * time.Millisecond)
						}
					}
				})
			}
			wg.Wait()
		}
		ask(5)
		c.Nodes[4].Stop()
		ask(4)
		if n := c.Nodes[0].Rep.Applied(0) - before; n != 0 {
			t.Errorf("%d records for reads of a healthy cluster", n)
		}
		if n := repairs(c); n != 0 {
			t.Errorf("%d repairs", n)
		}
	})
}
