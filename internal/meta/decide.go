package meta

import (
	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// Decision is the one final outcome of a transaction, with what a holder needs
// to keep or drop its shards.
type Decision struct {
	Tx          dsv.TxID
	Status      TxStatus // never pending
	Namespace   dsv.Namespace
	Coordinator dsv.NodeID
	Incarnation dsv.Incarnation
	Ops         []DecidedOp
	Holders     []dsv.NodeID // rank order
	Acks        []Ack        // committed: the acknowledgements that counted, by rank
}

// DecidedOp is one operation of a decided transaction.
type DecidedOp struct {
	Op        uint16 // 0-based, as in the share set
	Path      dsv.Path
	Kind      metapb.OpKind
	Version   uint64 // committed: the version assigned or affected; else 0
	ShareSet  dsv.ShareSet
	HasShards bool     // false: holders staged a mark
	Digests   [][]byte // SHA-256 of each shard, rank order; nil for a mark
	Gone      []GoneSet
}

// GoneSet is a share set that no longer exists: superseded by a repair or
// destroyed.
type GoneSet struct {
	Path     dsv.Path
	Version  uint64
	ShareSet dsv.ShareSet
}

// Ack is a holder's acknowledgement under a store id.
type Ack struct {
	Rank    int // of the holder = shard index
	StoreID dsv.StoreID
}

// finish makes out the transaction's kept row, takes it out of the pending
// ones and reports the decision. It passes err on.
func (m *machine) finish(t *pending, out *metapb.TxRow, gone [][]GoneSet, err error) error {
	if err != nil {
		return err
	}
	p := t.row.GetPrepare()
	out.DecidedOffset, out.DecidedEUs = m.in.Offset, m.head.GetEUs()
	out.PreparedOffset = t.row.GetPreparedOffset()
	out.Namespace, out.Caller = p.GetNamespace(), p.GetCaller()
	if p.GetIdempotencyKey() != "" && len(out.GetResults()) > 0 {
		out.IdempotencyKey, out.Shapes = p.GetIdempotencyKey(), shapesOf(p.GetOps())
		if err := m.keepAnswer(t.id, out); err != nil {
			return err
		}
	}
	if err := m.put(t.key, t.old, out); err != nil {
		return err
	}
	if err := m.remove(dueKey(deadlineOf(t.row), t.id), []byte{}); err != nil {
		return err
	}
	d, err := decisionOf(t, out, gone)
	if err != nil {
		return err
	}
	m.eff.Decisions = append(m.eff.Decisions, d)
	return nil
}

// keepAnswer points the idempotency key at the transaction. A row that is
// there belongs to a forgotten one.
func (m *machine) keepAnswer(id dsv.TxID, out *metapb.TxRow) error {
	key := idemKey(m.p, out.GetNamespace(), out.GetCaller(), out.GetIdempotencyKey())
	old, err := get(m.tx, key, nil)
	if err != nil {
		return err
	}
	return m.putRaw(key, old, id.Bytes())
}

func decisionOf(t *pending, out *metapb.TxRow, gone [][]GoneSet) (Decision, error) {
	p := t.row.GetPrepare()
	d := Decision{
		Tx: t.id, Namespace: t.ns, Coordinator: dsv.NodeID(p.GetCoordinator()),
		Holders: nodeIDs(p.GetHolders()), Ops: make([]DecidedOp, len(p.GetOps())),
	}
	copy(d.Incarnation[:], t.row.GetIncarnation())
	var err error
	if d.Status, err = statusOf(t.key, out); err != nil {
		return d, err
	}
	committed := out.GetState() == metapb.TxState_COMMITTED
	if committed {
		d.Acks = acksOf(t.acks)
	}
	for i, op := range p.GetOps() {
		k, err := dsv.ParseKey(op.GetKey())
		if err != nil {
			return d, corrupt(t.key, err)
		}
		o := &d.Ops[i]
		o.Op, o.Path, o.Kind = uint16(i), dsv.Path{NS: t.ns, Key: k}, op.GetKind()
		o.ShareSet = dsv.ShareSet{Tx: t.id, Op: uint16(i)}
		o.HasShards, o.Digests = hasShards(op.GetKind()), op.GetDigests()
		if committed {
			o.Version, o.Gone = out.GetResults()[i].GetVersion(), gone[i]
		}
	}
	return d, nil
}

func nodeIDs(ss []string) []dsv.NodeID {
	out := make([]dsv.NodeID, len(ss))
	for i, s := range ss {
		out[i] = dsv.NodeID(s)
	}
	return out
}

func acksOf(pbs []*metapb.Ack) []Ack {
	out := make([]Ack, len(pbs))
	for i, a := range pbs {
		out[i].Rank = int(a.GetHolder())
		copy(out[i].StoreID[:], a.GetStoreId())
	}
	return out
}
