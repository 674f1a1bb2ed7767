package replica

import (
	"sync"

	"github.com/dsvault/dsv"
)

// latches serialises what is done to one transaction's rows: a stage, a revoke
// or the apply of its decision. Nobody takes a second latch of its kind while
// waiting for apply, and apply takes all of a batch at once in one step, so
// there is no cycle.
type latches struct {
	mu   sync.Mutex
	held map[dsv.TxID]chan struct{}
}

func newLatches() *latches { return &latches{held: map[dsv.TxID]chan struct{}{}} }

// lock takes the latch of one transaction.
func (l *latches) lock(t dsv.TxID) (unlock func()) { return l.lockAll([]dsv.TxID{t}) }

// lockAll takes the latches of all, none while any is held by another.
func (l *latches) lockAll(ts []dsv.TxID) (unlock func()) {
	if len(ts) == 0 {
		return func() {}
	}
	done := make(chan struct{})
	for {
		wait := l.try(ts, done)
		if wait == nil {
			break
		}
		<-wait
	}
	return func() {
		l.mu.Lock()
		for _, t := range ts {
			delete(l.held, t)
		}
		l.mu.Unlock()
		close(done)
	}
}

// try takes all or returns what to wait for.
func (l *latches) try(ts []dsv.TxID, done chan struct{}) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range ts {
		if c, ok := l.held[t]; ok {
			return c
		}
	}
	for _, t := range ts {
		l.held[t] = done
	}
	return nil
}
