package meta

import (
	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// TxState is the state of a transaction, the same on all nodes that have
// applied the same prefix.
type TxState uint8

// The states. Committed, Rejected, Aborted and Expired are final.
const (
	TxNone      TxState = iota // no valid PREPARE yet; one may still come
	TxPending                  // an intent without a decision
	TxCommitted                // took effect
	TxRejected                 // its COMMIT was refused: TxStatus.Code
	TxAborted                  // given up by its coordinator
	TxExpired                  // its time ran out, or no valid PREPARE can come any more
	TxForgotten                // older than outcomes are kept; never "no effect"
)

var txStateNames = [...]string{"none", "pending", "committed", "rejected", "aborted", "expired", "forgotten"}

func (s TxState) String() string {
	if int(s) < len(txStateNames) {
		return txStateNames[s]
	}
	return "unknown"
}

// Final reports whether the outcome is known and can change no more.
func (s TxState) Final() bool { return s >= TxCommitted && s <= TxExpired }

// TxStatus is what the machine knows of a transaction.
type TxStatus struct {
	State          TxState
	Code           dsv.Code           // rejected: why
	FailedOp       int                // rejected by an operation's precondition: its 1-based number
	DuplicateOf    dsv.TxID           // rejected as CodeDuplicate or idempotency_key_reused: the first one
	Reason         metapb.AbortReason // aborted: why
	Unchanged      bool               // aborted as unchanged: Results tell the version, and it counts as success
	Results        []OpResult         // committed, or unchanged: one per operation
	DecidedOffset  int64              // of the record that decided it
	DecidedE       int64              // E there
	Namespace      dsv.Namespace      // pending or decided by a record; zero where no PREPARE counted
	Caller         string             // likewise
	PreparedOffset int64              // of its PREPARE
	Shapes         []*metapb.OpShape  // a kept outcome under an idempotency key: the request's shape
	Deadline       int64              // pending: expires at the first record with E above this
	Prepare        *metapb.Prepare    // pending only; read-only
	Incarnation    dsv.Incarnation    // pending only: its coordinator's
	Coordinator    dsv.NodeID         // pending only
	Holders        []dsv.NodeID       // pending only: rank order
}

// OpResult is the result of one operation.
type OpResult struct {
	Key       dsv.Key
	Kind      metapb.OpKind
	Version   uint64 // assigned or affected; DESTROY: the highest named
	ValidFrom int64  // of the interval that it opened, µs; 0 = none
	ValidTo   int64  // of the interval that a DELETE or DESTROY closed, µs; 0 = none
	Unchanged bool   // the value was current already
}

// LookupTx returns the status of a transaction in the applied prefix of its
// partition. A txid that never had a valid PREPARE is TxNone until E > T0 +
// 10 s, then TxExpired; every one is TxForgotten once E > T0 + 24 h.
func LookupTx(tx store.Txn, id dsv.TxID) (TxStatus, error) {
	e, err := logClock(tx, id.Partition)
	if err != nil {
		return TxStatus{}, err
	}
	return LookupTxAt(tx, id, e)
}

// LookupTxAt is LookupTx for a caller that knows E already, or an E that its
// partition had before: then what is expired or forgotten since may be told as
// TxNone or by the outcome that is still there.
func LookupTxAt(tx store.Txn, id dsv.TxID, e int64) (TxStatus, error) {
	if forgotten(e, id.T0) {
		return TxStatus{State: TxForgotten}, nil
	}
	key, row := txKey(id), new(metapb.TxRow)
	old, err := get(tx, key, row)
	if err != nil {
		return TxStatus{}, err
	}
	if old == nil {
		if id.T0 < e-t0Window {
			return TxStatus{State: TxExpired}, nil
		}
		return TxStatus{}, nil
	}
	return statusOf(key, row)
}

// logClock is E of a partition.
func logClock(tx store.Txn, p dsv.Partition) (int64, error) {
	m := machine{tx: tx, p: p}
	_, err := m.loadHead()
	return m.head.GetEUs(), err
}

// stateOf is TxNone for a row that has none of the states.
func stateOf(s metapb.TxState) TxState {
	switch s {
	case metapb.TxState_PENDING:
		return TxPending
	case metapb.TxState_COMMITTED:
		return TxCommitted
	case metapb.TxState_REJECTED:
		return TxRejected
	case metapb.TxState_ABORTED:
		return TxAborted
	case metapb.TxState_EXPIRED:
		return TxExpired
	}
	return TxNone
}

func statusOf(key []byte, row *metapb.TxRow) (s TxStatus, err error) {
	s = TxStatus{
		State: stateOf(row.GetState()), Code: dsv.Code(row.GetCode()), FailedOp: int(row.GetFailedOp()),
		Reason:        row.GetAbortReason(),
		DecidedOffset: row.GetDecidedOffset(), DecidedE: row.GetDecidedEUs(),
		Caller: row.GetCaller(), Shapes: row.GetShapes(), PreparedOffset: row.GetPreparedOffset(),
	}
	if s.State == TxNone {
		return s, corrupt(key, "no state")
	}
	ns := row.GetNamespace()
	if p := row.GetPrepare(); s.State == TxPending {
		s.Prepare, s.Deadline, s.Caller, ns = p, deadlineOf(row), p.GetCaller(), p.GetNamespace()
		s.Coordinator, s.Holders = dsv.NodeID(p.GetCoordinator()), nodeIDs(p.GetHolders())
		copy(s.Incarnation[:], row.GetIncarnation())
	}
	if s.Namespace, err = dsv.ParseNamespace(ns); err != nil {
		return s, corrupt(key, err)
	}
	if dup := row.GetDuplicateOf(); len(dup) > 0 {
		if s.DuplicateOf, err = dsv.TxIDFromBytes(dup); err != nil {
			return s, corrupt(key, err)
		}
	}
	for _, r := range row.GetResults() {
		k, err := dsv.ParseKey(r.GetKey())
		if err != nil {
			return s, corrupt(key, err)
		}
		s.Unchanged = s.Unchanged || r.GetUnchanged()
		s.Results = append(s.Results, OpResult{k, r.GetKind(), r.GetVersion(), r.GetValidFromUs(), r.GetValidToUs(), r.GetUnchanged()})
	}
	return s, nil
}

// PendingTx is an undecided transaction.
type PendingTx struct {
	Tx       dsv.TxID
	Deadline int64 // it expires at the first record with E above this
}

// Pending returns the undecided transactions of a partition, by deadline.
func Pending(tx store.Txn, p dsv.Partition) ([]PendingTx, error) {
	var out []PendingTx
	next, err := nextDeadline(tx, p)
	if err != nil || next == 0 {
		return nil, err
	}
	err = scanDue(tx, p, next, scanPage, func(d due) bool {
		out = append(out, PendingTx{d.id, d.deadline})
		return true
	})
	return out, err
}

// OldestPending returns the undecided transaction that expires first; false:
// there is none.
func OldestPending(tx store.Txn, p dsv.Partition) (out PendingTx, ok bool, err error) {
	next, err := nextDeadline(tx, p)
	if err != nil || next == 0 {
		return out, false, err
	}
	err = scanDue(tx, p, next, 1, func(d due) bool {
		out, ok = PendingTx{d.id, d.deadline}, true
		return false
	})
	return out, ok, err
}

// nextDeadline is the E below which no deadline is, 0 where nothing can be
// pending.
func nextDeadline(tx store.Txn, p dsv.Partition) (int64, error) {
	m := machine{tx: tx, p: p}
	_, err := m.loadHead()
	return m.head.GetNextDeadlineUs(), err
}

// NextDeadline returns the E above which the next pending transaction
// expires; false: none is pending.
func NextDeadline(tx store.Txn, p dsv.Partition) (int64, bool, error) {
	oldest, ok, err := OldestPending(tx, p)
	return oldest.Deadline, ok, err
}

// IdempotencyOutcome returns the kept outcome under an idempotency key; false:
// none is kept, the request would be judged anew.
func IdempotencyOutcome(tx store.Txn, ns dsv.Namespace, caller, key string) (dsv.TxID, TxStatus, bool, error) {
	p, ok, err := partitionOf(tx, ns)
	if err != nil || !ok {
		return dsv.TxID{}, TxStatus{}, false, err
	}
	e, err := logClock(tx, p)
	if err != nil {
		return dsv.TxID{}, TxStatus{}, false, err
	}
	id, row, err := kept(tx, p, e, ns.String(), caller, key)
	if err != nil || row == nil {
		return dsv.TxID{}, TxStatus{}, false, err
	}
	s, err := statusOf(txKey(id), row)
	return id, s, err == nil, err
}

// kept returns the outcome under an idempotency key at E, nil if there is none.
func kept(tx store.Txn, p dsv.Partition, e int64, ns, caller, key string) (dsv.TxID, *metapb.TxRow, error) {
	ik := idemKey(p, ns, caller, key)
	b, err := get(tx, ik, nil)
	if err != nil || b == nil {
		return dsv.TxID{}, nil, err
	}
	id, err := dsv.TxIDFromBytes(b)
	if err != nil {
		return id, nil, corrupt(ik, err)
	}
	if forgotten(e, id.T0) {
		return id, nil, nil
	}
	row := new(metapb.TxRow)
	if b, err = get(tx, txKey(id), row); err == nil && b == nil {
		err = corrupt(txKey(id), "missing")
	}
	return id, row, err
}

func unmarshal(it store.Item, msg proto.Message) error {
	if err := proto.Unmarshal(it.Value, msg); err != nil {
		return corrupt(it.Key, err)
	}
	return nil
}
