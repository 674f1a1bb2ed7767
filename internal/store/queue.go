package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// request is a transaction on its way through the committer. It holds all the
// committer needs: the transaction itself may be gone before the answer.
type request struct {
	epoch  *epoch
	reads  []uint64
	ranges []span
	rows   []row // sorted by key
	conds  []cond
	events []byte // of an event row; nil: none
	cost   int64
	puts   bool
	sync   bool // durable before the answer

	state atomic.Uint32
	lost  *request // a condition failed against this one's write of lostKey
	key   []byte

	done chan struct{} // closed when rev and err are set
	rev  uint64
	err  error
}

// cond is what a row asks of the committed state.
type cond struct {
	row int
	Condition
}

const (
	waiting uint32 = iota
	taken
	withdrawn
)

func (r *request) take() bool     { return r.state.CompareAndSwap(waiting, taken) }
func (r *request) withdraw() bool { return r.state.CompareAndSwap(waiting, withdrawn) }

func (r *request) answer(rev uint64, err error) {
	r.rev, r.err = rev, err
	close(r.done)
}

// queue holds the requests while the committer writes others.
type queue struct {
	mu     sync.Mutex
	reqs   []*request
	closed bool
	wake   chan struct{} // one slot
}

// add queues a request, or returns ErrClosed.
func (q *queue) add(r *request) error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return ErrClosed
	}
	q.reqs = append(q.reqs, r)
	q.mu.Unlock()
	q.signal()
	return nil
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for requests, until a moment if that is not zero; it returns none
// and false when none will come any more.
func (q *queue) take(until time.Time) (reqs []*request, ok bool) {
	var late <-chan time.Time
	for {
		q.mu.Lock()
		reqs, closed := q.reqs, q.closed
		q.reqs = nil
		q.mu.Unlock()
		switch {
		case len(reqs) > 0:
			return reqs, true
		case closed:
			return nil, false
		case late == nil && !until.IsZero():
			t := time.NewTimer(time.Until(until))
			defer t.Stop()
			late = t.C
		}
		select {
		case <-q.wake:
		case <-late:
			return nil, true
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}
