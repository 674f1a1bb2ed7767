package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// second and start are log time in µs; start is the append time of CONFIG.
const (
	second = dsv.MicrosPerSecond
	minute = 60 * second
	hour   = 60 * minute
	start  = 1_700_000_000 * second
)

// newStore is an empty store.
func newStore(t testing.TB) store.Store {
	st := store.OpenMemory(store.Options{})
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// world is a store with one partition and its log, written record by record,
// each in a transaction of its own, with the invariants asserted after each.
type world struct {
	t   testing.TB
	st  store.Store
	cfg Config
	p   dsv.Partition
	off int64 // of the newest record
	now int64 // append time of the next record
	who dsv.Incarnation
	seq uint64 // of nonces and digests
	log []Input

	quick bool // do not assert the invariants
}

func incarnation(b byte) (i dsv.Incarnation) { i[0] = b; return i }
func storeID(b byte) (s dsv.StoreID)         { s[15] = b; return s }

var fiveOfThree = Config{
	ClusterID: "test", Members: []dsv.NodeID{"n1", "n2", "n3", "n4", "n5", "n6"},
	Q: dsv.Quorum{K: 3, N: 5, W: 4}, Partitions: 1,
}

// bareWorld is an empty partition; newWorld has CONFIG at offset 0 and a JOIN
// of every member with storeID(1) for n1 and so on after it.
func bareWorld(t testing.TB) *world {
	t.Helper()
	return &world{t: t, st: newStore(t), cfg: fiveOfThree, off: -1, now: start, who: incarnation(1)}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := bareWorld(t)
	w.do(&metapb.Config{ClusterId: w.cfg.ClusterID, Members: nodeStrings(w.cfg.Members), K: 3, N: 5, W: 4, Partitions: 1})
	for i, m := range w.cfg.Members {
		if eff := w.do(join(m, storeID(byte(i+1)), dsv.StoreID{})); eff.Void != "" {
			t.Fatalf("JOIN of %s is void: %s", m, eff.Void)
		}
	}
	return w
}

func nodeStrings(ns []dsv.NodeID) (out []string) {
	for _, n := range ns {
		out = append(out, string(n))
	}
	return out
}

// record wraps a body.
func record(body any) *metapb.Record {
	r := &metapb.Record{Version: RecordVersion}
	switch b := body.(type) {
	case *metapb.Record:
		return b
	case *metapb.Prepare:
		r.Body = &metapb.Record_Prepare{Prepare: b}
	case *metapb.Commit:
		r.Body = &metapb.Record_Commit{Commit: b}
	case *metapb.Abort:
		r.Body = &metapb.Record_Abort{Abort: b}
	case *metapb.Join:
		r.Body = &metapb.Record_Join{Join: b}
	case *metapb.Tick:
		r.Body = &metapb.Record_Tick{Tick: b}
	case *metapb.Config:
		r.Body = &metapb.Record_Config{Config: b}
	case *metapb.Checkpoint:
		r.Body = &metapb.Record_Checkpoint{Checkpoint: b}
	case *metapb.Setting:
		r.Body = &metapb.Record_Setting{Setting: b}
	case nil:
		return nil
	default:
		panic(fmt.Sprintf("no record: %T", body))
	}
	return r
}

// do appends a record now and applies it.
func (w *world) do(body any) Effects {
	w.t.Helper()
	w.off++
	in := Input{Partition: w.p, Offset: w.off, AppendTime: w.now, Incarnation: w.who, Record: record(body)}
	if in.Record != nil && in.Record.GetBody() != nil {
		b, err := Encode(in.Record)
		if err != nil {
			w.t.Fatalf("Encode: %v", err)
		}
		if in.Record, err = Decode(b); err != nil {
			w.t.Fatalf("Decode: %v", err)
		}
	}
	w.log = append(w.log, in)
	var eff Effects
	w.write(func(tx store.Txn) {
		var err error
		if eff, err = Apply(tx, in); err != nil {
			w.t.Fatalf("Apply at %d: %v", in.Offset, err)
		}
		if w.quick {
			return
		}
		if err := AssertInvariants(tx, w.p); err != nil {
			w.t.Fatalf("after %d: %v", in.Offset, err)
		}
	})
	return eff
}

func (w *world) write(f func(store.Txn)) {
	w.t.Helper()
	tx, err := w.st.Begin(store.ReadWrite)
	if err != nil {
		w.t.Fatal(err)
	}
	f(tx)
	if _, err := tx.Commit(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

// read gives f a snapshot.
func (w *world) read(f func(store.Txn)) {
	w.t.Helper()
	tx, err := w.st.Begin(store.ReadOnly)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Abort() }()
	f(tx)
}

func (w *world) head() (h Head) {
	w.t.Helper()
	w.read(func(tx store.Txn) { h = must(ReadHead(tx, w.p))(w.t) })
	return h
}

// pass lets log time pass without a record: the next one is appended later.
func (w *world) pass(us int64) { w.now += us }

// passE lets us of log time pass with ticks, so that E moves by all of it.
func (w *world) passE(us int64) {
	w.t.Helper()
	for us > 0 {
		step := min(us, maxStep)
		w.pass(step)
		w.do(&metapb.Tick{})
		us -= step
	}
}

// txid is a fresh id begun now.
func (w *world) txid() dsv.TxID {
	w.seq++
	id := dsv.TxID{Partition: w.p, T0: w.head().E}
	binary.BigEndian.PutUint64(id.Nonce[8:], w.seq)
	return id
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

const testNS = "team/app"

func ns(s string) dsv.Namespace {
	n, err := dsv.ParseNamespace(s)
	if err != nil {
		panic(err)
	}
	return n
}

func path(key string) dsv.Path {
	p, err := dsv.ParsePath(testNS, key)
	if err != nil {
		panic(err)
	}
	return p
}

// op is an operation; value kinds get five digests that no other one has.
func (w *world) op(kind metapb.OpKind, key string, change ...func(*metapb.Op)) *metapb.Op {
	o := &metapb.Op{Key: key, Kind: kind}
	if hasShards(kind) {
		o.PaddedSize = 64
		for i := range w.cfg.Q.N {
			w.seq++
			d := make([]byte, 32)
			binary.BigEndian.PutUint64(d, w.seq)
			d[31] = byte(i)
			o.Digests = append(o.Digests, d)
		}
	}
	for _, c := range change {
		c(o)
	}
	return o
}

func ifv(n uint64) func(*metapb.Op)       { return func(o *metapb.Op) { o.IfVersion = &n } }
func all(o *metapb.Op)                    { o.All = true }
func named(ns ...uint64) func(*metapb.Op) { return func(o *metapb.Op) { o.Versions = ns } }
func idem(key string) func(*metapb.Prepare) {
	return func(p *metapb.Prepare) { p.IdempotencyKey = key }
}

func repairOf(v Version) func(*metapb.Op) {
	return func(o *metapb.Op) { o.RepairVersion, o.FromShareSet = v.Number, v.ShareSet.Bytes() }
}

// prepare is a valid PREPARE.
func (w *world) prepare(id dsv.TxID, ops []*metapb.Op, change ...func(*metapb.Prepare)) *metapb.Prepare {
	p := &metapb.Prepare{
		Txid: id.Bytes(), Coordinator: "n1", TtlUs: dsv.DefaultTTLMicros, Namespace: testNS, Ops: ops,
		Holders: nodeStrings(w.cfg.Holders(ns(testNS))), K: uint32(w.cfg.Q.K), N: uint32(w.cfg.Q.N), W: uint32(w.cfg.Q.W),
		RequestedAtUs: w.now - 5, Caller: "alice", RequestId: "r", PolicyRevision: 7,
	}
	for _, c := range change {
		c(p)
	}
	return p
}

// acks are acknowledgements of the holders of these ranks under the ids that
// newWorld gave them.
func (w *world) acks(ranks ...int) (out []*metapb.Ack) {
	holders := w.cfg.Holders(ns(testNS))
	for _, r := range ranks {
		i := slices.Index(w.cfg.Members, holders[r])
		id := storeID(byte(i + 1))
		out = append(out, &metapb.Ack{Holder: uint32(r), StoreId: id[:]})
	}
	return out
}

func (w *world) commitOf(id dsv.TxID) *metapb.Commit {
	return &metapb.Commit{Txid: id.Bytes(), Acks: w.acks(0, 1, 2, 3)}
}

func join(node dsv.NodeID, id, replaces dsv.StoreID) *metapb.Join {
	j := &metapb.Join{Node: string(node), StoreId: id[:]}
	if replaces != (dsv.StoreID{}) {
		j.Replaces = replaces[:]
	}
	return j
}

// begin appends a PREPARE that must become pending.
func (w *world) begin(ops []*metapb.Op, change ...func(*metapb.Prepare)) dsv.TxID {
	w.t.Helper()
	id := w.txid()
	w.pass(1000)
	if eff := w.do(w.prepare(id, ops, change...)); eff.Void != "" || eff.Prepared == nil || *eff.Prepared != id {
		w.t.Fatalf("PREPARE is void (%s)", eff.Void)
	}
	return id
}

// run is PREPARE and COMMIT of one transaction; it returns the one decision.
func (w *world) run(ops []*metapb.Op, change ...func(*metapb.Prepare)) Decision {
	w.t.Helper()
	return w.end(w.begin(ops, change...))
}

func (w *world) end(id dsv.TxID) Decision {
	w.t.Helper()
	w.pass(1000)
	return w.only(w.do(w.commitOf(id)), id)
}

func (w *world) only(eff Effects, id dsv.TxID) Decision {
	w.t.Helper()
	if eff.Void != "" || len(eff.Decisions) != 1 || eff.Decisions[0].Tx != id {
		w.t.Fatalf("want one decision of %s, got %+v", id, eff)
	}
	if got := w.status(id); got.State != eff.Decisions[0].Status.State || got.Code != eff.Decisions[0].Status.Code {
		w.t.Fatalf("LookupTx says %v %v, the decision %v", got.State, got.Code, eff.Decisions[0].Status)
	}
	return eff.Decisions[0]
}

// one is run of a single operation.
func (w *world) one(kind metapb.OpKind, key string, change ...func(*metapb.Op)) Decision {
	w.t.Helper()
	return w.run([]*metapb.Op{w.op(kind, key, change...)})
}

// ok is one that must commit; it returns its result.
func (w *world) ok(kind metapb.OpKind, key string, change ...func(*metapb.Op)) OpResult {
	w.t.Helper()
	d := w.one(kind, key, change...)
	if d.Status.State != TxCommitted || len(d.Status.Results) != 1 {
		w.t.Fatalf("%v %s: %v %s, want committed", kind, key, d.Status.State, d.Status.Code)
	}
	return d.Status.Results[0]
}

// refused is one that must be rejected with a code.
func (w *world) refused(code dsv.Code, kind metapb.OpKind, key string, change ...func(*metapb.Op)) {
	w.t.Helper()
	d := w.one(kind, key, change...)
	if d.Status.State != TxRejected || d.Status.Code != code || d.Status.FailedOp != 1 {
		w.t.Fatalf("%v %s: %v %q op %d, want rejected %q op 1", kind, key, d.Status.State, d.Status.Code, d.Status.FailedOp, code)
	}
	if d.Ops[0].Version != 0 || d.Ops[0].Gone != nil || d.Status.Results != nil {
		w.t.Fatalf("a refused transaction has effects: %+v", d)
	}
}

// voided applies a record that must be void for a reason and change nothing
// but head and clocks.
func (w *world) voided(reason string, body any) {
	w.t.Helper()
	before := w.dump()
	eff := w.do(body)
	if eff.Void != reason || eff.Prepared != nil || eff.Decisions != nil || eff.Join != nil || eff.Config != nil {
		w.t.Fatalf("want void %q and no effect, got %+v", reason, eff)
	}
	if after := w.dump(); !maps.Equal(before, after) {
		w.t.Fatalf("a void record (%s) changed rows", reason)
	}
}

// dump is all rows but the head.
func (w *world) dump() map[string]string {
	w.t.Helper()
	out := make(map[string]string)
	w.read(func(tx store.Txn) {
		items, _, err := tx.Scan([]byte{'m'}, store.Page{})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, it := range items {
			if !bytes.Equal(it.Key, headKey(w.p)) {
				out[string(it.Key)] = string(it.Value)
			}
		}
	})
	return out
}

func (w *world) status(id dsv.TxID) (s TxStatus) {
	w.t.Helper()
	w.read(func(tx store.Txn) { s = must(LookupTx(tx, id))(w.t) })
	return s
}

func (w *world) secret(key string) (s Secret) {
	w.t.Helper()
	w.read(func(tx store.Txn) {
		var err error
		if s, _, err = LookupSecret(tx, path(key)); err != nil {
			w.t.Fatal(err)
		}
	})
	return s
}

func (w *world) version(key string, n uint64) (v Version) {
	w.t.Helper()
	w.read(func(tx store.Txn) {
		var ok bool
		var err error
		if v, ok, err = LookupVersion(tx, path(key), n); err != nil || !ok {
			w.t.Fatalf("version %d of %s: %v %v", n, key, ok, err)
		}
	})
	return v
}
