package replica

import (
	"context"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
)

// Event is something the apply loop saw of a transaction that somebody waits
// for, told after its commit.
type Event struct {
	Tx       dsv.TxID
	Prepared bool   // its PREPARE is pending now
	Void     string // its record was void: the reason; Record says which
	Record   byte   // 'P' or 'C' with Void
	Decided  *meta.Decision
	Position dsv.Position
}

// waiters tells coordinators what became of their transactions.
type waiters struct {
	mu     sync.Mutex
	tx     map[dsv.TxID][]chan Event
	prompt map[dsv.TxID]bool // somebody waits for its PREPARE
	closed bool
}

func newWaiters() *waiters {
	return &waiters{tx: map[dsv.TxID][]chan Event{}, prompt: map[dsv.TxID]bool{}}
}

// eventBuffer holds what one transaction can see: a PREPARE, its void COMMITs,
// a decision.
const eventBuffer = 8

// Follow returns the events of one transaction from now on; stop ends it. The
// channel is closed when the replica stops. Events beyond the buffer are
// dropped, the decision never: it replaces the oldest.
func (r *Replica) Follow(t dsv.TxID) (events <-chan Event, stop func()) {
	c := make(chan Event, eventBuffer)
	w := r.wait
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(c)
		return c, func() {}
	}
	w.tx[t] = append(w.tx[t], c)
	return c, func() { w.drop(t, c) }
}

// ExpectPrepare asks that a PREPARE of a transaction that is followed be
// applied as soon as it is read, though it decides nothing.
func (r *Replica) ExpectPrepare(t dsv.TxID) {
	r.wait.mu.Lock()
	defer r.wait.mu.Unlock()
	if len(r.wait.tx[t]) > 0 {
		r.wait.prompt[t] = true
	}
}

func (w *waiters) wantsPrepare(t dsv.TxID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.prompt[t]
}

func (w *waiters) drop(t dsv.TxID, c chan Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.tx[t]
	for i := range list {
		if list[i] == c {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(w.tx, t)
		delete(w.prompt, t)
	} else {
		w.tx[t] = list
	}
}

func (w *waiters) publish(events []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	for _, e := range events {
		for _, c := range w.tx[e.Tx] {
			select {
			case c <- e:
			default:
				if e.Decided != nil {
					select { // only this goroutine sends, so one place is free after this
					case <-c:
					default:
					}
					c <- e
				}
			}
		}
	}
}

func (w *waiters) wants(t dsv.TxID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tx[t]) > 0
}

func (w *waiters) closeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	for _, list := range w.tx {
		for _, c := range list {
			close(c)
		}
	}
	w.tx, w.prompt = nil, nil
}

// ErrStopped tells that the replica stopped while somebody waited.
var ErrStopped = &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, Detail: "this node has stopped"}

// WaitApplied waits until the record at pos is applied here.
func (r *Replica) WaitApplied(ctx context.Context, pos dsv.Position) error {
	p := r.part(pos.Partition)
	c := p.until(pos.Offset)
	if c == nil {
		return nil
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		p.forget(c)
		return ctx.Err()
	case <-r.done:
		return ErrStopped
	}
}

// Applied is the newest applied offset of a partition, -1 before the first.
func (r *Replica) Applied(p dsv.Partition) int64 { return r.part(p).getHead().Offset }

// Head is the newest applied head of a partition.
func (r *Replica) Head(p dsv.Partition) meta.Head { return r.part(p).getHead() }

// EstimateE is what the partition's expiry clock is now, in microseconds, as
// far as this node can tell.
func (r *Replica) EstimateE(p dsv.Partition) int64 { return r.part(p).estimate() }

// Lag is the time since a record of this partition was applied here when the
// log is silent, else 0: how old a local answer may be.
func (r *Replica) Lag(p dsv.Partition) time.Duration {
	pt := r.part(p)
	if !r.cfg.Log.Silent(p) && pt.diverged.Load() == nil {
		return 0
	}
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return time.Since(pt.at)
}
