package txn

import (
	"time"

	"github.com/dsvault/dsv"
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
	r.peers.Stage(r.ctx, f.a.holders[f.rank], f.a.stageRequest(f.rank), f.a.req.Proof, func(_ dsv.StoreID, err error) {
		if err != nil && dsv.KindOf(err) == dsv.KindUnavailable && time.Now().Before(f.until) {
			select {
			case r.late <- f:
			default:
			}
		}
	})
}
