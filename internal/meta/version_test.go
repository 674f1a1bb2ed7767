package meta

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

const (
	create   = metapb.OpKind_CREATE
	update   = metapb.OpKind_UPDATE
	put      = metapb.OpKind_PUT
	del      = metapb.OpKind_DELETE
	undelete = metapb.OpKind_UNDELETE
	destroy  = metapb.OpKind_DESTROY
	repair   = metapb.OpKind_REPAIR
)

func TestPreconditionsByKind(t *testing.T) {
	w := newWorld(t)
	// Never there.
	w.refused(dsv.CodeNotFound, update, "A")
	w.refused(dsv.CodeNotFound, del, "A")
	w.refused(dsv.CodeNotFound, undelete, "A")
	w.refused(dsv.CodeNotFound, destroy, "A", all)
	w.refused(dsv.CodeNotFound, destroy, "A", named(1))
	w.refused(dsv.CodeVersionMismatch, repair, "A", repairOf(Version{Number: 1}))
	w.refused(dsv.CodeVersionMismatch, create, "A", ifv(1))
	w.refused(dsv.CodeVersionMismatch, put, "A", ifv(1))
	// Live.
	w.ok(create, "A", ifv(0))
	w.refused(dsv.CodeExists, create, "A")
	w.refused(dsv.CodeExists, undelete, "A")
	w.refused(dsv.CodeNotFound, destroy, "A", named(1, 2))
	w.refused(dsv.CodeNotFound, destroy, "A", named(0))
	w.refused(dsv.CodeVersionMismatch, update, "A", ifv(0))
	w.refused(dsv.CodeVersionMismatch, update, "A", ifv(2))
	w.refused(dsv.CodeVersionMismatch, put, "A", ifv(0))
	w.refused(dsv.CodeVersionMismatch, del, "A", ifv(2))
	w.refused(dsv.CodeVersionMismatch, destroy, "A", all, ifv(2))
	w.ok(update, "A", ifv(1))
	w.ok(put, "A", ifv(2))
	// Deleted.
	w.ok(del, "A", ifv(3))
	w.refused(dsv.CodeNotFound, del, "A")
	w.refused(dsv.CodeNotFound, update, "A")
	w.refused(dsv.CodeVersionMismatch, create, "A", ifv(3)) // ifv is of the live one
	w.refused(dsv.CodeVersionMismatch, undelete, "A", ifv(3))
	w.ok(undelete, "A", ifv(0))
	w.ok(del, "A")
	w.ok(destroy, "A", named(3), ifv(0))
	w.refused(dsv.CodeDestroyed, undelete, "A")
	w.ok(put, "A", ifv(0))
	if n := w.secret("A").LastVersion; n != 4 {
		t.Fatalf("%d versions, want 4", n)
	}
}

func TestNumbersGoOnAfterDeleteAndDestroy(t *testing.T) {
	w := newWorld(t)
	next := uint64(1)
	grow := func(kind metapb.OpKind) {
		t.Helper()
		if r := w.ok(kind, "A"); r.Version != next {
			t.Fatalf("%v made version %d, want %d", kind, r.Version, next)
		}
		next++
	}
	grow(create)
	grow(update)
	w.ok(del, "A")
	grow(create)
	if r := w.ok(destroy, "A", all); r.Version != 3 || r.ValidTo == 0 {
		t.Fatalf("destroy all: %+v", r)
	}
	w.refused(dsv.CodeNotFound, update, "A")
	grow(create)
	w.ok(del, "A")
	grow(put)
	grow(put)
	for n := uint64(1); n < next; n++ {
		if v := w.version("A", n); v.Destroyed != (n <= 3) || v.Live() != (n == next-1) {
			t.Errorf("version %d: %+v", n, v)
		}
	}
}

func TestIntervals(t *testing.T) {
	w := newWorld(t)
	ivs := func(n uint64) []Interval { t.Helper(); return w.version("A", n).Intervals }
	want := func(n uint64, want ...Interval) {
		t.Helper()
		if got := ivs(n); !cmp.Equal(got, want) {
			t.Fatalf("version %d: %v, want %v", n, got, want)
		}
	}
	w.passE(10 * second)
	w.ok(create, "A") // at T
	a := w.now
	want(1, Interval{a, 0})
	w.pass(second)
	r := w.ok(update, "A")
	b := w.now
	if want(1, Interval{a, b}); r.ValidFrom != b || r.ValidTo != 0 {
		t.Fatalf("result %+v", r)
	}
	want(2, Interval{b, 0})
	// The broker's clock stands still or goes back: boundary + 1.
	w.now = start
	w.ok(update, "A")
	want(2, Interval{b, b + 1})
	w.now = start
	r = w.ok(del, "A")
	if want(3, Interval{b + 1, b + 2}); r.ValidTo != b+2 || r.ValidFrom != 0 || r.Version != 3 {
		t.Fatalf("result %+v", r)
	}
	w.now = start
	w.ok(undelete, "A")
	want(3, Interval{b + 1, b + 2}, Interval{b + 3, 0})
	w.now = b + 20*second
	w.do(&metapb.Tick{})
	w.ok(del, "A")
	c := w.now
	want(3, Interval{b + 1, b + 2}, Interval{b + 3, c})
	w.ok(undelete, "A")
	d := w.now
	w.ok(put, "A")
	e := w.now
	want(3, Interval{b + 1, b + 2}, Interval{b + 3, c}, Interval{d, e})
	want(4, Interval{e, 0})
	if s := w.secret("A"); s != (Secret{LastVersion: 4, Live: true, Boundary: e, ChangedOffset: w.off}) {
		t.Fatalf("secret %+v", s)
	}
	w.read(func(tx store.Txn) {
		for _, c := range []struct {
			t int64
			n uint64 // 0 = none
		}{{0, 0}, {a - 1, 0}, {a, 1}, {b - 1, 1}, {b, 2}, {b + 1, 3}, {b + 2, 0}, {b + 3, 3}, {c - 1, 3}, {c, 0}, {d, 3}, {e - 1, 3}, {e, 4}, {e + 1<<50, 4}} {
			v, ok, err := AsOf(tx, path("A"), c.t)
			if err != nil || ok != (c.n > 0) || v.Number != c.n {
				t.Errorf("as of a%+d: version %d %v %v, want %d", c.t-a, v.Number, ok, err, c.n)
			}
		}
		vs := must(History(tx, path("A")))(t)
		if len(vs) != 4 || vs[2].Number != 3 || len(vs[2].Intervals) != 3 {
			t.Errorf("history %+v", vs)
		}
	})
}

func TestAVersionKeepsItsOwnFacts(t *testing.T) {
	w := newWorld(t)
	w.passE(7 * second)
	id := w.begin([]*metapb.Op{w.op(create, "A", func(o *metapb.Op) { o.PaddedSize = 96 })}, func(p *metapb.Prepare) { p.RequestedAtUs = 42 })
	d := w.end(id)
	h := w.head()
	want := Version{
		Path: path("A"), Number: 1, ShareSet: dsv.ShareSet{Tx: id}, Intervals: []Interval{{h.T, 0}}, RequestedAt: 42,
		Author: "alice", PaddedSize: 96, Digests: d.Ops[0].Digests, CommittedOffset: w.off, CommittedAt: h.T, ShareSetE: h.E, Acks: d.Acks,
	}
	got := w.version("A", 1)
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(dsv.Namespace{}, dsv.Key{})); diff != "" {
		t.Fatal(diff)
	}
	w.read(func(tx store.Txn) {
		if v, ok, err := Newest(tx, path("A")); err != nil || !ok || v.ShareSet != got.ShareSet {
			t.Fatalf("newest %+v %v %v", v, ok, err)
		}
	})
	w.ok(del, "A")
	w.read(func(tx store.Txn) {
		if _, ok, err := Newest(tx, path("A")); ok || err != nil {
			t.Fatalf("newest of a deleted secret: %v %v", ok, err)
		}
	})
}

func TestDestroy(t *testing.T) {
	w := newWorld(t)
	w.ok(create, "A")
	w.ok(update, "A")
	w.ok(update, "A")
	sets := func(ns ...uint64) (out []GoneSet) {
		for _, n := range ns {
			out = append(out, GoneSet{path("A"), n, w.version("A", n).ShareSet})
		}
		return out
	}
	gone := func(want []GoneSet, change func(*metapb.Op)) Decision {
		t.Helper()
		d := w.one(destroy, "A", change)
		if d.Status.State != TxCommitted || len(d.Ops[0].Gone) != len(want) || (len(want) > 0 && !cmp.Equal(d.Ops[0].Gone, want, cmp.AllowUnexported(dsv.Namespace{}, dsv.Key{}))) {
			t.Fatalf("gone %v, want %v", d.Ops[0].Gone, want)
		}
		if w.secret("A").ChangedOffset != w.off {
			t.Fatal("a destroy is no change")
		}
		return d
	}
	// An old one does not touch the live interval.
	d := gone(sets(1), named(1))
	if v := w.version("A", 1); !v.Destroyed || v.Digests != nil || v.Acks != nil || len(v.Intervals) != 1 || v.Author != "alice" {
		t.Fatalf("version 1: %+v", v)
	}
	if !w.secret("A").Live || d.Ops[0].Version != 1 || d.Status.Results[0].ValidTo != 0 {
		t.Fatalf("live interval touched: %+v", d)
	}
	gone(nil, named(1)) // again
	if d := gone(sets(3), named(1, 3)); d.Status.Results[0].ValidTo != w.now || d.Ops[0].Version != 3 {
		t.Fatalf("naming the live one: %+v", d.Status.Results)
	}
	if s := w.secret("A"); s.Live || s.Boundary != w.now {
		t.Fatalf("secret %+v", s)
	}
	gone(sets(2), all)
	gone(nil, all)
	w.ok(create, "A")
	gone(sets(4), all)
	w.read(func(tx store.Txn) {
		if vs, next, err := Versions(tx, 0, nil, 100); len(vs) != 0 || next != nil || err != nil {
			t.Fatalf("undestroyed: %v %v", vs, err)
		}
		if v, ok, err := AsOf(tx, path("A"), w.version("A", 2).Intervals[0].From); err != nil || !ok || !v.Destroyed {
			t.Fatalf("as of a destroyed one: %+v %v", v, err)
		}
	})
}

func TestDestroyOfTooManyIsRefusedNotDone(t *testing.T) {
	w := newWorld(t)
	w.quick = true
	for range 3 {
		w.ok(put, "A")
	}
	// Grow the secret by rows, as MaxDestroyed commits would.
	w.write(func(tx store.Txn) {
		m := machine{tx: tx, p: w.p}
		_, err := m.loadHead()
		must(0, err)(t)
		v := must(m.version(path("A"), 3))(t)
		v.row.Intervals[0].ToUs = v.row.Intervals[0].FromUs + 1
		for n := uint64(4); n <= MaxDestroyed+2; n++ {
			must(0, m.put(versionKey(w.p, path("A"), n), nil, v.row))(t)
		}
		s := new(metapb.SecretRow)
		key := secretKey(w.p, path("A"))
		old := must(get(tx, key, s))(t)
		s.LastVersion, s.Live, s.BoundaryUs = MaxDestroyed+2, false, v.row.Intervals[0].ToUs
		must(0, m.put(key, old, s))(t)
		must(0, m.storeHead())(t)
	})
	w.refused(dsv.CodeTooLarge, destroy, "A", all)
	w.ok(put, "B")
	most := make([]uint64, MaxDestroyed)
	for i := range most {
		most[i] = uint64(i + 1)
	}
	d := w.run([]*metapb.Op{w.op(destroy, "A", named(most...)), w.op(destroy, "B", all)})
	if d.Status.Code != dsv.CodeTooLarge || d.Status.FailedOp != 2 || w.version("A", 1).Destroyed || !w.secret("B").Live {
		t.Fatalf("a batch over the limit: %+v", d.Status)
	}
	d = w.run([]*metapb.Op{w.op(destroy, "A", named(1, 2)), w.op(destroy, "B", all)})
	if d.Status.State != TxCommitted {
		t.Fatalf("got %+v", d.Status)
	}
	if d := w.one(destroy, "A", all); d.Status.State != TxCommitted || len(d.Ops[0].Gone) != MaxDestroyed {
		t.Fatalf("%v, %d gone", d.Status, len(d.Ops[0].Gone))
	}
}

func TestRepair(t *testing.T) {
	w := newWorld(t)
	w.ok(create, "A")
	w.ok(update, "A")
	for _, live := range []bool{true, false} {
		for n := uint64(1); n <= 2; n++ {
			before, secret := w.version("A", n), w.secret("A")
			w.passE(second)
			id := w.begin([]*metapb.Op{w.op(repair, "A", repairOf(before), func(o *metapb.Op) { o.PaddedSize = 1 })},
				func(p *metapb.Prepare) { p.Caller = "n2"; p.RequestedAtUs = 1 })
			d := w.only(w.do(&metapb.Commit{Txid: id.Bytes(), Acks: w.acks(4, 3, 2, 1)}), id)
			want := before
			want.ShareSet, want.Digests, want.Acks, want.ShareSetE = dsv.ShareSet{Tx: id}, d.Ops[0].Digests, d.Acks, w.head().E
			names := cmp.AllowUnexported(dsv.Namespace{}, dsv.Key{})
			if diff := cmp.Diff(want, w.version("A", n), names); diff != "" {
				t.Fatalf("version %d: %s", n, diff)
			}
			secret.ChangedOffset = w.off
			if w.secret("A") != secret {
				t.Fatalf("secret %+v, want %+v", w.secret("A"), secret)
			}
			if diff := cmp.Diff(d.Ops[0].Gone, []GoneSet{{path("A"), n, before.ShareSet}}, names); diff != "" || d.Ops[0].Version != n {
				t.Fatalf("gone: %s", diff)
			}
			w.refused(dsv.CodeVersionMismatch, repair, "A", repairOf(before)) // from is no longer in force
		}
		if live {
			w.ok(del, "A") // does not touch repairs
		}
	}
	v := w.version("A", 2)
	w.refused(dsv.CodeVersionMismatch, repair, "A", repairOf(Version{Number: 3, ShareSet: v.ShareSet}))
	w.refused(dsv.CodeVersionMismatch, repair, "A", repairOf(Version{Number: 0, ShareSet: v.ShareSet}))
	w.refused(dsv.CodeVersionMismatch, repair, "A", repairOf(Version{Number: 1, ShareSet: v.ShareSet}))
	pending := w.begin([]*metapb.Op{w.op(repair, "A", repairOf(v))})
	w.ok(destroy, "A", named(2))
	if d := w.end(pending); d.Status.Code != dsv.CodeVersionMismatch {
		t.Fatalf("a repair after destroy: %+v", d.Status)
	}
}

func TestTwoRepairsOneWinsAndAnUpdateStaysOut(t *testing.T) {
	w := newWorld(t)
	w.ok(create, "A")
	v := w.version("A", 1)
	a := w.begin([]*metapb.Op{w.op(repair, "A", repairOf(v))})
	b := w.begin([]*metapb.Op{w.op(repair, "A", repairOf(v))})
	if r := w.ok(update, "A"); r.Version != 2 {
		t.Fatalf("update: %+v", r)
	}
	if d := w.end(b); d.Status.State != TxCommitted {
		t.Fatalf("first: %v", d.Status)
	}
	if d := w.end(a); d.Status.Code != dsv.CodeVersionMismatch {
		t.Fatalf("second: %v", d.Status)
	}
	if got := w.version("A", 1).ShareSet; got.Tx != b {
		t.Fatalf("share set %v", got)
	}
}
