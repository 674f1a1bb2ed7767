package txn

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
)

// voided ends an attempt whose PREPARE left no trace. Where a COMMIT was handed
// over, its shards are left to expire: who knows what lands twice.
func (a *attempt) voided() error {
	a.end(false)
	if !a.handed {
		a.revoke()
	}
	if a.void == meta.VoidT0 || a.void == meta.VoidSeen {
		return errAgain
	}
	return dsv.Invalid("request", "was refused by the log ("+a.void+"); nothing took effect")
}

// settle turns the applied decision into the answer.
func (a *attempt) settle(e replica.Event) (Result, error) {
	s := e.Decided.Status
	res := Result{Tx: a.tx, Status: s, Position: e.Position}
	switch s.State {
	case meta.TxCommitted:
		a.end(true)
		return res, nil
	case meta.TxAborted:
		a.end(false)
		return res, nil // only as unchanged: giveUp does not wait for its ABORT
	case meta.TxRejected:
		a.end(false)
		if !s.DuplicateOf.IsZero() {
			res.Duplicate = s.DuplicateOf
			return res, nil
		}
		return res, rejection(s, a.req)
	}
	a.end(false)
	return res, &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeWriteQuorum, Phase: dsv.PhaseWriting,
		Detail: "the transaction expired before it was decided; nothing took effect", RetryAfter: time.Second}
}

// end marks the attempt over; late holders of a committed one are still
// offered their shard.
func (a *attempt) end(committed bool) {
	a.mu.Lock()
	a.over, a.late = true, committed
	a.mu.Unlock()
	if !committed {
		return
	}
	for {
		select {
		case m := <-a.acks:
			if m.err != nil {
				a.r.queueLate(a, m.rank)
			}
			continue
		default:
		}
		break
	}
	for rank, s := range a.state {
		if s == refused {
			a.r.queueLate(a, rank)
		}
	}
}

func (a *attempt) quorumGone() error {
	var silent []string
	for rank, s := range a.state {
		if s != acknowledged {
			silent = append(silent, string(a.holders[rank]))
		}
	}
	return quorumError(a.nAcked, a.need, silent, a.failed)
}

// unchanged ends an update whose value is already current. With an idempotency
// key the answer is kept in the log, so it waits until that is applied.
func (a *attempt) unchanged(ctx context.Context, version uint64, events <-chan replica.Event) (Result, error) {
	if !a.abort(metapb.AbortReason_UNCHANGED, version) && a.req.IdempotencyKey != "" {
		return a.giveUp(replica.ErrLogSilent)
	}
	a.end(false)
	a.revoke()
	res := Result{Tx: a.tx, Position: dsv.Position{Partition: a.tx.Partition, Offset: a.r.rep.Applied(a.tx.Partition)}}
	res.Status = meta.TxStatus{State: meta.TxAborted, Results: []meta.OpResult{{
		Key: a.req.Ops[0].Key, Kind: a.req.Ops[0].Kind, Version: version, Unchanged: true}}}
	if a.req.IdempotencyKey == "" {
		return res, nil
	}
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				return Result{}, a.unknown()
			case e.Decided != nil && e.Decided.Incarnation == a.r.rep.Incarnation():
				return a.settle(e)
			case e.Void != "" && e.Record == 'P': // then the ABORT is void as well
				a.void = e.Void
				return Result{}, a.voided()
			}
		case <-ctx.Done():
			return Result{}, a.unknown()
		}
	}
}

// giveUp ends an attempt whose COMMIT was never handed over: no effect.
func (a *attempt) giveUp(cause error) (Result, error) {
	a.end(false)
	a.abort(metapb.AbortReason_DEADLINE, 0)
	a.revoke()
	return Result{Tx: a.tx}, cause
}

// deadline is the end of the caller's time; a decision that is here already
// still counts.
func (a *attempt) deadline(events <-chan replica.Event) (Result, error) {
	for len(events) > 0 {
		e, ok := <-events
		if ok && e.Decided != nil && e.Decided.Incarnation == a.r.rep.Incarnation() {
			return a.settle(e)
		}
	}
	if a.handed {
		a.end(false)
		return Result{Tx: a.tx}, a.unknown()
	}
	if a.announced && !a.prepareOK && !a.isPrepared {
		return a.giveUp(replica.ErrLogSilent)
	}
	return a.giveUp(a.quorumGone())
}

// stopped is the end of the replica under an attempt.
func (a *attempt) stopped() (Result, error) {
	if a.handed {
		a.end(false)
		return Result{Tx: a.tx}, a.unknown()
	}
	return a.giveUp(&dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, Phase: dsv.PhaseOrdering, Detail: "this node has stopped; nothing took effect", Err: replica.ErrStopped})
}

func (a *attempt) unknown() error {
	return &dsv.Error{Kind: dsv.KindUnknownOutcome, Code: dsv.CodeOutcomeUnknown, Operation: a.tx.String(),
		Detail: "the write was handed to the log and is not decided yet; ask for the operation to learn its outcome"}
}

// abort appends ABORT, unless there is nothing to abort or the log is silent; it
// reports whether it did.
func (a *attempt) abort(reason metapb.AbortReason, unchanged uint64) bool {
	if !a.announced || a.r.rep.Log().Silent(a.tx.Partition) {
		return false
	}
	rec := &metapb.Record{Version: 1, Body: &metapb.Record_Abort{Abort: &metapb.Abort{Txid: a.tx.Bytes(), Reason: reason, UnchangedVersion: unchanged}}}
	return a.r.hand(a.tx.Partition, record{rec, nil}) == nil
}

// revoke drops what was staged, at every holder, without waiting.
func (a *attempt) revoke() {
	tx, inc := a.tx, a.r.rep.Incarnation()
	for _, h := range a.holders {
		if h == a.r.rep.Node() {
			a.r.own(func() {
				ctx, cancel := context.WithTimeout(a.r.ctx, 5*time.Second)
				defer cancel()
				a.r.peers.Revoke(ctx, h, tx, inc)
			})
			continue
		}
		a.r.peers.Revoke(a.r.ctx, h, tx, inc)
	}
}
