package meta

import (
	"unicode/utf8"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// Limits of a PREPARE beside those of the root package.
const (
	MaxCaller    = 1024 // bytes of a caller's name
	MaxRequestID = 256  // bytes of a request id
	MaxDestroyed = 4096 // versions that one transaction destroys, named or all
	digestSize   = 32
)

// prepare judges PREPARE: pending, or void.
func (m *machine) prepare(p *metapb.Prepare) error {
	id, err := dsv.TxIDFromBytes(p.GetTxid())
	if err != nil {
		return m.void(VoidMalformed)
	}
	if id.Partition != m.p {
		return m.void(VoidPartition)
	}
	if e := m.head.GetEUs(); id.T0 < e-t0Window || id.T0 > e+t0Window {
		return m.void(VoidT0)
	}
	key := txKey(id)
	if old, err := get(m.tx, key, nil); err != nil {
		return err
	} else if old != nil {
		return m.void(VoidSeen)
	}
	c, err := m.config()
	if err != nil {
		return err
	}
	if reason := faultOf(p, c, m.p); reason != "" {
		return m.void(reason)
	}
	return m.pend(id, key, p)
}

// pend makes the transaction pending.
func (m *machine) pend(id dsv.TxID, key []byte, p *metapb.Prepare) error {
	h := m.head
	row := &metapb.TxRow{
		State: metapb.TxState_PENDING, Prepare: p, Incarnation: m.in.Incarnation[:],
		PreparedEUs: h.GetEUs(), PreparedOffset: m.in.Offset,
	}
	if err := m.put(key, nil, row); err != nil {
		return err
	}
	deadline := deadlineOf(row)
	if err := m.putRaw(dueKey(deadline, id), nil, []byte{}); err != nil {
		return err
	}
	if h.GetNextDeadlineUs() == 0 || deadline < h.GetNextDeadlineUs() {
		h.NextDeadlineUs = deadline
	}
	if h.GetNextSweepUs() == 0 {
		h.NextSweepUs = id.T0 + keepFor
	}
	m.eff.Prepared = &id
	return nil
}

// deadlineOf is the E above which a pending transaction expires.
func deadlineOf(row *metapb.TxRow) int64 { return row.GetPreparedEUs() + row.GetPrepare().GetTtlUs() }

// faultOf says why a PREPARE is void whatever the rows say; "" = it is not.
func faultOf(p *metapb.Prepare, c Config, part dsv.Partition) string {
	if p.GetTtlUs() <= 0 || p.GetTtlUs() > dsv.MaxTTLMicros {
		return VoidTTL
	}
	ns, err := dsv.ParseNamespace(p.GetNamespace())
	if err != nil || !textsFine(p) {
		return VoidMalformed
	}
	if PartitionOf(ns, c.Partitions) != part {
		return VoidPartition
	}
	if !holdersAre(p, c, ns) {
		return VoidQuorum
	}
	return faultOfOps(p.GetOps(), c.Q.N)
}

func textsFine(p *metapb.Prepare) bool {
	_, err := dsv.ParseNodeID(p.GetCoordinator())
	return err == nil && text(p.GetCaller(), MaxCaller) && text(p.GetRequestId(), MaxRequestID) &&
		text(p.GetIdempotencyKey(), dsv.MaxIdempotency)
}

func text(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }

func holdersAre(p *metapb.Prepare, c Config, ns dsv.Namespace) bool {
	q := dsv.Quorum{K: int(p.GetK()), N: int(p.GetN()), W: int(p.GetW())}
	if q != c.Q || len(p.GetHolders()) != c.Q.N {
		return false
	}
	for i, h := range c.Holders(ns) {
		if p.GetHolders()[i] != string(h) {
			return false
		}
	}
	return true
}

func faultOfOps(ops []*metapb.Op, n int) string {
	if len(ops) == 0 || len(ops) > dsv.MaxBatchOps {
		return VoidOps
	}
	named := 0
	for _, op := range ops {
		if _, err := dsv.ParseKey(op.GetKey()); err != nil || !shapeFine(op) {
			return VoidMalformed
		}
		if !digestsFine(op, n) {
			return VoidDigests
		}
		named += len(op.GetVersions())
	}
	if named > MaxDestroyed {
		return VoidMalformed
	}
	if len(ops) > 1 {
		seen := make(map[string]struct{}, len(ops))
		for _, op := range ops {
			seen[op.GetKey()] = struct{}{}
		}
		if len(seen) < len(ops) {
			return VoidDoubleKey
		}
	}
	return ""
}

// shapeFine checks the fields that belong to one kind only.
func shapeFine(op *metapb.Op) bool {
	k := op.GetKind()
	if k < metapb.OpKind_CREATE || k > metapb.OpKind_REPAIR {
		return false
	}
	if k == metapb.OpKind_DESTROY {
		if op.GetAll() == (len(op.GetVersions()) > 0) {
			return false
		}
		for i, v := range op.GetVersions() {
			if i > 0 && v <= op.GetVersions()[i-1] {
				return false
			}
		}
	} else if op.GetAll() || len(op.GetVersions()) > 0 {
		return false
	}
	if k == metapb.OpKind_REPAIR {
		return len(op.GetFromShareSet()) == dsv.ShareSetSize
	}
	return op.GetRepairVersion() == 0 && len(op.GetFromShareSet()) == 0
}

// hasShards tells the kinds that bring n shards from those that stage a mark.
func hasShards(k metapb.OpKind) bool {
	switch k {
	case metapb.OpKind_CREATE, metapb.OpKind_UPDATE, metapb.OpKind_PUT, metapb.OpKind_REPAIR:
		return true
	}
	return false
}

func digestsFine(op *metapb.Op, n int) bool {
	if !hasShards(op.GetKind()) {
		return len(op.GetDigests()) == 0
	}
	if len(op.GetDigests()) != n {
		return false
	}
	for _, d := range op.GetDigests() {
		if len(d) != digestSize {
			return false
		}
	}
	return true
}
