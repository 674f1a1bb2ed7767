package meta

import (
	"errors"
	"math"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

func TestEveryRecordMovesTheClocksVoidOnesToo(t *testing.T) {
	w := bareWorld(t)
	step := func(at, wantT, wantE int64, body any) {
		t.Helper()
		w.now = at
		h := w.do(body).Head
		if h.T != wantT || h.E != wantE || h.LastAppend != max(at, 0) || h.Offset != w.off {
			t.Fatalf("at %d: T %d E %d last %d offset %d, want T %d E %d", at, h.T, h.E, h.LastAppend, h.Offset, wantT, wantE)
		}
		if got := w.head(); got != h {
			t.Fatalf("ReadHead %+v, effects %+v", got, h)
		}
	}
	step(1000, 1000, 0, nil)                          // the first record starts E
	step(1700, 1700, 700, &metapb.Tick{})             // void: not configured
	step(1500, 1700, 700, &metapb.Config{})           // void: malformed; a step back moves neither
	step(1600, 1700, 800, &metapb.Setting{})          // from the previous append, not from T
	step(1600, 1700, 800, nil)                        // no time passed
	step(-7, 1700, 800, nil)                          // no time at all counts as 0
	step(50, 1700, 850, nil)                          // and goes on from there
	step(50+3*minute, 50+3*minute, 850+2*minute, nil) // at most 2 min a record
	h := w.head()
	if h.Applied != 8 || h.Void != 8 || h.Configured {
		t.Fatalf("counted %+v", h)
	}
}

func TestClocksSurviveAbsurdAppendTimes(t *testing.T) {
	w := newWorld(t)
	for _, at := range []int64{math.MaxInt64, math.MinInt64, math.MaxInt64, 0, math.MaxInt64 - 1} {
		w.now = at
		w.do(&metapb.Tick{})
		w.now = at // run would move it on
		id := w.txid()
		w.do(w.prepare(id, []*metapb.Op{w.op(metapb.OpKind_PUT, "A")}))
		w.do(w.commitOf(id))
		id = w.txid()
		w.do(w.prepare(id, []*metapb.Op{w.op(metapb.OpKind_DELETE, "A")}))
		if d := w.only(w.do(w.commitOf(id)), id); d.Status.State != TxCommitted {
			t.Fatalf("at %d: %v", at, d.Status)
		}
	}
	if n := w.secret("A").LastVersion; n != 5 {
		t.Fatalf("%d versions", n)
	}
}

func TestOffsetsHaveNoGap(t *testing.T) {
	w := newWorld(t)
	before := w.head()
	for _, off := range []int64{before.Offset, before.Offset + 2, 0, -1, math.MaxInt64, math.MinInt64} {
		tx, err := w.st.Begin(store.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(tx, Input{Offset: off, Record: record(&metapb.Tick{})}); !errors.Is(err, ErrGap) {
			t.Fatalf("offset %d after %d: %v", off, before.Offset, err)
		}
		if h := must(ReadHead(tx, 0))(t); h != before {
			t.Fatalf("ErrGap moved the head")
		}
		_ = tx.Abort()
	}
	fresh := bareWorld(t)
	fresh.write(func(tx store.Txn) {
		if _, err := Apply(tx, Input{Offset: 1}); !errors.Is(err, ErrGap) {
			t.Fatalf("first offset 1: %v", err)
		}
		if h := must(ReadHead(tx, 3))(t); h != (Head{Partition: 3, Offset: -1}) {
			t.Fatalf("head before the first record: %+v", h)
		}
	})
}

func TestBarriersAndForeignBodiesDoNothingElse(t *testing.T) {
	w := newWorld(t)
	before := w.dump()
	for _, body := range []any{&metapb.Tick{}, &metapb.Checkpoint{Offset: 3, Digest: []byte("x")}} {
		if eff := w.do(body); eff.Void != "" {
			t.Fatalf("%T is void: %s", body, eff.Void)
		}
	}
	if len(w.dump()) != len(before) {
		t.Fatal("a barrier wrote a row")
	}
	w.voided(VoidUnreadable, nil)
	w.voided(VoidKind, &metapb.Setting{Type: "token", Id: "x"})
	w.voided(VoidKind, &metapb.Record{Version: 1})
	w.voided(VoidVersion, &metapb.Record{Version: 2})
}

func TestPendingExpiresAtTheRecordThatPassesItsDeadline(t *testing.T) {
	for _, body := range []any{nil, &metapb.Tick{}, &metapb.Setting{}} {
		w := newWorld(t)
		a := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
		e := w.head().E
		w.pass(dsv.DefaultTTLMicros)
		if eff := w.do(body); eff.Decisions != nil || eff.Head.E != e+dsv.DefaultTTLMicros {
			t.Fatalf("decided at its very deadline: %+v", eff)
		}
		w.pass(1)
		eff := w.do(body)
		if len(eff.Decisions) != 1 || eff.Decisions[0].Tx != a || eff.Decisions[0].Status.State != TxExpired {
			t.Fatalf("not expired: %+v", eff)
		}
		d := eff.Decisions[0]
		if d.Status.DecidedOffset != w.off || d.Coordinator != "n1" || d.Incarnation != w.who || len(d.Holders) != 5 ||
			len(d.Ops) != 1 || !d.Ops[0].HasShards || d.Ops[0].ShareSet != (dsv.ShareSet{Tx: a}) || d.Ops[0].Version != 0 {
			t.Fatalf("decision %+v", d)
		}
		w.voided(VoidNotPending, w.commitOf(a))
		w.voided(VoidNotPending, &metapb.Abort{Txid: a.Bytes()})
		if s := w.status(a); s.State != TxExpired || s.Namespace.String() != testNS {
			t.Fatalf("status %+v", s)
		}
	}
}

func TestExpiryComesBeforeTheRecordIsJudged(t *testing.T) {
	w := newWorld(t)
	a := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
	w.pass(dsv.DefaultTTLMicros + 1)
	eff := w.do(w.commitOf(a)) // its own COMMIT moves E past its deadline
	if eff.Void != VoidNotPending || len(eff.Decisions) != 1 || eff.Decisions[0].Status.State != TxExpired {
		t.Fatalf("got %+v", eff)
	}
	// Expired ones come first, by deadline, then the record's own decision.
	long := func(p *metapb.Prepare) { p.TtlUs = dsv.MaxTTLMicros }
	keep := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")}, long)
	late := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "B")}, func(p *metapb.Prepare) { p.TtlUs = 9 * second })
	soon := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "C")}, func(p *metapb.Prepare) { p.TtlUs = 3 * second })
	w.read(func(tx store.Txn) {
		if p, ok, err := OldestPending(tx, 0); err != nil || !ok || p.Tx != soon {
			t.Fatalf("oldest %v %v %v", p, ok, err)
		}
		if ps := must(Pending(tx, 0))(t); len(ps) != 3 || ps[1].Tx != late || ps[2].Tx != keep {
			t.Fatalf("pending %v", ps)
		}
	})
	w.pass(20 * second)
	eff = w.do(w.commitOf(keep))
	if len(eff.Decisions) != 3 || eff.Decisions[0].Tx != soon || eff.Decisions[1].Tx != late || eff.Decisions[2].Tx != keep ||
		eff.Decisions[2].Status.State != TxCommitted {
		t.Fatalf("got %+v", eff.Decisions)
	}
	w.read(func(tx store.Txn) {
		if d, ok, err := NextDeadline(tx, 0); ok || err != nil {
			t.Fatalf("next deadline %d of nothing", d)
		}
	})
}

func TestManyExpireAtOnce(t *testing.T) {
	w := newWorld(t)
	w.quick = true
	const n = 2*scanPage + 1
	for range n {
		w.now -= 1000 // begin moves it on: all at one instant
		w.begin([]*metapb.Op{w.op(metapb.OpKind_DELETE, "A")})
	}
	w.quick = false
	w.pass(11 * second)
	if eff := w.do(nil); len(eff.Decisions) != n {
		t.Fatalf("%d of %d expired", len(eff.Decisions), n)
	}
	w.read(func(tx store.Txn) {
		if ps := must(Pending(tx, 0))(t); len(ps) != 0 {
			t.Fatalf("%d pending", len(ps))
		}
	})
}

func TestStatusWithoutPrepare(t *testing.T) {
	w := newWorld(t)
	id := w.txid()
	w.passE(10 * second)
	if s := w.status(id); s.State != TxNone {
		t.Fatalf("at T0 + 10 s: %v", s.State)
	}
	w.passE(1)
	if s := w.status(id); s.State != TxExpired {
		t.Fatalf("after T0 + 10 s: %v", s.State)
	}
	w.voided(VoidT0, w.prepare(id, []*metapb.Op{w.op(metapb.OpKind_PUT, "A")}))
	w.passE(24*hour - 10*second - 1)
	if s := w.status(id); s.State != TxExpired {
		t.Fatalf("at T0 + 24 h: %v", s.State)
	}
	w.passE(1)
	if s := w.status(id); s.State != TxForgotten {
		t.Fatalf("after T0 + 24 h: %v", s.State)
	}
}
