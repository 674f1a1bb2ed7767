package meta

import (
	"slices"

	"github.com/dsvault/dsv/internal/meta/metapb"
)

// abort judges ABORT: void, aborted, or (unchanged) rejected as a duplicate.
func (m *machine) abort(a *metapb.Abort) error {
	t, reason, err := m.findPending(a.GetTxid())
	if err != nil {
		return err
	}
	if reason != "" {
		return m.void(reason)
	}
	out := &metapb.TxRow{State: metapb.TxState_ABORTED, AbortReason: a.GetReason()}
	if a.GetReason() != metapb.AbortReason_UNCHANGED {
		return m.finish(t, out, nil, nil)
	}
	ops := t.row.GetPrepare().GetOps()
	updates := []metapb.OpKind{metapb.OpKind_UPDATE, metapb.OpKind_PUT}
	if len(ops) != 1 || !slices.Contains(updates, ops[0].GetKind()) || a.GetUnchangedVersion() == 0 {
		return m.void(VoidMalformed)
	}
	dup := &metapb.TxRow{}
	if done, err := m.answered(t, dup); err != nil || done {
		return m.finish(t, dup, nil, err)
	}
	out.Results = []*metapb.OpResult{{
		Key: ops[0].GetKey(), Kind: ops[0].GetKind(), Version: a.GetUnchangedVersion(), Unchanged: true,
	}}
	return m.finish(t, out, nil, nil)
}
