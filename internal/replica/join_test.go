package replica_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/core"
	"google.golang.org/protobuf/proto"
)

// After an unclean close the store keeps what it has and takes a new id: what
// was acknowledged under the old one counts no more.
func TestUncleanStartTakesANewID(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		live := c.Begin("app", create("LIVE", "v"))
		live.All()
		h := c.Begin("app", create("K", "v"))
		h.Prepare()
		h.Stage(0, 1, 2, 3)
		old := n.Rep.StoreID()
		n.Crash()
		n.Start()
		n.Ready()
		if n.Rep.StoreID() == old {
			t.Fatal("an unclean store kept its id")
		}
		if a, err := live.Answer(0, 0); err != nil || a.State != replica.ShardGood || a.Store == old {
			t.Errorf("a live shard after it: %+v, %v", a, err)
		}
		for _, m := range c.Nodes {
			m.Applied(0, n.Rep.Applied(0))
			if m.Rep.CurrentStore(0, n.ID, old) || !m.Rep.ReplacedStore(0, n.ID, old) || !m.Rep.CurrentStore(0, n.ID, n.Rep.StoreID()) {
				t.Errorf("%s: current %x", m.ID, m.Rep.StoreIDs(0)[n.ID])
			}
		}
		off := h.Commit() // 4 acknowledgements, one of them dead
		n.Applied(0, off)
		if s := h.Status(0); s.State != meta.TxRejected || s.Code != dsv.CodeWriteQuorum {
			t.Errorf("committed on a dead acknowledgement: %+v", s)
		}
		quiet(t, n, 1, 0)

		// Acknowledged anew, it counts.
		h = c.Begin("app", create("K", "v"))
		h.All()
		n.Applied(0, c.Tick(0))
		if s := h.Status(0); s.State != meta.TxCommitted {
			t.Errorf("%+v", s)
		}
		n.Stop()
		n.Start()
		n.Ready()
		if id := n.Rep.StoreID(); n.Rep.ReplacedStore(0, n.ID, id) {
			t.Error("a clean restart took a new id")
		}
	})
}

func shardKey(s dsv.ShareSet) []byte { return s.AppendBinary([]byte("rs")) }

// change writes into the store of a node that does not run.
func change(c *core.Cluster, n *core.Node, f func(store.Txn) error) {
	tx, err := n.Store.Begin(store.ReadWrite)
	c.Must(err)
	c.Must(f(tx))
	_, err = tx.Commit(context.Background())
	c.Must(err)
}

// The audit after an unclean close finds what is missing, damaged, or not what
// the log says.
func TestAudit(t *testing.T) {
	bubble(t, core.Options{Partitions: 3}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		hs := map[string]*core.Hand{}
		for _, ns := range []string{"a", "b", "c", "d"} {
			for _, key := range []string{"GONE", "FLIPPED", "SWAPPED", "OTHER", "GOOD"} {
				h := c.Begin(ns, create(key, ns+key))
				n.Applied(h.Tx.Partition, h.All())
				hs[ns+key] = h
			}
		}
		quiet(t, n, 20, 0)
		row := func(tx store.Txn, set dsv.ShareSet) []byte {
			it, err := tx.Get(shardKey(set))
			c.Must(err)
			return it.Value
		}
		n.Crash()
		change(c, n, func(tx store.Txn) error {
			for ns := range strings.SplitSeq("a b c d", " ") {
				_, err := tx.Delete(shardKey(hs[ns+"GONE"].Set(0)))
				c.Must(err)
				b := row(tx, hs[ns+"FLIPPED"].Set(0))
				b[len(b)/2] ^= 4
				c.Must(tx.Put(store.Pair{Key: shardKey(hs[ns+"FLIPPED"].Set(0)), Value: b}))
				x, y := row(tx, hs[ns+"SWAPPED"].Set(0)), row(tx, hs[ns+"OTHER"].Set(0))
				c.Must(tx.Put(store.Pair{Key: shardKey(hs[ns+"SWAPPED"].Set(0)), Value: y}, store.Pair{Key: shardKey(hs[ns+"OTHER"].Set(0)), Value: x}))
			}
			return nil
		})
		n.Start()
		n.Ready()
		<-n.Rep.Audited()
		reasons := map[string]replica.HoleReason{}
		for p := range 3 {
			holes, _, err := n.Rep.Holes(dsv.Partition(p), nil, 100)
			c.Must(err)
			for _, h := range holes {
				reasons[h.Path.NS.String()+h.Path.Key.String()] = h.Reason
			}
		}
		if len(reasons) != 16 {
			t.Errorf("%d holes, want 16: %v", len(reasons), reasons)
		}
		for ns := range strings.SplitSeq("a b c d", " ") {
			want := map[string]replica.HoleReason{"GONE": replica.HoleMissing, "FLIPPED": replica.HoleDamaged, "SWAPPED": replica.HoleDamaged, "OTHER": replica.HoleDamaged}
			for key, why := range want {
				if reasons[ns+key] != why {
					t.Errorf("%s:%s: reason %d, want %d", ns, key, reasons[ns+key], why)
				}
			}
			if a, err := hs[ns+"SWAPPED"].Answer(0, 0); err != nil || a.State != replica.ShardDamaged || a.Shard != nil {
				t.Errorf("a row moved between share sets: %+v, %v", a, err)
			}
		}
		if got := n.Rep.Stats().Holes; got != 16 {
			t.Errorf("%d holes counted", got)
		}
	})
}

// A change of the version while the audit notes a hole must not lose the hole.
func TestAuditBesideUpdates(t *testing.T) {
	bubble(t, core.Options{Disk: true}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		const keys = 26
		var hs []*core.Hand
		for i := range keys {
			h := c.Begin("app", create("K"+string(rune('A'+i)), "v"))
			h.All()
			hs = append(hs, h)
		}
		n.Applied(0, c.Tick(0))
		change(c, n, func(tx store.Txn) error {
			for _, h := range hs {
				if _, err := tx.Delete(shardKey(h.Set(0))); err != nil {
					return err
				}
			}
			return nil
		})
		done := make(chan error, keys)
		for i, h := range hs {
			u := c.Begin("app", update("K"+string(rune('A'+i)), "w"))
			u.Prepare()
			u.Stage(0, 1, 2, 3, 4)
			go func() {
				path := core.Path("app", "K"+string(rune('A'+i)))
				done <- n.Rep.NoteHole(context.Background(), path, 1, h.Set(0))
			}()
			n.Applied(0, u.Commit())
		}
		for range keys {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if got := n.Rep.Stats().Holes; got != keys {
			t.Errorf("%d holes, want %d", got, keys)
		}
	})
}

// A shard that is asked for and is not there becomes a hole, without a restart;
// one that is there does not, whoever says so. That holds as well for versions
// whose transaction nobody remembers any more.
func TestFetchFindsHoles(t *testing.T) {
	for name, old := range map[string]bool{"new": false, "old": true} {
		t.Run(name, func(t *testing.T) { fetchFindsHoles(t, old) })
	}
}

func fetchFindsHoles(t *testing.T, old bool) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		a, b, good := c.Begin("app", create("A", "v")), c.Begin("app", create("B", "v")), c.Begin("app", create("GOOD", "v"))
		for _, h := range []*core.Hand{a, b, good} {
			n.Applied(0, h.All())
		}
		change(c, n, func(tx store.Txn) error {
			if old { // 25 hours of log time take two minutes even here
				head := store.Pair{Key: append(meta.Prefix(0), 'h')}
				it, err := tx.Get(head.Key)
				c.Must(err)
				row := new(metapb.HeadRow)
				c.Must(proto.Unmarshal(it.Value, row))
				row.EUs += 25 * time.Hour.Microseconds()
				head.Value, err = proto.Marshal(row)
				c.Must(err)
				c.Must(tx.Put(head))
			}
			s, err := meta.LookupTx(tx, a.Tx)
			if forgotten := s.State == meta.TxForgotten; forgotten != old {
				t.Errorf("%v, %v", s.State, err)
			}
			_, err = tx.Delete(shardKey(a.Set(0)))
			c.Must(err)
			return tx.Put(store.Pair{Key: shardKey(b.Set(0)), Value: []byte("rubbish")})
		})
		c.Must(n.Rep.NoteHole(context.Background(), core.Path("app", "GOOD"), 1, good.Set(0)))
		if got := n.Rep.Stats().Holes; got != 0 {
			t.Errorf("%d holes of a good shard", got)
		}
		for range 3 {
			for _, h := range []*core.Hand{a, b, good} {
				if _, err := h.Answer(0, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		// What was never this node's is no hole.
		_, err := n.Rep.Fetch(context.Background(), replica.FetchRequest{Path: core.Path("app", "A"), Set: c.Begin("app", create("A", "v")).Set(0)})
		c.Must(err)
		c.Eventually(time.Second, func() error {
			if got := n.Rep.Stats().Holes; got != 2 {
				return errors.New("not two holes")
			}
			return nil
		})
		holes, _, _ := n.Rep.Holes(0, nil, 10)
		if len(holes) != 2 || holes[0].Reason != replica.HoleMissing || holes[1].Reason != replica.HoleDamaged || holes[0].Since != holes[1].Since && holes[0].Since == 0 {
			t.Errorf("%+v", holes)
		}
		page, next, err := n.Rep.Holes(0, nil, 1)
		if err != nil || len(page) != 1 || next == nil {
			t.Fatalf("a page of one: %v, %v", page, err)
		}
		if rest, next, err := n.Rep.Holes(0, next, 1); err != nil || len(rest) != 1 || next != nil || rest[0].Path == page[0].Path {
			t.Errorf("the next page: %v, %v", rest, err)
		}
	})
}

// To find the version of a missing shard nobody walks over all others.
func TestDoubtReadsFewRows(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		h := c.Begin("app", create("K", "v"))
		h.All()
		for range 50 {
			h = c.Begin("app", update("K", "v"))
			n.Applied(0, h.All())
		}
		s := hook(n)
		change(c, n, func(tx store.Txn) error {
			_, err := tx.Delete(shardKey(h.Set(0)))
			return err
		})
		before := s.scanned.Load()
		if a, err := h.Answer(0, 0); err != nil || a.State != replica.ShardMissing {
			t.Fatalf("%+v, %v", a, err)
		}
		c.Eventually(time.Second, func() error {
			if got := n.Rep.Stats().Holes; got != 1 {
				return errors.New("no hole")
			}
			return nil
		})
		if rows := s.scanned.Load() - before; rows > 10 {
			t.Errorf("%d rows scanned", rows)
		}
	})
}

// A row of another node, or of another share set, does not open.
func TestRowsDoNotMove(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		h := c.Begin("app", create("K", "v"))
		off := h.All()
		for _, n := range c.Nodes {
			n.Applied(0, off)
		}
		var stolen []byte
		c.Nodes[1].View(func(tx store.Txn) error {
			it, err := tx.Get(shardKey(h.Set(0)))
			stolen = it.Value
			return err
		})
		if strings.Contains(string(stolen), string(h.Shard(0, c.Nodes[1].Rank(h.NS))[40:60])) {
			t.Error("a shard lies open in its row")
		}
		change(c, c.Nodes[0], func(tx store.Txn) error { return tx.Put(store.Pair{Key: shardKey(h.Set(0)), Value: stolen}) })
		if a, err := h.Answer(0, 0); err != nil || a.State != replica.ShardDamaged {
			t.Errorf("a row of another node: %+v, %v", a, err)
		}
		change(c, c.Nodes[0], func(tx store.Txn) error { return tx.Put(store.Pair{Key: shardKey(h.Set(0)), Value: []byte{}}) })
		if a, err := h.Answer(0, 0); err != nil || a.State != replica.ShardDamaged {
			t.Errorf("an empty row: %+v, %v", a, err)
		}
	})
}

// A store that is empty again replays everything; what it held are holes, and
// it answers no reader before its own JOIN.
func TestEmptyStoreReplays(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		for i := range 10 {
			c.Begin("app", create("K"+string(rune('A'+i)), "v")).All()
		}
		d := c.Begin("app", core.Op{Kind: metapb.OpKind_DESTROY, Key: "KA", All: true})
		n.Applied(0, d.All())
		quiet(t, n, 9, 0)
		n.Wipe()
		n.Start()
		asked := 0
		for n.Rep.Ready() != nil {
			if _, err := d.Answer(0, 0); err == nil {
				if n.Rep.Ready() != nil {
					t.Fatal("it answered before its own JOIN")
				}
			} else {
				asked++
			}
			time.Sleep(time.Millisecond)
		}
		if asked == 0 {
			t.Error("it was never asked in time")
		}
		quiet(t, n, 0, 9)
	})
}

// A JOIN that replaces this node's id stops it: another process runs in its
// name. Started again when that one is gone, it comes back under a new id.
func TestReplacedStoreStops(t *testing.T) {
	bubble(t, core.Options{Partitions: 2}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		id := n.Rep.StoreID()
		h := c.Begin("app", create("K", "v"))
		n.Applied(h.Tx.Partition, h.All())
		other := dsv.NewStoreID()
		c.Append(0, &metapb.Record{Version: 1, Body: &metapb.Record_Join{Join: &metapb.Join{Node: string(n.ID), StoreId: other[:], Replaces: id[:]}}})
		select {
		case <-n.Rep.Failed():
		case <-time.After(10 * time.Second):
			t.Fatal("it goes on")
		}
		if err := n.Rep.Err(); err == nil || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("%v", err)
		}
		if _, err := h.Answer(0, 0); dsv.KindOf(err) != dsv.KindUnavailable {
			t.Errorf("fetch: %v", err)
		}
		if err := c.Begin("app", create("L", "v")).TryStage(0); dsv.KindOf(err) != dsv.KindUnavailable {
			t.Errorf("stage: %v", err)
		}
		if _, err := n.Rep.Barrier(context.Background(), 0); dsv.KindOf(err) != dsv.KindUnavailable {
			t.Errorf("barrier: %v", err)
		}
		n.Stop()
		at := c.Nodes[1].Rep.Applied(0)
		n.Start()
		n.Ready()
		if now := n.Rep.StoreID(); now == id || now == other {
			t.Error("it came back under an old id")
		}
		<-n.Rep.Audited()
		quiet(t, n, 1, 0)
		if joins := n.Rep.Applied(0) - at; joins > 2 {
			t.Errorf("%d records to come back", joins)
		}
	})
}

// A node whose own configuration is not the log's does not start.
func TestConfigDiffers(t *testing.T) {
	for name, change := range map[string]func(*replica.Config){
		"cluster": func(r *replica.Config) { r.ClusterID = "another" },
		"quorum":  func(r *replica.Config) { r.Quorum.K = 2; r.Quorum.W = 5 },
		"members": func(r *replica.Config) { r.Members = append(r.Members[:4:4], "stranger") },
		"more":    func(r *replica.Config) { r.Members = append(r.Members, "n6") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{Stopped: true}, func(t *testing.T, c *core.Cluster) {
				n := c.Nodes[0]
				rc := n.Config()
				change(&rc)
				c.Must(n.Open(rc)) // it learns of it from the log
				select {
				case <-n.Rep.Failed():
				case <-time.After(10 * time.Second):
					t.Fatal("it goes on")
				}
				if err := n.Rep.Err(); err == nil || !strings.Contains(err.Error(), "differs from the CONFIG") {
					t.Errorf("%v", err)
				}
				if n.Rep.Ready() == nil {
					t.Error("it is ready")
				}
				n.Stop()
				n.Start()
				n.Ready()
				n.Stop()
				if err := n.Open(rc); err == nil || !strings.Contains(err.Error(), "differs from the CONFIG") {
					t.Errorf("a start on a store that knows better: %v", err)
				}
			})
		})
	}
}

// spoil damages a shard row.
func spoil(c *core.Cluster, n *core.Node, set dsv.ShareSet) {
	change(c, n, func(tx store.Txn) error { return tx.Put(store.Pair{Key: shardKey(set), Value: []byte("rubbish")}) })
}
