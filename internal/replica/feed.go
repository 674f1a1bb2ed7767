package replica

import (
	"context"
	"fmt"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

const (
	// applyAtOnce bounds the records of one store transaction, which so many do
	// not wait for.
	applyAtOnce = 1024
	// holdPrepare is how long a PREPARE waits for what follows it in its
	// partition: it decides nothing, its COMMIT is on its way, and both in one
	// transaction write half as much.
	holdPrepare = 100 * time.Millisecond
	// maxRest is the longest that applying rests after a transaction. It rests as
	// long as the transaction took: on a machine with time to spare that is
	// nothing anybody notices, on a busy one fewer and larger transactions cost
	// fewer syncs of the disk, fewer fetches and less of everything.
	maxRest = 10 * time.Millisecond
	// lastLook is how long a rest that ends waits for the fetch under way.
	lastLook = time.Millisecond
)

// entry is a record as it lies in the log and as it reads; m is nil where it is
// void.
type entry struct {
	commitlog.Record
	m *metapb.Record
}

// feed holds what was read of the log and is not applied yet. Records of one
// partition leave it in their order; partitions do not wait for each other.
// Only the apply loop uses it.
type feed struct {
	r     *Replica
	parts map[dsv.Partition]*queued
	n     int
	rest  time.Time // no transaction begins before
}

// queued is one partition's part: entries[:ready] ends with a record that can
// decide something, what follows only announces.
type queued struct {
	entries []entry
	ready   int
	hold    time.Time // until when the others wait
}

func newFeed(r *Replica) *feed { return &feed{r: r, parts: map[dsv.Partition]*queued{}} }

// next returns the records of the next transaction.
func (f *feed) next(ctx context.Context) ([]entry, error) {
	for ctx.Err() == nil {
		begin, ready := f.begin()
		left := time.Until(begin)
		switch {
		case f.n >= applyAtOnce, f.n > 0 && left <= 0:
			return f.take(), nil
		case f.n == 0:
			if err := f.poll(ctx, 0); err != nil {
				return nil, err
			}
		case !ready:
			if err := f.poll(ctx, left); err != nil {
				return nil, err
			}
		default:
			if err := f.sleep(ctx, left); err != nil {
				return nil, err
			}
			return f.take(), nil
		}
	}
	return nil, ctx.Err()
}

// begin is when the next transaction begins if nothing more comes; not ready:
// it would hold announcements only.
func (f *feed) begin() (at time.Time, ready bool) {
	for _, q := range f.parts {
		switch {
		case q.ready > 0:
			ready = true
		case len(q.entries) > 0 && (at.IsZero() || q.hold.Before(at)):
			at = q.hold
		}
	}
	if ready || at.Before(f.rest) {
		at = f.rest
	}
	return at, ready
}

// take removes what is ready or has waited long enough, applyAtOnce records at
// most.
func (f *feed) take() []entry {
	out := make([]entry, 0, min(f.n, applyAtOnce))
	now := time.Now()
	for p, q := range f.parts {
		n := q.ready
		if f.n >= applyAtOnce || !now.Before(q.hold) {
			n = len(q.entries)
		}
		n = min(n, applyAtOnce-len(out))
		out = append(out, q.entries[:n]...)
		if n == len(q.entries) {
			delete(f.parts, p)
			continue
		}
		q.entries, q.ready = q.entries[n:], max(q.ready-n, 0)
	}
	f.n -= len(out)
	return out
}

// sleep ends a rest, and takes in what came meanwhile: the fetch that was
// answered in its beginning and the one that this sets off.
func (f *feed) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	for range 2 {
		if err := f.poll(ctx, lastLook); err != nil {
			return err
		}
	}
	return nil
}

// poll takes in one fetch, waiting at most d for it (0: until it comes).
func (f *feed) poll(ctx context.Context, d time.Duration) error {
	wait := ctx
	if d > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	batch, err := f.r.cfg.Log.Poll(wait)
	if err != nil {
		if ctx.Err() == nil && wait.Err() != nil {
			return nil
		}
		return fmt.Errorf("read the log: %w", err)
	}
	for _, d := range batch.Diverged {
		reason := d.Reason
		f.r.part(d.Partition).diverged.Store(&reason)
		f.r.cfg.Logger.Error("partition stops: log diverged", "partition", d.Partition, "reason", reason)
	}
	for _, rec := range batch.Records {
		f.add(entry{rec, decode(rec)})
	}
	return nil
}

func (f *feed) add(e entry) {
	q := f.parts[e.Partition]
	if q == nil {
		q = &queued{}
		f.parts[e.Partition] = q
	}
	if len(q.entries) == q.ready {
		q.hold = time.Now().Add(holdPrepare)
	}
	q.entries = append(q.entries, e)
	f.n++
	if !f.r.announces(e) {
		q.ready = len(q.entries)
	}
}

// announces reports whether a record is a PREPARE that nobody here waits for.
func (r *Replica) announces(e entry) bool {
	p, ok := e.m.GetBody().(*metapb.Record_Prepare)
	if !ok {
		return false
	}
	t, err := dsv.TxIDFromBytes(p.Prepare.GetTxid())
	return err == nil && !r.wait.wantsPrepare(t)
}
