package txn

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/peer"
)

// Op is one operation. Value ops (CREATE, UPDATE, PUT, REPAIR) are sealed anew
// for every attempt; the others stage a marker.
type Op struct {
	Kind      metapb.OpKind
	Key       dsv.Key
	Value     dsv.Secret
	IfVersion *uint64
	All       bool
	Versions  []uint64
	// REPAIR: the version, and the share set it replaces.
	Version uint64
	From    dsv.ShareSet
}

func (o Op) hasValue() bool {
	switch o.Kind {
	case metapb.OpKind_CREATE, metapb.OpKind_UPDATE, metapb.OpKind_PUT, metapb.OpKind_REPAIR:
		return true
	}
	return false
}

// Request is one transaction: all operations or none, in one namespace.
type Request struct {
	NS             dsv.Namespace
	Ops            []Op
	Caller         string
	Proof          peer.Proof
	RequestID      string
	IdempotencyKey string
	RequestedAt    time.Time
	// MinAcks is how many acknowledgements COMMIT waits for; at least w.
	MinAcks int
	// Gate, where set, runs beside the staging; COMMIT waits for it.
	Gate Gate
}

// Gate decides whether a transaction may commit. It runs in a goroutine of its
// own; ctx ends with the attempt.
type Gate func(ctx context.Context, a Attempt) (Verdict, error)

// Attempt is what a gate may know.
type Attempt struct {
	Tx dsv.TxID
	// Prepared is closed when this attempt's PREPARE is applied here: it was
	// appended after the request began, so what is applied then is a barrier.
	Prepared <-chan struct{}
}

// Verdict of a gate.
type Verdict struct {
	Unchanged uint64 // > 0: abort, the value is already that version
}

// Result of a transaction that is settled well: committed, unchanged, or a
// repetition of one that was.
type Result struct {
	Tx        dsv.TxID // of this attempt
	Status    meta.TxStatus
	Position  dsv.Position
	Duplicate dsv.TxID // the transaction that had answered this idempotency key
}

// Rejected is the error of a settled refusal, with the op it came from.
func rejection(s meta.TxStatus, req *Request) error {
	e := &dsv.Error{Code: s.Code, Index: s.FailedOp}
	if s.FailedOp > 0 && s.FailedOp <= len(req.Ops) {
		e.Path = dsv.Path{NS: req.NS, Key: req.Ops[s.FailedOp-1].Key}.String()
	}
	if len(req.Ops) == 1 {
		e.Index = 0
	}
	switch s.Code {
	case dsv.CodeExists:
		e.Kind, e.Detail = dsv.KindConflict, "the secret exists"
	case dsv.CodeNotFound:
		e.Kind, e.Detail = dsv.KindNotFound, "the secret does not exist"
	case dsv.CodeDestroyed:
		e.Kind, e.Detail = dsv.KindGone, "the version was destroyed"
	case dsv.CodeVersionMismatch:
		e.Kind, e.Detail = dsv.KindPrecondition, "the version has moved on"
	case dsv.CodeTooLarge:
		e.Kind, e.Detail = dsv.KindTooLarge, "it would destroy more versions than one transaction may: name fewer of them"
	default:
		e.Kind, e.Code, e.Phase = dsv.KindUnavailable, dsv.CodeWriteQuorum, dsv.PhaseWriting
		e.Detail, e.RetryAfter = "too few holders acknowledged under the store ids in force; nothing took effect", time.Second
	}
	return e
}
