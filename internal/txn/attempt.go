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
	announced  bool  // PREPARE was handed over
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
	if a.req.Gate != nil {
		a.r.rep.ExpectPrepare(a.tx)
	}
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

// start sends every holder its part. PREPARE goes out now where it is waited
// for: by the gate, as a barrier, or because COMMIT may only follow its
// acknowledgement. Else it goes together with COMMIT: one append, one sync of the
// broker and one fetch by every node instead of two of each.
func (a *attempt) start(ctx context.Context) error {
	if a.req.Gate != nil || !a.r.rep.Log().Good() {
		if err := a.announce(); err != nil {
			return logRefusal(err)
		}
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

// announce hands PREPARE over.
func (a *attempt) announce() error {
	err := a.r.hand(a.tx.Partition, record{a.prepareRecord(), a.onPrepareAck})
	a.announced = err == nil
	return err
}

func (a *attempt) onPrepareAck(_ int64, err error) { a.prepAck <- err }

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
		_ = a.r.hand(a.tx.Partition, record{a.commitRecord(), nil})
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
		if !a.gateOpen {
			return nil
		}
		return a.commit()
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

// commit hands COMMIT over, behind PREPARE if that was not yet; while the log is
// not known to be good COMMIT waits for PREPARE's acknowledgement.
func (a *attempt) commit() error {
	good := a.prepareOK || a.r.rep.Log().Good()
	var err error
	switch {
	case good && a.announced:
		err = a.r.hand(a.tx.Partition, record{a.commitRecord(), nil})
	case good:
		err = a.r.hand(a.tx.Partition, record{a.prepareRecord(), a.onPrepareAck}, record{a.commitRecord(), nil})
		a.announced = err == nil
	case !a.announced:
		err = a.announce()
	}
	if err != nil {
		return logRefusal(err)
	}
	a.handed = good
	return nil
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
