package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// oracle knows the newest committed state and which snapshots are open.
//
// Invariant: a view is taken and registered under mu, and the committer sweeps
// under mu before it discards old versions or trims the history; so whatever a
// living transaction may still need is never below what sweep returned.
type oracle struct {
	mu    sync.Mutex
	eng   engine
	tick  uint64
	open  epoch // ring of epochs by tick; open itself is the anchor
	event eventState
	ages  [2]time.Duration // by class
}

// eventState is what watchers need to know; it changes with the tick.
type eventState struct {
	newest  uint64        // revision of the newest event row
	trimmed uint64        // revision of the newest event row trimmed away
	changed chan struct{} // closed at the next change
}

// class of a transaction: what it pins and for how long.
type class uint8

const (
	reader class = iota // pins versions in the engine
	writer              // pins the history too
)

// epoch is the open transactions of one snapshot.
type epoch struct {
	prev, next *epoch
	tick       uint64
	n          [2]int
	latest     [2]time.Time // newest Begin
	dead       [2]atomic.Bool
}

func (o *oracle) init(eng engine, opt Options) {
	o.eng, o.tick = eng, eng.newest()
	o.ages = [2]time.Duration{reader: opt.MaxReadAge, writer: opt.MaxAge}
	o.open.prev, o.open.next = &o.open, &o.open
	o.event.changed = make(chan struct{})
	eng.publish(o.tick)
}

// begin registers a transaction on the newest state.
func (o *oracle) begin(c class, now time.Time) (*epoch, view) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.open.prev
	if e == &o.open || e.tick != o.tick || e.dead[reader].Load() || e.dead[writer].Load() {
		e = &epoch{tick: o.tick, prev: o.open.prev, next: &o.open}
		e.prev.next, e.next.prev = e, e
	}
	e.n[c]++
	e.latest[c] = now
	return e, o.eng.view(o.tick)
}

// end takes a transaction out again.
func (o *oracle) end(e *epoch, c class) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e.n[c]--; e.n[reader] <= 0 && e.n[writer] <= 0 {
		o.drop(e)
	}
}

func (o *oracle) drop(e *epoch) {
	if e.next != nil {
		e.prev.next, e.next.prev = e.next, e.prev
		e.prev, e.next = nil, nil
	}
}

// sweep lets transactions expire that are too old, and returns the oldest
// tick that any open one reads and the oldest that a writer reads.
func (o *oracle) sweep(now time.Time) (oldest, oldestWriter uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	oldest, oldestWriter = o.tick, o.tick
	for e := o.open.next; e != &o.open; {
		next := e.next
		for c := range e.n {
			if e.n[c] > 0 && now.Sub(e.latest[c]) > o.ages[c] {
				o.kill(e, class(c))
			}
		}
		if e.n[reader] > 0 || e.n[writer] > 0 {
			oldest = min(oldest, e.tick)
		}
		if e.n[writer] > 0 {
			oldestWriter = min(oldestWriter, e.tick)
		}
		e = next
	}
	return oldest, oldestWriter
}

// killWriters lets the writers of snapshots below tick expire.
func (o *oracle) killWriters(tick uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for e := o.open.next; e != &o.open; {
		next := e.next
		if e.tick < tick && e.n[writer] > 0 {
			o.kill(e, writer)
		}
		e = next
	}
}

// kill marks the transactions of a class before anything they read can go:
// a read that finds no mark afterwards saw everything.
func (o *oracle) kill(e *epoch, c class) {
	e.dead[c].Store(true)
	if e.n[c] = 0; e.n[reader] <= 0 && e.n[writer] <= 0 {
		o.drop(e)
	}
}

// publish shows a new state to transactions that begin from now on, and wakes
// the watchers if it has events.
func (o *oracle) publish(tick uint64, newestEvent, trimmed uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tick = tick
	o.eng.publish(tick)
	if newestEvent != o.event.newest {
		close(o.event.changed)
		o.event.changed = make(chan struct{})
	}
	o.event.newest, o.event.trimmed = newestEvent, trimmed
}

func (o *oracle) newest() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tick
}

func (o *oracle) events() eventState {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.event
}
