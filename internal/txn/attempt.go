package txn

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/shard"
)

// watchEvery is how often an attempt looks whether the log fell silent.
const watchEvery = 25 * time.Millisecond

type holderState uint8

const (
	asked holderState = iota
	acknowledged
	refused
)

type ackMsg struct {
	rank  int
	store dsv.StoreID
	err   error
}

// attempt is one transaction under one txid. All fields below the channels
// belong to the goroutine of run.
type attempt struct {
	r       *Runner
	req     *Request
	tx      dsv.TxID
	holders []dsv.NodeID
	need    int
	sealed  []shard.Sealed

	acks     chan ackMsg
	prepAck  chan error
	gate     chan gateMsg
	prepared chan struct{}

	acked      []dsv.StoreID
	state      []holderState
	nAcked     int
	failed     error // of a holder, the most telling
	prepareOK  bool  // acknowledged by the log
	isPrepared bool  // applied here
	gateOpen   bool
	handed     bool
	resent     bool
	early      bool   // a COMMIT of ours was void: it overtook its PREPARE, or that was void
	void       string // our PREPARE was void: why

	gates sync.WaitGroup // the gate

	mu   sync.Mutex // guards over against callbacks of late acknowledgements
	over bool
	late bool // the transaction is committed: late holders are offered their shard
}

type gateMsg struct {
	verdict Verdict
	err     error
}

func (a *attempt) run(ctx context.Context) (Result, error) {
	events, stop := a.r.rep.Follow(a.tx)
	defer stop()
	actx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		a.gates.Wait() // it reads what the caller wipes after the answer
	}()
	a.prepAck = make(chan error, 1)
	a.prepared = make(chan struct{})
	if err := a.start(actx); err != nil {
		return Result{}, err
	}
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for {
		var done bool
		var res Result
		var err error
		select {
		case m := <-a.acks:
			a.onAck(m)
		case err := <-a.prepAck:
			a.prepareOK = err == nil
			if err != nil && !a.handed {
				return a.giveUp(replica.ErrLogSilent)
			}
		case e, ok := <-events:
			if !ok {
				return a.stopped()
			}
			done, res, err = a.onEvent(e)
		case m := <-a.gate:
			done, res, err = a.onGate(ctx, m, events)
		case <-watch.C:
			if !a.handed && a.r.rep.Log().Silent(a.tx.Partition) {
				return a.giveUp(replica.ErrLogSilent)
			}
		case <-ctx.Done():
			return a.deadline(events)
		}
		if done {
			return res, err
		}
		if err := a.maybeCommit(); err != nil {
			return a.giveUp(err)
		}
	}
}

// start hands PREPARE over and sends every holder its part.
func (a *attempt) start(ctx context.Context) error {
	err := a.r.hand(a.tx.Partition, a.prepareRecord(), func(_ int64, err error) { a.prepAck <- err })
	if err != nil {
		return logRefusal(err)
	}
	self := -1
	for rank, h := range a.holders {
		if h == a.r.rep.Node() {
			self = rank
			continue
		}
		a.send(rank)
	}
	if self >= 0 {
		a.send(self)
	}
	if a.req.Gate == nil {
		a.gateOpen = true
		return nil
	}
	a.gate = make(chan gateMsg, 1)
	at := Attempt{Tx: a.tx, Prepared: a.prepared}
	a.gates.Go(func() {
		v, err := a.req.Gate(ctx, at)
		a.gate <- gateMsg{v, err}
	})
	return nil
}

// logRefusal is why the log did not even take a record: nothing took effect.
func logRefusal(err error) error {
	if e := dsv.AsError(err); e.Kind != dsv.KindInternal {
		return e
	}
	e := *replica.ErrLogSilent
	switch {
	case errors.Is(err, commitlog.ErrTooLarge):
		return &dsv.Error{Kind: dsv.KindTooLarge, Code: dsv.CodeTooLarge, Detail: "the request does not fit one record of the log", Err: err}
	case errors.Is(err, commitlog.ErrDiverged):
		e.Code, e.Detail, e.RetryAfter = dsv.CodeLogDiverged, "this node's copy of the log diverged", 0
	}
	e.Err = err
	return &e
}

func (a *attempt) send(rank int) {
	a.r.stage(a, rank, func(id dsv.StoreID, err error) {
		a.mu.Lock()
		over, late := a.over, a.late
		if !over {
			a.acks <- ackMsg{rank, id, err} // room for each holder
		}
		a.mu.Unlock()
		if late && err != nil {
			a.r.queueLate(a, rank)
		}
	})
}

func (a *attempt) onAck(m ackMsg) {
	if m.err != nil {
		a.state[m.rank] = refused
		if a.failed == nil || telling(m.err) {
			a.failed = m.err
		}
		return
	}
	a.acked[m.rank] = m.store
	a.countAck(m.rank)
}

// telling errors of a holder are what the caller should hear of.
func telling(err error) bool {
	switch dsv.KindOf(err) {
	case dsv.KindDiskFull, dsv.KindTooMany, dsv.KindDenied, dsv.KindUnauthenticated:
		return true
	}
	return false
}

// countAck counts an acknowledgement that was given under the holder's store id
// in force here. One under an id that has not joined yet, as far as this node
// has read, may count later; one under a replaced id never does.
func (a *attempt) countAck(rank int) {
	switch p, h, id := a.tx.Partition, a.holders[rank], a.acked[rank]; {
	case a.state[rank] != asked || id == dsv.StoreID{}:
	case a.r.rep.CurrentStore(p, h, id):
		a.state[rank] = acknowledged
		a.nAcked++
	case a.r.rep.ReplacedStore(p, h, id):
		a.state[rank] = refused
		a.failed = replica.ErrNotJoined
	}
}

// onEvent looks at what the apply loop saw of this transaction.
func (a *attempt) onEvent(e replica.Event) (done bool, res Result, err error) {
	switch {
	case e.Decided != nil && e.Decided.Incarnation != a.r.rep.Incarnation():
		a.void, a.early = meta.VoidSeen, true // another process took the id, so nothing of ours counted
	case e.Decided != nil:
		res, err = a.settle(e)
		return true, res, err
	case e.Prepared:
		a.isPrepared = true
		close(a.prepared)
		a.resend()
	case e.Void != "" && e.Record == 'P' && !a.isPrepared:
		a.void = e.Void
	case e.Void != "" && e.Record == 'C' && a.handed:
		a.early = true
		a.resend()
	}
	// PREPARE is void. A COMMIT handed over on the word of a good log is void
	// too; the next attempt waits until that is seen.
	if a.void != "" && (!a.handed || a.early) {
		return true, res, a.voided()
	}
	return false, res, nil
}

// resend hands COMMIT over once more, where the first one overtook its PREPARE.
func (a *attempt) resend() {
	if a.early && a.isPrepared && !a.resent {
		a.resent = true
		_ = a.r.hand(a.tx.Partition, a.commitRecord(), func(int64, error) {})
	}
}

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

// maybeCommit hands COMMIT over once everything it waits for is there, and
// tells when it never can be.
func (a *attempt) maybeCommit() error {
	if a.handed {
		return nil
	}
	for rank := range a.holders {
		a.countAck(rank)
	}
	if a.nAcked >= a.need {
		if !a.gateOpen || !a.prepareOK && !a.r.rep.Log().Good() {
			return nil
		}
		if err := a.r.hand(a.tx.Partition, a.commitRecord(), func(int64, error) {}); err != nil {
			return logRefusal(err)
		}
		a.handed = true
		return nil
	}
	lost := 0
	for _, s := range a.state {
		if s == refused {
			lost++
		}
	}
	if len(a.holders)-lost < a.need {
		return a.quorumGone()
	}
	return nil
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

func (a *attempt) commitRecord() *metapb.Record {
	c := &metapb.Commit{Txid: a.tx.Bytes()}
	for rank, s := range a.state {
		if s == acknowledged {
			id := a.acked[rank]
			c.Acks = append(c.Acks, &metapb.Ack{Holder: uint32(rank), StoreId: id[:]})
		}
	}
	return &metapb.Record{Version: 1, Body: &metapb.Record_Commit{Commit: c}}
}

// onGate acts on the gate's verdict.
func (a *attempt) onGate(ctx context.Context, m gateMsg, events <-chan replica.Event) (bool, Result, error) {
	switch {
	case m.err != nil && ctx.Err() != nil: // it only tells that its time is over
		res, err := a.deadline(events)
		return true, res, err
	case m.err != nil:
		res, err := a.giveUp(m.err)
		return true, res, err
	case m.verdict.Unchanged > 0:
		res, err := a.unchanged(ctx, m.verdict.Unchanged, events)
		return true, res, err
	}
	a.gateOpen = true
	return false, Result{}, nil
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
	if !a.prepareOK && !a.isPrepared {
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

// abort appends ABORT, unless the log is silent; it reports whether it did.
func (a *attempt) abort(reason metapb.AbortReason, unchanged uint64) bool {
	if a.r.rep.Log().Silent(a.tx.Partition) {
		return false
	}
	rec := &metapb.Record{Version: 1, Body: &metapb.Record_Abort{Abort: &metapb.Abort{Txid: a.tx.Bytes(), Reason: reason, UnchangedVersion: unchanged}}}
	return a.r.hand(a.tx.Partition, rec, func(int64, error) {}) == nil
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
