package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
)

// Start is where a Watch begins. The zero Start is the first event ever.
type Start struct {
	// After resumes with the first event after this revision.
	After uint64
	// Snapshot gives the current items first, then follows; After is not
	// looked at.
	Snapshot bool
}

// Change is the events of one transaction, or a page of the snapshot that a
// watch started with.
type Change struct {
	Revision uint64 // of the transaction, or of the snapshot
	Events   []Event
	Snapshot bool // a page of the snapshot, perhaps empty
	More     bool // another page of the snapshot follows
}

// Event is one key written.
type Event struct {
	Key, Value []byte
	Deleted    bool
	Revision   uint64
}

// Watcher follows ranges. It is pulled: it holds a place in the event rows of
// the store and a small page read ahead, has no goroutine and never delays a
// writer. One that is so slow that its place was trimmed away ends with a
// *CompactedError. Next is for one goroutine, Close for any.
type Watcher struct {
	c      *core
	ctx    context.Context
	ranges [][]byte // disjoint
	oldest uint64   // where the ranges' events begin
	after  uint64

	snap    *txn // while the snapshot is being given
	at      int  // index in ranges
	from    []byte
	pending []Change
	err     error

	closed chan struct{}
	once   sync.Once
}

// A page read ahead ends at the first of these.
const (
	pageRows  = 256
	pageBytes = 256 << 10
)

func (c *core) watch(ctx context.Context, from Start, prefixes [][]byte) (*Watcher, error) {
	w := &Watcher{c: c, ctx: ctx, after: from.After, closed: make(chan struct{})}
	if len(prefixes) == 0 {
		prefixes = [][]byte{nil}
	}
	for _, p := range prefixes {
		for i, q := range c.opt.Watched {
			switch {
			case bytes.HasPrefix(p, q):
				w.ranges = append(w.ranges, p)
			case bytes.HasPrefix(q, p):
				w.ranges = append(w.ranges, q)
			default:
				continue
			}
			w.oldest = max(w.oldest, c.since[i])
		}
	}
	if len(w.ranges) == 0 {
		return nil, ErrNotWatched
	}
	w.ranges = disjoint(w.ranges)
	if from.Snapshot {
		var err error
		w.snap, err = c.begin(ReadOnly)
		return w, err
	}
	if trimmed := c.oracle.events().trimmed; w.after < max(w.oldest, trimmed) || w.after > c.Revision() {
		return nil, &CompactedError{Oldest: max(w.oldest, trimmed)}
	}
	return w, nil
}

// Close ends the watch; a Next that waits returns ErrEnded. Close again is a
// no-op.
func (w *Watcher) Close() { w.once.Do(func() { close(w.closed) }) }

// Next waits for the next change. It returns the context's error,
// *CompactedError, ErrClosed after the store's Close or ErrEnded after the
// watcher's; once it returned an error it returns the same again.
func (w *Watcher) Next() (Change, error) {
	for w.err == nil {
		if w.err = w.ended(); w.err != nil {
			break
		}
		if w.snap != nil {
			var ch Change
			if ch, w.err = w.page(); w.err == nil {
				return ch, nil
			}
			break
		}
		if len(w.pending) > 0 {
			ch := w.pending[0]
			w.pending = w.pending[1:]
			return ch, nil
		}
		w.err = w.follow()
	}
	if w.snap != nil {
		_ = w.snap.Abort()
		w.snap = nil
	}
	w.pending = nil
	return Change{}, w.err
}

func (w *Watcher) ended() error {
	select {
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-w.c.stop:
		return ErrClosed
	case <-w.closed:
		return ErrEnded
	default:
		return nil
	}
}

// follow reads the next page of event rows ahead, or waits until there is one.
func (w *Watcher) follow() error {
	state := w.c.oracle.events()
	if w.after < state.newest {
		return w.readAhead()
	}
	select {
	case <-state.changed:
	case <-w.ctx.Done():
	case <-w.c.stop:
	case <-w.closed:
	}
	return nil
}

func (w *Watcher) readAhead() error {
	t, err := w.c.begin(ReadOnly)
	if err != nil {
		return err
	}
	defer t.Abort()
	// Asked after the snapshot was taken: what is not trimmed now is in it.
	if trimmed := w.c.oracle.events().trimmed; w.after < trimmed {
		return &CompactedError{Oldest: max(w.oldest, trimmed)}
	}
	s := span{eventKey(w.after + 1), successor([]byte{spaceEvent}), []byte{spaceEvent}}
	rows, _, err := t.chunk(s)
	if err != nil {
		return err
	}
	for _, r := range rows {
		rev := binary.BigEndian.Uint64(r.Key)
		events, err := decodeEvents(r.Value, rev, w.ranges)
		if err != nil {
			return err
		}
		if len(events) > 0 {
			w.pending = append(w.pending, Change{Revision: rev, Events: events})
		}
		w.after = rev
	}
	return nil
}

// page is the next page of the snapshot.
func (w *Watcher) page() (Change, error) {
	rev := newestRevision(w.snap.epoch.tick)
	ch := Change{Revision: rev, Snapshot: true, More: true}
	s := bounds(w.ranges[w.at], Page{After: w.from})
	items, more, err := w.snap.chunk(s)
	if err != nil {
		return ch, err
	}
	for _, it := range items {
		ch.Events = append(ch.Events, Event{Key: it.Key, Value: it.Value, Revision: it.Revision})
	}
	if more {
		w.from = items[len(items)-1].Key
		return ch, nil
	}
	w.from = nil
	if w.at++; w.at == len(w.ranges) {
		ch.More = false
		_ = w.snap.Abort()
		w.snap, w.after = nil, rev
	}
	return ch, nil
}

// chunk reads the first rows of a span, as many as fit a page.
func (t *txn) chunk(s span) (items []Item, more bool, err error) {
	if err := t.check(); err != nil {
		return nil, false, err
	}
	size := 0
	err = t.read(func(v view) error {
		return v.scan(s, walk{}, func(key, value []byte, rev uint64) bool {
			if len(items) == pageRows || size > pageBytes {
				more = true
				return false
			}
			items = append(items, newItem(key, value, rev))
			size += len(key) + len(value)
			return true
		})
	})
	return items, more, err
}
