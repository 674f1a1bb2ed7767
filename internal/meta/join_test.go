package meta

import (
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

func TestJoin(t *testing.T) {
	w := newWorld(t)
	zero := dsv.StoreID{}
	a, b, c := storeID(1), storeID(101), storeID(102)
	eff := w.do(join("n1", b, a))
	if eff.Void != "" || eff.Join == nil || *eff.Join != (Join{"n1", b, a}) {
		t.Fatalf("got %+v", eff)
	}
	w.voided(VoidStoreSeen, join("n1", b, a))          // the same JOIN lands twice
	w.voided(VoidStoreSeen, join("n1", a, b))          // an old id never comes back (M18)
	w.voided(VoidStoreSeen, join("n2", a, storeID(2))) // not at another node either
	w.voided(VoidStoreSeen, join("n2", b, storeID(2))) // nor one in force elsewhere
	w.voided(VoidReplaces, join("n1", c, a))           // replaces what is not current
	w.voided(VoidReplaces, join("n1", c, zero))        // not its first
	w.voided(VoidReplaces, join("n1", c, storeID(2)))  // another node's
	w.voided(VoidMember, join("n9", c, zero))          // no member
	w.voided(VoidMember, join("", c, zero))            // nobody
	w.voided(VoidMalformed, join("n1", zero, b))       // no id
	w.voided(VoidMalformed, &metapb.Join{Node: "n1", StoreId: c[:15], Replaces: b[:]})
	w.voided(VoidMalformed, &metapb.Join{Node: "n1", StoreId: c[:], Replaces: b[:3]})
	if eff := w.do(join("n1", c, b)); eff.Void != "" { // a void one leaves no trace
		t.Fatal(eff.Void)
	}
	w.read(func(tx store.Txn) {
		for id, want := range map[dsv.StoreID]bool{a: true, b: true, c: false, storeID(2): false, storeID(200): false} {
			if got := must(Replaced(tx, 0, id))(t); got != want {
				t.Errorf("replaced %s: %v", id, got)
			}
		}
		if id, ok, err := StoreID(tx, 0, "n1"); err != nil || !ok || id != c {
			t.Errorf("n1 has %s %v %v", id, ok, err)
		}
		if _, ok, err := StoreID(tx, 0, "n9"); err != nil || ok {
			t.Errorf("n9: %v %v", ok, err)
		}
		if ids := must(StoreIDs(tx, 0))(t); len(ids) != 6 || ids["n2"] != storeID(2) || ids["n1"] != c {
			t.Errorf("ids %v", ids)
		}
	})
}

func TestJoinDropsNoRow(t *testing.T) {
	w := newWorld(t)
	id := w.begin([]*metapb.Op{w.op(create, "A")})
	w.do(join("n1", storeID(50), storeID(1)))
	if s := w.status(id); s.State != TxPending {
		t.Fatalf("got %v", s.State)
	}
}

func TestFirstJoinReplacesNothing(t *testing.T) {
	w := bareWorld(t)
	w.do(w.cfg.Record())
	w.voided(VoidReplaces, join("n1", storeID(1), storeID(9)))
	if eff := w.do(join("n1", storeID(1), dsv.StoreID{})); eff.Void != "" || eff.Join.Replaces != (dsv.StoreID{}) {
		t.Fatalf("got %+v", eff)
	}
}

func TestBeforeConfigEverythingIsVoid(t *testing.T) {
	w := bareWorld(t)
	id := w.txid()
	for _, body := range []any{&metapb.Tick{}, &metapb.Checkpoint{}, join("n1", storeID(1), dsv.StoreID{}), w.commitOf(id),
		&metapb.Abort{Txid: id.Bytes()}, w.prepare(id, []*metapb.Op{w.op(put, "A")}), &metapb.Setting{}} {
		w.voided(VoidUnconfigured, body)
	}
	w.voided(VoidUnreadable, nil)
	w.read(func(tx store.Txn) {
		if _, ok, err := ReadConfig(tx, 0); ok || err != nil {
			t.Fatalf("config %v %v", ok, err)
		}
		if _, ok, err := LookupSecret(tx, path("A")); ok || err != nil {
			t.Fatalf("secret %v %v", ok, err)
		}
		if l, more, err := List(tx, ns(testNS), "", "", 0); l != nil || more || err != nil {
			t.Fatalf("list %v %v", l, err)
		}
	})
}

func TestOnlyTheFirstConfigCounts(t *testing.T) {
	w := bareWorld(t)
	for name, edit := range map[string]func(*metapb.Config){
		"no cluster":   func(c *metapb.Config) { c.ClusterId = "" },
		"no members":   func(c *metapb.Config) { c.Members = nil },
		"few members":  func(c *metapb.Config) { c.Members = c.Members[:4] },
		"unsorted":     func(c *metapb.Config) { c.Members[0], c.Members[1] = c.Members[1], c.Members[0] },
		"doubled":      func(c *metapb.Config) { c.Members[1] = c.Members[0] },
		"bad member":   func(c *metapb.Config) { c.Members[0] = "N1" },
		"k 1":          func(c *metapb.Config) { c.K = 1 },
		"w = k":        func(c *metapb.Config) { c.W = 3 },
		"w > n":        func(c *metapb.Config) { c.W = 6 },
		"n huge":       func(c *metapb.Config) { c.N = 1<<32 - 1 },
		"0 partitions": func(c *metapb.Config) { c.Partitions = 0 },
		"65536":        func(c *metapb.Config) { c.Partitions = 65536 },
	} {
		c := w.cfg.Record()
		edit(c)
		t.Log(name)
		w.voided(VoidMalformed, c)
	}
	eff := w.do(w.cfg.Record())
	if eff.Void != "" || eff.Config == nil || !eff.Config.Equal(w.cfg) || !eff.Head.Configured {
		t.Fatalf("got %+v", eff)
	}
	w.voided(VoidConfigured, w.cfg.Record())
	other := w.cfg
	other.ClusterID = "other"
	w.voided(VoidConfigured, other.Record())
	w.read(func(tx store.Txn) {
		if c, ok, err := ReadConfig(tx, 0); err != nil || !ok || !c.Equal(w.cfg) {
			t.Fatalf("config %+v %v %v", c, ok, err)
		}
	})
	// A partition that CONFIG does not count is never configured.
	w = bareWorld(t)
	w.p = 1
	w.voided(VoidMalformed, w.cfg.Record())
}
