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

// watchEvery is how often who waits for the log looks whether it fell silent.
const watchEvery = 50 * time.Millisecond

// Barrier appends a TICK after the call began and waits until it is applied
// here: everything that was in the log before is then known. Callers that
// arrive while one is under way share the NEXT one, never the current. A log
// that is silent ends the wait.
func (r *Replica) Barrier(ctx context.Context, p dsv.Partition) (dsv.Position, error) {
	if err := r.Usable(p); err != nil {
		return dsv.Position{}, err
	}
	b := r.barrierOf(p)
	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	for {
		select {
		case <-b.done:
			return b.pos, b.err
		case <-ctx.Done():
			return dsv.Position{}, ErrLogSilent
		case <-r.done:
			return dsv.Position{}, ErrStopped
		case <-watch.C:
			if r.cfg.Log.Silent(p) {
				return dsv.Position{}, ErrLogSilent
			}
		}
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
	switch {
	case pt.barBusy:
		pt.barNext = b
	case r.own(func() { r.runBarriers(pt, b) }):
		pt.barBusy = true
	default:
		b.err = ErrStopped
		close(b.done)
	}
	return b
}

// runBarriers sends a barrier, and those that callers asked for meanwhile.
func (r *Replica) runBarriers(pt *part, b *barrier) {
	for b != nil {
		b.pos, b.err = r.sendBarrier(pt.id)
		close(b.done)
		pt.barMu.Lock()
		b, pt.barNext = pt.barNext, nil
		pt.barBusy = b != nil
		pt.barMu.Unlock()
	}
}

func (r *Replica) sendBarrier(p dsv.Partition) (dsv.Position, error) {
	type appended struct {
		offset int64
		err    error
	}
	done := make(chan appended, 1)
	if err := r.append(p, tickRecord(), func(offset int64, err error) { done <- appended{offset, err} }); err != nil {
		return dsv.Position{}, logError(err)
	}
	select {
	case a := <-done:
		if a.err != nil {
			return dsv.Position{}, logError(a.err)
		}
		pos := dsv.Position{Partition: p, Offset: a.offset}
		return pos, r.WaitApplied(context.Background(), pos)
	case <-r.done:
		return dsv.Position{}, ErrStopped
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
