package meta

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

func TestCommitIsVoidUnlessPendingAndItsCoordinators(t *testing.T) {
	w := newWorld(t)
	unknown := w.txid()
	w.voided(VoidNotPending, w.commitOf(unknown))
	w.voided(VoidNotPending, &metapb.Abort{Txid: unknown.Bytes()})
	w.voided(VoidMalformed, &metapb.Commit{})
	w.voided(VoidMalformed, &metapb.Abort{Txid: make([]byte, 27)})
	elsewhere := unknown
	elsewhere.Partition = 1
	w.voided(VoidPartition, w.commitOf(elsewhere))

	id := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
	w.who = incarnation(2)
	w.voided(VoidCoordinator, w.commitOf(id))
	w.voided(VoidCoordinator, &metapb.Abort{Txid: id.Bytes()})
	if s := w.status(id); s.State != TxPending {
		t.Fatalf("a stranger settled it: %v", s.State)
	}
	w.who = incarnation(1)
	if d := w.end(id); d.Status.State != TxCommitted {
		t.Fatalf("got %v", d.Status)
	}
	w.voided(VoidNotPending, w.commitOf(id))
	w.voided(VoidNotPending, &metapb.Abort{Txid: id.Bytes()})
	// A COMMIT that overtook its PREPARE is void and may come once more.
	late := w.txid()
	w.voided(VoidNotPending, w.commitOf(late))
	w.do(w.prepare(late, []*metapb.Op{w.op(metapb.OpKind_UPDATE, "A")}))
	if d := w.end(late); d.Status.State != TxCommitted || d.Status.Results[0].Version != 2 {
		t.Fatalf("got %+v", d.Status)
	}
}

func TestCommitNeedsWDistinctHoldersUnderTheirCurrentIds(t *testing.T) {
	stale, foreign := storeID(77), storeID(3)
	for name, c := range map[string]struct {
		good bool
		acks func(w *world) []*metapb.Ack
	}{
		"four":           {true, func(w *world) []*metapb.Ack { return w.acks(0, 1, 2, 3) }},
		"other four":     {true, func(w *world) []*metapb.Ack { return w.acks(4, 3, 1, 0) }},
		"five":           {true, func(w *world) []*metapb.Ack { return w.acks(0, 1, 2, 3, 4) }},
		"none":           {false, func(*world) []*metapb.Ack { return nil }},
		"three":          {false, func(w *world) []*metapb.Ack { return w.acks(0, 1, 2) }},
		"one counted":    {false, func(w *world) []*metapb.Ack { return w.acks(0, 1, 2, 2, 1, 0) }},
		"rank too high":  {false, func(w *world) []*metapb.Ack { a := w.acks(0, 1, 2, 3); a[0].Holder = 5; return a }},
		"rank huge":      {false, func(w *world) []*metapb.Ack { a := w.acks(0, 1, 2, 3); a[0].Holder = 1<<32 - 1; return a }},
		"id never seen":  {false, func(w *world) []*metapb.Ack { a := w.acks(0, 1, 2, 3); a[3].StoreId = stale[:]; return a }},
		"id of another":  {false, func(w *world) []*metapb.Ack { a := w.acks(0, 1, 2, 3); a[0].StoreId = a[1].StoreId; return a }},
		"id cut":         {false, func(w *world) []*metapb.Ack { a := w.acks(0, 1, 2, 3); a[0].StoreId = foreign[:15]; return a }},
		"no id":          {false, func(w *world) []*metapb.Ack { a := w.acks(0, 1, 2, 3); a[0].StoreId = nil; return a }},
		"bad, then good": {true, func(w *world) []*metapb.Ack { a := w.acks(0, 0, 1, 2, 3); a[0].StoreId = stale[:]; return a }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
			acks := c.acks(w)
			d := w.only(w.do(&metapb.Commit{Txid: id.Bytes(), Acks: acks}), id)
			if c.good {
				if d.Status.State != TxCommitted || len(d.Acks) < 4 {
					t.Fatalf("got %+v", d)
				}
				for i := range d.Acks[1:] {
					if d.Acks[i].Rank >= d.Acks[i+1].Rank {
						t.Fatalf("acks not by rank: %v", d.Acks)
					}
				}
				if v := w.version("A", 1); !cmp.Equal(v.Acks, d.Acks) {
					t.Fatalf("kept %v, decided %v", v.Acks, d.Acks)
				}
				return
			}
			if d.Status.State != TxRejected || d.Status.Code != dsv.CodeWriteQuorum || d.Acks != nil || d.Status.FailedOp != 0 {
				t.Fatalf("got %+v", d)
			}
			// M17: such a COMMIT is final, a better one comes too late.
			w.voided(VoidNotPending, w.commitOf(id))
			if w.secret("A") != (Secret{}) {
				t.Fatal("it has an effect")
			}
		})
	}
}

func TestAcksOfAReplacedStoreCountNoMore(t *testing.T) {
	w := newWorld(t)
	id := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
	commit := w.commitOf(id)
	first := w.cfg.Holders(ns(testNS))[0]
	var old dsv.StoreID
	copy(old[:], commit.Acks[0].StoreId)
	if eff := w.do(join(first, storeID(90), old)); eff.Void != "" {
		t.Fatal(eff.Void)
	}
	if d := w.only(w.do(commit), id); d.Status.Code != dsv.CodeWriteQuorum {
		t.Fatalf("got %v", d.Status)
	}
	id = w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
	commit = w.commitOf(id)
	now := storeID(90)
	commit.Acks[0].StoreId = now[:]
	if d := w.only(w.do(commit), id); d.Status.State != TxCommitted {
		t.Fatalf("under the new id: %v", d.Status)
	}
}

// The order of a COMMIT's verdicts: idempotency key, acknowledgements, the
// operations in turn, each its precondition and then if_version.
func TestOrderOfVerdicts(t *testing.T) {
	w := newWorld(t)
	w.ok(metapb.OpKind_CREATE, "LIVE")
	w.run([]*metapb.Op{w.op(metapb.OpKind_CREATE, "X")}, idem("k"))
	const create, update, del = metapb.OpKind_CREATE, metapb.OpKind_UPDATE, metapb.OpKind_DELETE
	few := func(id dsv.TxID) *metapb.Commit { return &metapb.Commit{Txid: id.Bytes(), Acks: w.acks(0, 1)} }
	for name, c := range map[string]struct {
		ops    []*metapb.Op
		key    string
		commit func(dsv.TxID) *metapb.Commit
		code   dsv.Code
		failed int
	}{
		"key before acks":     {[]*metapb.Op{w.op(create, "X")}, "k", few, CodeDuplicate, 0},
		"acks before ops":     {[]*metapb.Op{w.op(create, "LIVE")}, "", few, dsv.CodeWriteQuorum, 0},
		"first op":            {[]*metapb.Op{w.op(create, "N"), w.op(update, "GONE"), w.op(create, "LIVE")}, "", w.commitOf, dsv.CodeNotFound, 2},
		"its version":         {[]*metapb.Op{w.op(update, "LIVE", ifv(2)), w.op(create, "X")}, "", w.commitOf, dsv.CodeVersionMismatch, 1},
		"kind before version": {[]*metapb.Op{w.op(create, "LIVE", ifv(7))}, "", w.commitOf, dsv.CodeExists, 1},
		"delete of nothing":   {[]*metapb.Op{w.op(del, "GONE", ifv(1))}, "", w.commitOf, dsv.CodeNotFound, 1},
	} {
		before := w.dump()
		id := w.begin(c.ops, idem(c.key))
		d := w.only(w.do(c.commit(id)), id)
		if d.Status.State != TxRejected || d.Status.Code != c.code || d.Status.FailedOp != c.failed || d.Status.Results != nil {
			t.Errorf("%s: %+v", name, d.Status)
		}
		after := w.dump()
		delete(after, string(txKey(id)))
		if !cmp.Equal(before, after) {
			t.Errorf("%s: a rejected batch changed rows: %s", name, cmp.Diff(before, after))
		}
	}
}

func TestBatchIsOnePointInTheOrder(t *testing.T) {
	w := newWorld(t)
	w.ok(metapb.OpKind_CREATE, "B")
	w.ok(metapb.OpKind_CREATE, "C")
	id := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A"), w.op(metapb.OpKind_UPDATE, "B"), w.op(metapb.OpKind_DELETE, "C")})
	d := w.end(id)
	if d.Status.State != TxCommitted || len(d.Ops) != 3 || len(d.Status.Results) != 3 {
		t.Fatalf("got %+v", d)
	}
	for i, want := range []struct {
		key     string
		version uint64
		shards  bool
	}{{"A", 1, true}, {"B", 2, true}, {"C", 1, false}} {
		o := d.Ops[i]
		if o.Path != path(want.key) || o.Version != want.version || o.HasShards != want.shards || (o.Digests != nil) != want.shards ||
			o.ShareSet != (dsv.ShareSet{Tx: id, Op: uint16(i)}) || int(o.Op) != i || o.Gone != nil {
			t.Errorf("op %d: %+v", i, o)
		}
		if s := w.secret(want.key); s.ChangedOffset != w.off {
			t.Errorf("%s changed at %d", want.key, s.ChangedOffset)
		}
	}
	if v := w.version("B", 2); v.ShareSet != d.Ops[1].ShareSet || !cmp.Equal(v.Digests, d.Ops[1].Digests) {
		t.Errorf("version %+v", v)
	}
	if d.Status.Results[2].ValidTo != w.now || d.Status.Results[0].ValidFrom != w.now {
		t.Errorf("results %+v", d.Status.Results)
	}
}

func TestAbort(t *testing.T) {
	w := newWorld(t)
	for _, reason := range []metapb.AbortReason{0, metapb.AbortReason_DEADLINE, metapb.AbortReason_REFUSED, metapb.AbortReason_CANCELLED, 99} {
		id := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")}, idem("k"))
		d := w.only(w.do(&metapb.Abort{Txid: id.Bytes(), Reason: reason}), id)
		if d.Status.State != TxAborted || d.Status.Reason != reason || d.Status.Unchanged || d.Status.Results != nil {
			t.Fatalf("got %+v", d.Status)
		}
	}
	if w.secret("A") != (Secret{}) {
		t.Fatal("an abort has an effect")
	}
}

func TestAbortUnchanged(t *testing.T) {
	w := newWorld(t)
	w.ok(metapb.OpKind_CREATE, "A")
	before := w.secret("A")
	unchanged := func(id dsv.TxID, v uint64) *metapb.Abort {
		return &metapb.Abort{Txid: id.Bytes(), Reason: metapb.AbortReason_UNCHANGED, UnchangedVersion: v}
	}
	for _, kind := range []metapb.OpKind{metapb.OpKind_UPDATE, metapb.OpKind_PUT} {
		id := w.begin([]*metapb.Op{w.op(kind, "A")})
		d := w.only(w.do(unchanged(id, 1)), id)
		want := []OpResult{{Key: path("A").Key, Kind: kind, Version: 1, Unchanged: true}}
		if d.Status.State != TxAborted || !d.Status.Unchanged || d.Ops[0].Version != 0 ||
			cmp.Diff(d.Status.Results, want, cmp.AllowUnexported(dsv.Key{})) != "" {
			t.Fatalf("got %+v", d.Status)
		}
	}
	if w.secret("A") != before {
		t.Fatal("unchanged changed something")
	}
	for _, ops := range [][]*metapb.Op{
		{w.op(metapb.OpKind_CREATE, "B")}, {w.op(metapb.OpKind_DELETE, "A")},
		{w.op(metapb.OpKind_UPDATE, "A"), w.op(metapb.OpKind_UPDATE, "B")},
	} {
		id := w.begin(ops)
		w.voided(VoidMalformed, unchanged(id, 1))
	}
	id := w.begin([]*metapb.Op{w.op(metapb.OpKind_UPDATE, "A")})
	w.voided(VoidMalformed, unchanged(id, 0))
}
