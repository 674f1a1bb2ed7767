package meta

import (
	"cmp"
	"slices"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// CodeDuplicate is the code of a transaction rejected because its idempotency
// key is answered already by the same request: TxStatus.DuplicateOf names it,
// and its outcome is the answer.
const CodeDuplicate dsv.Code = "duplicate"

// pending is a pending transaction on its way to a decision.
type pending struct {
	id   dsv.TxID
	key  []byte // of its row
	old  []byte // its row
	row  *metapb.TxRow
	ns   dsv.Namespace
	acks []*metapb.Ack // those that count, by rank
}

// findPending returns the pending transaction that a COMMIT or ABORT is about,
// or the reason why the record is void.
func (m *machine) findPending(txid []byte) (*pending, string, error) {
	id, err := dsv.TxIDFromBytes(txid)
	if err != nil {
		return nil, VoidMalformed, nil
	}
	if id.Partition != m.p {
		return nil, VoidPartition, nil
	}
	t, err := m.loadPending(id)
	if err != nil {
		return nil, "", err
	}
	if t == nil {
		return nil, VoidNotPending, nil
	}
	if string(t.row.GetIncarnation()) != string(m.in.Incarnation[:]) {
		return nil, VoidCoordinator, nil
	}
	return t, "", nil
}

// loadPending returns nil for a transaction that is not pending.
func (m *machine) loadPending(id dsv.TxID) (*pending, error) {
	t := &pending{id: id, key: txKey(id), row: new(metapb.TxRow)}
	var err error
	t.old, err = get(m.tx, t.key, t.row)
	if err != nil || t.old == nil || t.row.GetState() != metapb.TxState_PENDING {
		return nil, err
	}
	if t.ns, err = dsv.ParseNamespace(t.row.GetPrepare().GetNamespace()); err != nil {
		return nil, corrupt(t.key, err)
	}
	return t, nil
}

// commit judges COMMIT: void, or a final verdict.
func (m *machine) commit(c *metapb.Commit) error {
	t, reason, err := m.findPending(c.GetTxid())
	if err != nil {
		return err
	}
	if reason != "" {
		return m.void(reason)
	}
	out := &metapb.TxRow{}
	if done, err := m.answered(t, out); err != nil || done {
		return m.finish(t, out, nil, err)
	}
	if t.acks, err = m.countAcks(t, c.GetAcks()); err != nil {
		return err
	}
	if len(t.acks) < int(t.row.GetPrepare().GetW()) {
		reject(out, dsv.CodeWriteQuorum, 0)
		return m.finish(t, out, nil, nil)
	}
	states, code, failed, err := m.preconditions(t)
	if err != nil {
		return err
	}
	if code != "" {
		reject(out, code, failed)
		return m.finish(t, out, nil, nil)
	}
	gone, err := m.change(t, states, out)
	return m.finish(t, out, gone, err)
}

func reject(out *metapb.TxRow, code dsv.Code, failed int) {
	out.State, out.Code, out.FailedOp = metapb.TxState_REJECTED, string(code), uint32(failed)
}

// answered rejects a transaction whose idempotency key has a kept outcome.
func (m *machine) answered(t *pending, out *metapb.TxRow) (bool, error) {
	p := t.row.GetPrepare()
	if p.GetIdempotencyKey() == "" {
		return false, nil
	}
	first, row, err := kept(m.tx, m.p, m.head.GetEUs(), p.GetNamespace(), p.GetCaller(), p.GetIdempotencyKey())
	if err != nil || row == nil {
		return false, err
	}
	reject(out, CodeDuplicate, 0)
	if !slices.EqualFunc(row.GetShapes(), shapesOf(p.GetOps()), sameShape) {
		out.Code = string(dsv.CodeIdempotencyReuse)
	}
	out.DuplicateOf = first.Bytes()
	return true, nil
}

func shapesOf(ops []*metapb.Op) []*metapb.OpShape {
	out := make([]*metapb.OpShape, len(ops))
	for i, op := range ops {
		out[i] = &metapb.OpShape{
			Key: op.GetKey(), Kind: op.GetKind(), IfVersion: op.IfVersion, All: op.GetAll(), Versions: op.GetVersions(),
		}
	}
	return out
}

func sameShape(a, b *metapb.OpShape) bool {
	return a.GetKey() == b.GetKey() && a.GetKind() == b.GetKind() && a.GetAll() == b.GetAll() &&
		(a.IfVersion == nil) == (b.IfVersion == nil) && a.GetIfVersion() == b.GetIfVersion() &&
		slices.Equal(a.GetVersions(), b.GetVersions())
}

// countAcks keeps, by rank, one acknowledgement of each holder that gave it
// under its current store id.
func (m *machine) countAcks(t *pending, acks []*metapb.Ack) ([]*metapb.Ack, error) {
	if m.stores == nil {
		row := new(metapb.StoresRow)
		if _, err := get(m.tx, storesKey(m.p), row); err != nil {
			return nil, err
		}
		m.stores = row
	}
	holders := t.row.GetPrepare().GetHolders()
	var seen [256]bool // n <= 255
	out := make([]*metapb.Ack, 0, len(holders))
	for _, a := range acks {
		r := int(a.GetHolder())
		if r >= len(holders) || seen[r] {
			continue
		}
		if id := storeOf(m.stores, holders[r]); id != nil && string(id) == string(a.GetStoreId()) {
			seen[r] = true
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *metapb.Ack) int { return cmp.Compare(a.GetHolder(), b.GetHolder()) })
	return out, nil
}
