package replica

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// tickEvery is how often overdue transactions are looked for.
const tickEvery = time.Second

// tickLoop settles idle partitions: a node that holds a staged row or a
// pending transaction past its time appends one TICK, one per ttl, with
// jitter, so that not all nodes do at once.
func (r *Replica) tickLoop(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, p := range r.parts {
			if p.diverged.Load() == nil && r.overdue(p) {
				r.tick(p)
			}
		}
	}
}

// overdue reports whether something in the partition waits for its clock only.
func (r *Replica) overdue(p *part) bool {
	now := p.estimate()
	late := false
	_ = r.View(func(tx store.Txn) error {
		deadline, ok, err := meta.NextDeadline(tx, p.id)
		if err != nil {
			return err
		}
		if ok && now > deadline {
			late = true
			return nil
		}
		for _, t := range p.index.older(now-overdue, sweepAtOnce) {
			s, err := meta.LookupTx(tx, t)
			late = late || err == nil && s.State != meta.TxPending
		}
		return nil
	})
	return late
}

func (r *Replica) tick(p *part) {
	p.mu.Lock()
	due := time.Since(p.lastTick) >= dsv.DefaultTTLMicros*time.Microsecond && rand.IntN(3) == 0
	if due {
		p.lastTick = time.Now()
	}
	p.mu.Unlock()
	if due {
		_ = r.append(p.id, tickRecord(), nil)
	}
}

func tickRecord() *metapb.Record {
	return &metapb.Record{Version: 1, Body: &metapb.Record_Tick{Tick: &metapb.Tick{}}}
}

// ErrLogSilent refuses what needs the log while its leader answers nothing.
var ErrLogSilent = &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeLogUnavailable, Phase: dsv.PhaseOrdering,
	Detail: "the ordered log does not answer; nothing took effect", RetryAfter: time.Second}

// Barrier appends a TICK after the call began and waits until it is applied
// here: everything that was in the log before is then known. Callers that
// arrive while one is under way share the NEXT one, never the current.
func (r *Replica) Barrier(ctx context.Context, p dsv.Partition) (dsv.Position, error) {
	if err := r.Usable(p); err != nil {
		return dsv.Position{}, err
	}
	b := r.barrierOf(p)
	select {
	case <-b.done:
		return b.pos, b.err
	case <-ctx.Done():
		return dsv.Position{}, ErrLogSilent
	case <-r.done:
		return dsv.Position{}, ErrStopped
	}
}

// barrier is one shared TICK: waiting to be sent, then on its way.
type barrier struct {
	done chan struct{}
	pos  dsv.Position
	err  error
}

// barrierOf joins the barrier that is not sent yet, or starts one.
func (r *Replica) barrierOf(p dsv.Partition) *barrier {
	pt := r.part(p)
	pt.barMu.Lock()
	defer pt.barMu.Unlock()
	if pt.barNext != nil {
		return pt.barNext
	}
	b := &barrier{done: make(chan struct{})}
	if pt.barBusy {
		pt.barNext = b
		return b
	}
	pt.barBusy = true
	r.sendBarrier(pt, b)
	return b
}

// sendBarrier runs with barMu held. The client library answers even a record
// that it cannot deliver only after a while, so a silent log ends it at once.
func (r *Replica) sendBarrier(pt *part, b *barrier) {
	err := r.append(pt.id, tickRecord(), func(offset int64, err error) {
		b.pos = dsv.Position{Partition: pt.id, Offset: offset}
		if err != nil {
			r.endBarrier(pt, b, logError(err))
			return
		}
		if c := pt.until(offset); c != nil {
			r.wg.Go(func() {
				select {
				case <-c:
					r.endBarrier(pt, b, nil)
				case <-r.done:
					r.endBarrier(pt, b, ErrStopped)
				}
			})
			return
		}
		r.endBarrier(pt, b, nil)
	})
	if err != nil {
		pt.barBusy = false
		b.err = logError(err)
		close(b.done)
		if next := pt.barNext; next != nil {
			pt.barNext = nil
			next.err = b.err
			close(next.done)
		}
	}
}

func (r *Replica) endBarrier(pt *part, b *barrier, err error) {
	pt.barMu.Lock()
	defer pt.barMu.Unlock()
	b.err = err
	close(b.done)
	pt.barBusy = false
	if next := pt.barNext; next != nil {
		pt.barNext = nil
		pt.barBusy = true
		r.wg.Go(func() { // not on the goroutine that tells of appends
			pt.barMu.Lock()
			defer pt.barMu.Unlock()
			r.sendBarrier(pt, next)
		})
	}
}

func logError(err error) error {
	if e := (*dsv.Error)(nil); errors.As(err, &e) {
		return e
	}
	e := *ErrLogSilent
	e.Err = err
	return &e
}

// Warm makes E fresh before this node's first write to a partition since its
// start, so that T0 is not minutes old.
func (r *Replica) Warm(ctx context.Context, p dsv.Partition) error {
	pt := r.part(p)
	if pt.ticked.Load() {
		return nil
	}
	if _, err := r.Barrier(ctx, p); err != nil {
		return err
	}
	pt.ticked.Store(true)
	return nil
}
