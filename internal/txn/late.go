package txn

import (
	"errors"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/peer"
)

// lateFor is how long a holder that did not acknowledge in time is still
// offered its shard; after that repair finds the hole.
const (
	lateFor   = 10 * time.Second
	lateEvery = 250 * time.Millisecond
)

// lateFill offers one holder its part of a committed transaction. It writes no
// record.
type lateFill struct {
	a     *attempt
	rank  int
	until time.Time
}

// queueLate never blocks: with a full queue the hole is left to repair.
func (r *Runner) queueLate(a *attempt, rank int) {
	select {
	case r.late <- lateFill{a, rank, time.Now().Add(lateFor)}:
	default:
	}
}

// lateLoop offers what is due every round to holders that can be reached.
func (r *Runner) lateLoop() {
	t := time.NewTicker(lateEvery)
	defer t.Stop()
	var open []lateFill
	for {
		select {
		case <-r.ctx.Done():
			return
		case f := <-r.late:
			open = append(open, f)
			continue
		case <-t.C:
		}
		keep := open[:0]
		for _, f := range open {
			switch {
			case time.Now().After(f.until):
			case !r.peers.Reachable(f.a.holders[f.rank]):
				keep = append(keep, f)
			default:
				r.offer(f)
			}
		}
		clear(open[len(keep):])
		open = keep
	}
}

func (r *Runner) offer(f lateFill) {
	r.stage(f.a, f.rank, func(_ dsv.StoreID, err error) {
		if err != nil && passing(err) && time.Now().Before(f.until) {
			select {
			case r.late <- f:
			default:
			}
		}
	})
}

// passing errors of a holder may be gone at the next offer.
func passing(err error) bool {
	return dsv.KindOf(err) == dsv.KindUnavailable || errors.Is(err, peer.ErrConnLost) || errors.Is(err, peer.ErrNotConnected) || errors.Is(err, peer.ErrBusy)
}
