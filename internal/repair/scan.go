package repair

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/replica"
)

const (
	// scanFirst lets late fills and read repair go first after a start; the
	// nodes of a cluster that starts as a whole do not scan at once.
	scanFirst  = 5 * time.Second
	scanJitter = 2 * time.Second
	scanEvery  = time.Second
	scanAtOne  = 256
	scanHands  = 4 // repairs of the scan under way together
)

// scanLoop refills this node's holes, old versions too, at ScanRate a second.
func (r *Repairer) scanLoop() {
	pace := time.NewTicker(time.Duration(float64(time.Second) / r.cfg.ScanRate))
	defer pace.Stop()
	t := time.NewTimer(scanFirst + rand.N(scanJitter))
	defer t.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-t.C:
			t.Reset(scanEvery)
		}
		if r.rep.Ready() != nil || r.rep.Stats().Holes == 0 {
			continue
		}
		for p := range r.rep.Partitions() {
			r.scanPartition(dsv.Partition(p), pace.C)
		}
	}
}

// scanPartition refills the holes of one partition, one begun at each tick of
// pace and few at once, and returns when all it began have ended.
func (r *Repairer) scanPartition(p dsv.Partition, pace <-chan time.Time) {
	var wg sync.WaitGroup
	defer wg.Wait()
	hands := make(chan struct{}, scanHands)
	var after []byte
	for {
		holes, next, err := r.rep.Holes(p, after, scanAtOne)
		if err != nil {
			r.count(false, err)
			return
		}
		for _, h := range holes {
			if r.rep.EstimateE(p) < h.Since+grace {
				continue
			}
			select {
			case <-r.ctx.Done():
				return
			case <-pace:
			}
			hands <- struct{}{}
			wg.Go(func() {
				r.refill(h)
				<-hands
			})
		}
		if next == nil || r.ctx.Err() != nil {
			return
		}
		after = next
	}
}

// refill re-splits the version of one of this node's holes.
func (r *Repairer) refill(h replica.Hole) {
	id := versionID{h.Path, h.Version}
	if !r.enter(id) {
		return
	}
	defer r.leave(id)
	ctx, cancel := context.WithTimeout(r.ctx, repairFor)
	defer cancel()
	v, ok, err := r.lookup(h.Path, h.Version)
	if err != nil || !ok || v.Destroyed || v.ShareSet != h.Set {
		return // Apply drops the hole with the share set it names
	}
	r.count(r.repair(ctx, h.Path, v, dsv.Secret{}, false))
}
