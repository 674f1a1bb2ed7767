package commitlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	goodAck  = 250 * time.Millisecond // the log is good if an ack came within this
	goodWait = 100 * time.Millisecond // and nothing waits longer than this
	company  = 2                      // up to so many records on their way, none lingers
)

// producer counts what is on its way to the brokers and decides how long it may
// linger.
//
// The client library lingers every record for up to maxLinger. A kick ends all
// lingering at once: everything handed over goes out in one request to each
// broker. Append kicks while hardly anything is on its way (a lone write has
// its PREPARE and its COMMIT there), and the last ack of what was kicked kicks
// the rest. So a lone record never waits, and under load the records of one
// millisecond, or of one round trip if that is shorter, share a request and in
// each partition one batch, which is one sync of the broker's disk.
type producer struct {
	cl   *kgo.Client
	gone context.Context // ended: makes Flush only kick

	mu      sync.Mutex
	first   *waiting // oldest; the list is in the order of Append
	last    *waiting
	count   int // records waiting
	size    int // their bytes
	sent    int // of them, kicked
	lastAck time.Time
	stats   struct{ appended, acked, failed uint64 }
	closed  bool
	undone  int       // records whose done has not returned
	idle    sync.Cond // undone is 0; on mu
}

// waiting is one record handed over and not settled.
type waiting struct {
	prev, next *waiting
	since      time.Time
	size       int
	kicked     bool
	done       func(int64, error)
}

func (p *producer) init(cl *kgo.Client) {
	p.cl = cl
	p.idle.L = &p.mu
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p.gone = ctx
}

// Append seals body and hands it to the client library for partition p. It
// never blocks on a broker. Bodies of one partition reach the log in the order
// of Append as long as the brokers remember this producer; after an outage one
// may come late, twice, or after a later one.
//
// done, if it is not nil, is called exactly once, from another goroutine, with the offset or why
// it is not known to be in the log, which does not mean that it is not: only
// the reader knows. It may be called late, at the latest by Close, so whoever
// has a deadline needs a timer. It must not block nor call Append.
//
// Errors at once, with done never called: ErrSilent (and ErrBusy, which is
// one), ErrTooLarge, ErrClosed, ErrDiverged, ErrPartition.
func (l *Log) Append(p dsv.Partition, body []byte, done func(offset int64, err error)) error {
	return l.AppendAll(p, Entry{body, done})
}

// Entry is a record to append: see Append.
type Entry struct {
	Body []byte
	Done func(offset int64, err error)
}

// AppendAll is Append of some records at once, which then are on their way
// together, and mostly in one batch: all are taken, or none.
func (l *Log) AppendAll(p dsv.Partition, entries ...Entry) error {
	topic, part, ok := l.cfg.topic(p)
	switch {
	case !ok:
		return ErrPartition
	case slices.ContainsFunc(entries, func(e Entry) bool { return len(e.Body) > MaxBody }):
		return ErrTooLarge
	case l.closed.Load():
		return ErrClosed
	case l.consumer.stopped(p):
		return ErrDiverged
	case l.Silent(p):
		return ErrSilent
	}
	records := make([]*kgo.Record, len(entries))
	for i, e := range entries {
		records[i] = &kgo.Record{Topic: topic, Partition: part, Value: l.seal.seal(topic, part, e.Body)}
	}
	return l.producer.add(records, entries)
}

func (p *producer) add(records []*kgo.Record, entries []Entry) error {
	size := 0
	for _, r := range records {
		size += len(r.Value)
	}
	p.mu.Lock()
	if err := p.admit(len(records), size); err != nil {
		p.mu.Unlock()
		return err
	}
	for i, r := range records {
		w := &waiting{since: now(), size: len(r.Value), done: entries[i].Done}
		p.push(w)
		p.undone++
		p.stats.appended++
		// Under the lock, so that the order of Append is the order of the client.
		p.cl.TryProduce(context.Background(), r, func(r *kgo.Record, err error) { p.settle(w, r.Offset, err) })
	}
	kick := p.sent < company
	if kick {
		p.markSent()
	}
	p.mu.Unlock()
	if kick {
		p.kick()
	}
	return nil
}

// admit refuses what must not be handed over. Called locked.
func (p *producer) admit(n, size int) error {
	switch {
	case p.closed:
		return ErrClosed
	case p.count+n > maxWaiting || p.size+size > maxWaitingSize:
		return ErrBusy
	}
	return nil
}

// markSent notes that all that waits is about to be kicked. Records behind the
// last kicked one are the only ones not marked. Called locked.
func (p *producer) markSent() {
	for w := p.last; w != nil && !w.kicked; w = w.prev {
		w.kicked = true
		p.sent++
	}
}

// kick ends all lingering. Flush with an ended context does that and returns.
func (p *producer) kick() { _ = p.cl.Flush(p.gone) }

// settle takes one record off the list and tells its owner.
func (p *producer) settle(w *waiting, offset int64, err error) {
	p.mu.Lock()
	p.unlink(w)
	if w.kicked {
		p.sent--
	}
	if err == nil {
		p.stats.acked++
		p.lastAck = now()
	} else {
		p.stats.failed++
	}
	kick := p.sent == 0 && p.count > 0
	if kick {
		p.markSent()
	}
	p.mu.Unlock()
	if kick {
		p.kick()
	}
	if w.done != nil {
		w.done(offset, appendError(err))
	}
	p.mu.Lock()
	if p.undone--; p.undone == 0 {
		p.idle.Broadcast()
	}
	p.mu.Unlock()
}

func appendError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kgo.ErrClientClosed):
		return ErrClosed
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("commitlog: append: %w", err)
}

// close lets nothing more in and ends the client, which settles all that waits;
// it returns when every done has.
func (p *producer) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cl.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.undone > 0 {
		p.idle.Wait()
	}
}

func (p *producer) push(w *waiting) {
	if w.prev = p.last; w.prev == nil {
		p.first = w
	} else {
		w.prev.next = w
	}
	p.last = w
	p.count++
	p.size += w.size
}

func (p *producer) unlink(w *waiting) {
	if w.prev == nil {
		p.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		p.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	p.count--
	p.size -= w.size
}

// oldest is how long the oldest record has been waiting, 0 if none is.
func (p *producer) oldest() time.Duration {
	if p.first == nil {
		return 0
	}
	return now().Sub(p.first.since)
}

// Good reports whether the log is known to be doing well: an append was
// acknowledged within the last 250 ms and none has been waiting for more than
// 100 ms. It is false before the first acknowledgement and after a quiet time.
func (l *Log) Good() bool {
	p := &l.producer
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.lastAck.IsZero() && now().Sub(p.lastAck) <= goodAck && p.oldest() <= goodWait
}
