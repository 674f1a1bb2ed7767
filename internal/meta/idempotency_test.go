package meta

import (
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

func (w *world) outcome(caller, key string) (id dsv.TxID, s TxStatus, ok bool) {
	w.t.Helper()
	w.read(func(tx store.Txn) {
		var err error
		if id, s, ok, err = IdempotencyOutcome(tx, ns(testNS), caller, key); err != nil {
			w.t.Fatal(err)
		}
	})
	return id, s, ok
}

func TestIdempotencyKeyAnswersOnce(t *testing.T) {
	w := newWorld(t)
	first := w.run([]*metapb.Op{w.op(put, "A")}, idem("k"))
	if id, s, ok := w.outcome("alice", "k"); !ok || id != first.Tx || s.State != TxCommitted || s.Results[0].Version != 1 || len(s.Shapes) != 1 {
		t.Fatalf("kept %v %+v", ok, s)
	}
	again := w.run([]*metapb.Op{w.op(put, "A")}, idem("k"))
	if s := again.Status; s.State != TxRejected || s.Code != CodeDuplicate || s.DuplicateOf != first.Tx || s.FailedOp != 0 {
		t.Fatalf("again: %+v", s)
	}
	// Another caller, another namespace's key and no key are other requests.
	for _, c := range []func(*metapb.Prepare){
		func(p *metapb.Prepare) { p.IdempotencyKey, p.Caller = "k", "bob" },
		func(p *metapb.Prepare) { p.IdempotencyKey, p.Caller = "ek", "alic" },
		func(p *metapb.Prepare) { p.IdempotencyKey = "" },
		func(p *metapb.Prepare) { p.IdempotencyKey = "" },
		func(p *metapb.Prepare) {
			p.IdempotencyKey, p.Namespace, p.Holders = "k", "team", nodeStrings(w.cfg.Holders(ns("team")))
		},
	} {
		id := w.begin([]*metapb.Op{w.op(put, "A")}, c)
		commit := w.commitOf(id)
		for i, h := range w.cfg.Holders(ns("team")) { // acks fit either namespace
			for j, m := range w.cfg.Members {
				if sid := storeID(byte(j + 1)); m == h {
					commit.Acks = append(commit.Acks, &metapb.Ack{Holder: uint32(i), StoreId: sid[:]})
				}
			}
		}
		if d := w.only(w.do(commit), id); d.Status.State != TxCommitted {
			t.Fatalf("got %+v", d.Status)
		}
	}
	if n := w.secret("A").LastVersion; n != 5 {
		t.Fatalf("%d versions, want 5", n)
	}
}

func TestIdempotencyKeyWithAnotherShape(t *testing.T) {
	w := newWorld(t)
	w.ok(create, "A")
	first := w.run([]*metapb.Op{w.op(destroy, "A", named(1), ifv(1))}, idem("k"))
	for name, op := range map[string]*metapb.Op{
		"key": w.op(destroy, "B", named(1), ifv(1)), "kind": w.op(put, "A", ifv(1)), "if_version": w.op(destroy, "A", named(1), ifv(2)),
		"no if_version": w.op(destroy, "A", named(1)), "if_version 0": w.op(destroy, "A", named(1), ifv(0)),
		"versions": w.op(destroy, "A", named(1, 2), ifv(1)), "all": w.op(destroy, "A", all, ifv(1)),
	} {
		if s := w.run([]*metapb.Op{op}, idem("k")).Status; s.State != TxRejected || s.Code != dsv.CodeIdempotencyReuse || s.DuplicateOf != first.Tx {
			t.Errorf("another %s: %+v", name, s)
		}
	}
	if s := w.run([]*metapb.Op{w.op(destroy, "A", named(1), ifv(1)), w.op(put, "B")}, idem("k")).Status; s.Code != dsv.CodeIdempotencyReuse {
		t.Errorf("another length: %+v", s)
	}
	if s := w.run([]*metapb.Op{w.op(destroy, "A", named(1), ifv(1))}, idem("k")).Status; s.Code != CodeDuplicate {
		t.Errorf("the same: %+v", s)
	}
	w.run([]*metapb.Op{w.op(put, "B")}, idem("plain"))
	if s := w.run([]*metapb.Op{w.op(put, "B", ifv(0))}, idem("plain")).Status; s.Code != dsv.CodeIdempotencyReuse {
		t.Errorf("if_version 0 is not none: %+v", s)
	}
}

func TestRefusalsAreNotKept(t *testing.T) {
	w := newWorld(t)
	ops := func() []*metapb.Op { return []*metapb.Op{w.op(update, "A")} }
	w.run(ops(), idem("k")) // 404
	id := w.begin(ops(), idem("k"))
	w.do(&metapb.Abort{Txid: id.Bytes(), Reason: metapb.AbortReason_DEADLINE})
	id = w.begin(ops(), idem("k"))
	w.do(&metapb.Commit{Txid: id.Bytes()}) // write_quorum
	w.begin(ops(), idem("k"))
	w.pass(11 * second)
	w.do(nil) // expired
	if _, _, ok := w.outcome("alice", "k"); ok {
		t.Fatal("a refusal is kept")
	}
	w.ok(create, "A")
	if d := w.run(ops(), idem("k")); d.Status.State != TxCommitted {
		t.Fatalf("judged anew: %+v", d.Status)
	}
}

func TestUnchangedIsKeptAndAnsweredOnce(t *testing.T) {
	w := newWorld(t)
	w.ok(create, "A")
	unchanged := func(key string, v uint64) Decision {
		t.Helper()
		id := w.begin([]*metapb.Op{w.op(update, "A")}, idem(key))
		return w.only(w.do(&metapb.Abort{Txid: id.Bytes(), Reason: metapb.AbortReason_UNCHANGED, UnchangedVersion: v}), id)
	}
	first := unchanged("k", 1)
	if id, s, ok := w.outcome("alice", "k"); !ok || id != first.Tx || !s.Unchanged || s.Results[0].Version != 1 {
		t.Fatalf("kept %v %+v", ok, s)
	}
	if s := unchanged("k", 1).Status; s.State != TxRejected || s.Code != CodeDuplicate || s.DuplicateOf != first.Tx {
		t.Fatalf("unchanged again: %+v", s)
	}
	if s := w.run([]*metapb.Op{w.op(update, "A")}, idem("k")).Status; s.Code != CodeDuplicate || s.DuplicateOf != first.Tx {
		t.Fatalf("commit after unchanged: %+v", s)
	}
	committed := w.run([]*metapb.Op{w.op(update, "A")}, idem("c"))
	if s := unchanged("c", 2).Status; s.State != TxRejected || s.Code != CodeDuplicate || s.DuplicateOf != committed.Tx {
		t.Fatalf("unchanged after commit: %+v", s)
	}
	// Two pending ones with one key: the first decision has it.
	a := w.begin([]*metapb.Op{w.op(update, "A")}, idem("two"))
	b := w.begin([]*metapb.Op{w.op(update, "A")}, idem("two"))
	if d := w.end(b); d.Status.State != TxCommitted {
		t.Fatal(d.Status)
	}
	if d := w.end(a); d.Status.DuplicateOf != b {
		t.Fatal(d.Status)
	}
}

func TestOutcomesAreForgottenAfterADay(t *testing.T) {
	w := newWorld(t)
	w.quick = true
	first := w.run([]*metapb.Op{w.op(put, "A")}, idem("k"))
	left := first.Tx.T0 + 24*hour - w.head().E
	w.passE(left)
	if s := w.status(first.Tx); s.State != TxCommitted {
		t.Fatalf("at T0 + 24 h: %v", s.State)
	}
	if d := w.run([]*metapb.Op{w.op(put, "B")}, idem("k")); d.Status.State != TxCommitted {
		t.Fatalf("the key is taken for ever: %+v", d.Status) // run moved E beyond
	}
	if s := w.status(first.Tx); s.State != TxForgotten {
		t.Fatalf("after T0 + 24 h: %v", s.State)
	}
	w.voided(VoidT0, w.prepare(first.Tx, []*metapb.Op{w.op(put, "A")}))
	w.quick = false
	w.passE(3 * second)
	rows := w.dump()
	if _, ok := rows[string(txKey(first.Tx))]; ok {
		t.Fatal("a forgotten outcome has a row")
	}
	if id, _, ok := w.outcome("alice", "k"); !ok || id == first.Tx {
		t.Fatal("the sweep took the key of a later transaction")
	}
	w.passE(24 * hour)
	w.passE(10 * second)
	for k := range w.dump() {
		if kind := k[3]; kind == kindTx || kind == kindIdem || kind == kindDue {
			t.Fatalf("left: %q", k)
		}
	}
	if w.secret("A").LastVersion != 1 || w.secret("B").LastVersion != 1 {
		t.Fatal("forgetting touched a secret")
	}
}

// Between two sweeps an outcome is forgotten though its row is there: its key
// is free, and the sweep must not take the key from the one that has it then.
func TestForgottenBeforeItIsSwept(t *testing.T) {
	w := newWorld(t)
	w.quick = true
	w.ok(put, "A")
	w.passE(second / 2)
	old := w.run([]*metapb.Op{w.op(put, "A")}, idem("k"))
	w.passE(24*hour - w.head().E + second/10) // sweeps the first, and not again for a second
	w.passE(second/2 - second/20)
	w.quick = false
	if _, ok := w.dump()[string(txKey(old.Tx))]; !ok || w.status(old.Tx).State != TxForgotten {
		t.Fatalf("the test does not get there: %v %v", ok, w.status(old.Tx).State)
	}
	if _, _, ok := w.outcome("alice", "k"); ok {
		t.Fatal("a forgotten outcome answers")
	}
	d := w.run([]*metapb.Op{w.op(put, "A")}, idem("k"))
	if d.Status.State != TxCommitted {
		t.Fatalf("the key is not free: %+v", d.Status)
	}
	w.passE(2 * second)
	if _, ok := w.dump()[string(txKey(old.Tx))]; ok {
		t.Fatal("not swept")
	}
	if id, _, ok := w.outcome("alice", "k"); !ok || id != d.Tx {
		t.Fatal("the sweep took the key of a later transaction")
	}
}

func TestForgettingIsBoundedPerRecord(t *testing.T) {
	w := newWorld(t)
	w.quick = true
	const n = 3*sweepRows + 5
	for i := range n {
		id := w.begin([]*metapb.Op{w.op(put, "A")}, idem(string(rune('a'+i%26))+string(rune('a'+i/26))))
		w.now -= 1000
		w.do(w.commitOf(id))
	}
	count := func() (c int) {
		w.read(func(tx store.Txn) { c = must(tx.Count(rowKey(0, kindTx, 0)))(t) })
		return c
	}
	w.passE(24*hour - w.head().E)
	if count() != n {
		t.Fatalf("%d outcomes, want %d", count(), n)
	}
	w.quick = false
	w.passE(second)
	got := []int{count()}
	for range 4 {
		w.do(nil)
		got = append(got, count())
	}
	for i, c := range got {
		if want := max(n-(i+1)*sweepRows, 0); c != want {
			t.Fatalf("outcomes left record by record: %v", got)
		}
	}
}
