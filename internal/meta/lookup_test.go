package meta

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

func TestPartitionOfIsTheHashModP(t *testing.T) {
	for i := range 200 {
		n := ns(fmt.Sprintf("ns-%d/x", i))
		for _, p := range []int{1, 2, 3, 12, 997, 65535} {
			sum := sha256.Sum256([]byte(n.String()))
			want := new(big.Int).Mod(new(big.Int).SetBytes(sum[:]), big.NewInt(int64(p))).Int64()
			if got := PartitionOf(n, p); int64(got) != want {
				t.Fatalf("%s mod %d: %d, want %d", n, p, got, want)
			}
		}
	}
	if PartitionOf(ns("a"), 0) != 0 || PartitionOf(ns("a"), -1) != 0 {
		t.Error("no partitions")
	}
}

func TestHoldersAreRendezvous(t *testing.T) {
	c := Config{Members: []dsv.NodeID{"a", "b", "c", "d", "e", "f", "g"}, Q: dsv.Quorum{K: 3, N: 5, W: 4}}
	counts := map[dsv.NodeID]int{}
	firsts := map[dsv.NodeID]int{}
	for i := range 700 {
		n := ns(fmt.Sprintf("team-%d", i))
		hs := c.Holders(n)
		if len(hs) != 5 || !slices.Equal(hs, c.Holders(n)) {
			t.Fatalf("holders %v", hs)
		}
		firsts[hs[0]]++
		for _, h := range hs {
			counts[h]++
		}
		// A member less moves nobody but itself.
		less := c
		less.Members = slices.DeleteFunc(slices.Clone(c.Members), func(m dsv.NodeID) bool { return m == hs[1] })
		kept := less.Holders(n)
		if !slices.Equal(slices.Delete(slices.Clone(hs), 1, 2), kept[:4]) {
			t.Fatalf("%v without %s: %v", hs, hs[1], kept)
		}
	}
	for _, m := range c.Members {
		if counts[m] < 400 || counts[m] > 600 || firsts[m] < 60 || firsts[m] > 140 {
			t.Errorf("%s holds %d of 700, first of %d", m, counts[m], firsts[m])
		}
	}
}

func TestListInByteOrderByPage(t *testing.T) {
	w := newWorld(t)
	w.quick = true
	keys := []string{"A", "A-", "A.B", "AA", "B", "_", "a", "a1", "a2", "b"}
	for _, k := range []string{"b", "a2", "A.B", "_", "A", "a1", "B", "A-", "AA", "a"} {
		w.ok(create, k)
	}
	for _, k := range []string{"A-", "a1", "b"} {
		w.ok(del, k)
	}
	// Neighbours whose names begin alike.
	for _, space := range []string{"team", "team/app-2", "team/app/sub"} {
		id := w.begin([]*metapb.Op{w.op(create, "OTHER")}, func(p *metapb.Prepare) {
			p.Namespace, p.Holders = space, nodeStrings(w.cfg.Holders(ns(space)))
		})
		w.do(&metapb.Commit{Txid: id.Bytes(), Acks: func() (out []*metapb.Ack) {
			for r, h := range w.cfg.Holders(ns(space)) {
				sid := storeID(byte(slices.Index(w.cfg.Members, h) + 1))
				out = append(out, &metapb.Ack{Holder: uint32(r), StoreId: sid[:]})
			}
			return out
		}()})
	}
	live := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "A-" || k == "a1" || k == "b" })
	for _, c := range []struct {
		prefix, after string
		limit         int
		opts          []ListOption
		want          []string
		more          bool
	}{
		{"", "", 0, nil, live, false},
		{"", "", 0, []ListOption{WithDeleted}, keys, false},
		{"", "", 3, nil, []string{"A", "A.B", "AA"}, true},
		{"", "AA", 3, nil, []string{"B", "_", "a"}, true},
		{"", "a", 3, nil, []string{"a2"}, false},
		{"", "a", 1, nil, []string{"a2"}, false}, // b is deleted
		{"", "a", 1, []ListOption{WithDeleted}, []string{"a1"}, true},
		{"A", "", 0, nil, []string{"A", "A.B", "AA"}, false},
		{"A", "A", 1, nil, []string{"A.B"}, true},
		{"A", "B", 5, nil, nil, false},
		{"a", "B", 5, nil, []string{"a", "a2"}, false},
		{"zz", "", 5, nil, nil, false},
		{"", "", len(live), nil, live, false},
	} {
		w.read(func(tx store.Txn) {
			got, more, err := List(tx, ns(testNS), c.prefix, c.after, c.limit, c.opts...)
			var names []string
			for _, l := range got {
				names = append(names, l.Key.String())
				if l.Version != 1 {
					t.Errorf("%+v", l)
				}
			}
			if err != nil || more != c.more || !slices.Equal(names, c.want) {
				t.Errorf("prefix %q after %q limit %d: %v %v %v, want %v %v", c.prefix, c.after, c.limit, names, more, err, c.want, c.more)
			}
		})
	}
}

func TestPartitionsInOneStoreAreStrangers(t *testing.T) {
	cfg := fiveOfThree
	cfg.Partitions = 2
	a := &world{t: t, st: newStore(t), cfg: cfg, off: -1, now: start, who: incarnation(1)}
	a.p = PartitionOf(ns(testNS), 2)
	a.do(cfg.Record())
	for i, m := range cfg.Members {
		a.do(join(m, storeID(byte(i+1)), dsv.StoreID{}))
	}
	a.ok(create, "A")
	before, head := a.dump(), a.head()

	b := &world{t: t, st: a.st, cfg: cfg, off: -1, now: start + 5*second, who: incarnation(1), p: 1 - a.p}
	b.do(cfg.Record())
	b.do(join("n1", storeID(1), dsv.StoreID{})) // seen in the other partition, not in this one
	b.pass(3 * hour)
	b.do(&metapb.Tick{})
	if a.head() != head {
		t.Fatal("a record of one partition moved the other's head")
	}
	for k, v := range before {
		if got := a.dump()[k]; got != v {
			t.Fatalf("row %q changed", k)
		}
	}
	if s := a.secret("A"); !s.Live {
		t.Fatalf("secret %+v", s)
	}
	a.read(func(tx store.Txn) {
		if err := AssertInvariants(tx, a.p); err != nil {
			t.Error(err)
		}
	})
	// Deleting Prefix leaves the other.
	a.write(func(tx store.Txn) {
		if _, err := tx.DeletePrefix(Prefix(b.p)); err != nil {
			t.Fatal(err)
		}
		if h := must(ReadHead(tx, b.p))(t); h.Offset != -1 {
			t.Fatalf("head %+v", h)
		}
		if err := AssertInvariants(tx, a.p); err != nil {
			t.Error(err)
		}
	})
}

// Every fault that AssertInvariants promises to find, made by hand with the
// running digest kept right.
func TestAssertInvariantsBites(t *testing.T) {
	secret := func(f func(*metapb.SecretRow)) func(*testing.T, *machine) {
		return func(t *testing.T, m *machine) { edit(t, m, secretKey(0, path("A")), new(metapb.SecretRow), f) }
	}
	version := func(n uint64, f func(*metapb.VersionRow)) func(*testing.T, *machine) {
		return func(t *testing.T, m *machine) { edit(t, m, versionKey(0, path("A"), n), new(metapb.VersionRow), f) }
	}
	drop := func(key []byte) func(*testing.T, *machine) {
		return func(t *testing.T, m *machine) { must(0, m.remove(key, must(get(m.tx, key, nil))(t)))(t) }
	}
	for name, spoil := range map[string]func(*testing.T, *machine){
		"fewer versions":   secret(func(s *metapb.SecretRow) { s.LastVersion = 2 }),
		"more versions":    secret(func(s *metapb.SecretRow) { s.LastVersion = 4 }),
		"live":             secret(func(s *metapb.SecretRow) { s.Live = false }),
		"boundary":         secret(func(s *metapb.SecretRow) { s.BoundaryUs++ }),
		"changed":          secret(func(s *metapb.SecretRow) { s.ChangedOffset = 1 << 40 }),
		"gap":              drop(versionKey(0, path("A"), 2)),
		"no secret":        drop(secretKey(0, path("A"))),
		"open before last": version(2, func(v *metapb.VersionRow) { v.Intervals[0].ToUs = 0 }),
		"overlap":          version(2, func(v *metapb.VersionRow) { v.Intervals[0].ToUs++ }),
		"order":            version(2, func(v *metapb.VersionRow) { v.Intervals[0].FromUs-- }),
		"empty interval":   version(1, func(v *metapb.VersionRow) { v.Intervals[0].FromUs = v.Intervals[0].ToUs }),
		"no interval":      version(1, func(v *metapb.VersionRow) { v.Intervals = nil }),
		"live, destroyed":  version(3, func(v *metapb.VersionRow) { v.Destroyed = true }),
		"share set twice": func(t *testing.T, m *machine) {
			set := must(m.version(path("A"), 1))(t).row.GetShareSet()
			version(3, func(v *metapb.VersionRow) { v.ShareSet = set })(t, m)
		},
		"no deadline": func(t *testing.T, m *machine) {
			p := must(Pending(m.tx, 0))(t)[0]
			drop(dueKey(p.Deadline, p.Tx))(t, m)
		},
		"deadline of nothing": func(t *testing.T, m *machine) { must(0, m.putRaw(dueKey(1<<50, dsv.TxID{}), nil, []byte{}))(t) },
		"deadline not looked for": func(_ *testing.T, m *machine) {
			m.head.NextDeadlineUs += 1 << 40
		},
		"never swept":           func(_ *testing.T, m *machine) { m.head.NextSweepUs = 0 },
		"answer leads nowhere":  func(t *testing.T, m *machine) { must(0, m.putRaw(idemKey(0, "a", "b", "c"), nil, make([]byte, 26)))(t) },
		"store id of nobody":    drop(seenKey(0, storeID(3))),
		"digest":                func(_ *testing.T, m *machine) { m.sum.add(digest{1}) },
		"a row without digest":  func(t *testing.T, m *machine) { must(0, m.tx.Put(store.Pair{Key: rowKey(0, 'z', 0)}))(t) },
		"digest, highest digit": func(_ *testing.T, m *machine) { m.sum.sub(digest{0, 0, 0, 1 << 63}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ok(create, "A")
			w.ok(update, "A")
			w.run([]*metapb.Op{w.op(update, "A")}, idem("k"))
			w.begin([]*metapb.Op{w.op(update, "A")})
			w.write(func(tx store.Txn) {
				m := &machine{tx: tx}
				_, err := m.loadHead()
				must(0, err)(t)
				spoil(t, m)
				must(0, m.storeHead())(t)
				if err := AssertInvariants(tx, 0); !errors.Is(err, ErrBroken) {
					t.Fatalf("AssertInvariants: %v", err)
				}
			})
		})
	}
}

// edit changes a row and the running digest with it.
func edit[M proto.Message](t *testing.T, m *machine, key []byte, row M, f func(M)) {
	t.Helper()
	old := must(get(m.tx, key, row))(t)
	f(row)
	must(0, m.put(key, old, row))(t)
}

func TestACorruptRowIsAnErrorNotAnAnswer(t *testing.T) {
	w := newWorld(t)
	w.ok(create, "A")
	id := w.begin([]*metapb.Op{w.op(update, "A")})
	for name, key := range map[string][]byte{
		"head": headKey(0), "config": configKey(0), "stores": storesKey(0), "tx": txKey(id),
		"secret": secretKey(0, path("A")), "version": versionKey(0, path("A"), 1),
	} {
		tx, err := w.st.Begin(store.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		must(0, tx.Put(store.Pair{Key: key, Value: []byte{0xff, 0xff}}))(t)
		off := w.off
		apply := func(body any) error {
			off++
			_, err := Apply(tx, Input{Offset: off, AppendTime: w.now, Incarnation: w.who, Record: record(body)})
			return err
		}
		err = errors.Join(apply(w.commitOf(id)), apply(w.prepare(dsv.TxID{T0: 0, Nonce: [16]byte{9}}, []*metapb.Op{w.op(put, "B")})))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Apply says %v", name, err)
		}
		_, _, err1 := Newest(tx, path("A"))
		_, err2 := LookupTx(tx, id)
		_, _, err3 := ReadConfig(tx, 0)
		_, err4 := StoreIDs(tx, 0)
		if err := errors.Join(err1, err2, err3, err4); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: the lookups say %v", name, err)
		}
		_ = tx.Abort()
	}
}

func TestErrorsOfTheStoreComeThrough(t *testing.T) {
	w := newWorld(t)
	w.ok(create, "A")
	id := w.begin([]*metapb.Op{w.op(update, "A")}, idem("k"))
	in := Input{Offset: w.off + 1, AppendTime: w.now, Incarnation: w.who, Record: record(w.commitOf(id))}
	broken := errors.New("broken disk")
	for n := 1; ; n++ {
		tx, err := w.st.Begin(store.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		f := &failing{Txn: tx, left: n, err: broken}
		_, err = Apply(f, in)
		_ = tx.Abort()
		if f.left > 0 {
			if err != nil || n < 12 {
				t.Fatalf("%d calls: %v", n, err)
			}
			break
		}
		if !errors.Is(err, broken) {
			t.Fatalf("call %d failed, Apply says %v", n, err)
		}
	}
	if d := w.end(id); d.Status.State != TxCommitted { // nothing stuck
		t.Fatal(d.Status)
	}
}

// failing is a transaction whose call number left fails.
type failing struct {
	store.Txn
	left int
	err  error
}

func (f *failing) fails() bool { f.left--; return f.left == 0 }

func (f *failing) Get(key []byte) (store.Item, error) {
	if f.fails() {
		return store.Item{}, f.err
	}
	return f.Txn.Get(key)
}

func (f *failing) Put(pairs ...store.Pair) error {
	if f.fails() {
		return f.err
	}
	return f.Txn.Put(pairs...)
}

func (f *failing) Delete(keys ...[]byte) (int, error) {
	if f.fails() {
		return 0, f.err
	}
	return f.Txn.Delete(keys...)
}

func (f *failing) Scan(prefix []byte, page store.Page) ([]store.Item, bool, error) {
	if f.fails() {
		return nil, false, f.err
	}
	return f.Txn.Scan(prefix, page)
}

func (f *failing) Commit(context.Context) (uint64, error) { panic("Apply commits nothing") }
func (f *failing) Abort() error                           { panic("Apply aborts nothing") }
