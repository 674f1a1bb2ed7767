package replica

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
)

// part is what memory holds of one partition: the newest applied head with the
// moment it was applied, and who waits for a position. It decides nothing.
type part struct {
	id       dsv.Partition
	conf     atomic.Pointer[meta.Config]
	stores   atomic.Pointer[map[dsv.NodeID]dsv.StoreID]
	joined   atomic.Bool
	diverged atomic.Pointer[string]
	joinLost atomic.Bool // the log says that our last JOIN may not have reached it
	ticked   atomic.Bool // a TICK of this process was applied here: E is fresh

	barMu   sync.Mutex
	barBusy bool     // one is on its way
	barNext *barrier // waits for it

	index *stagedIndex
	epoch atomic.Pointer[string] // row 'e' as this process wrote it last

	mu       sync.Mutex
	head     meta.Head
	at       time.Time // when head was applied (monotonic)
	waiting  []posWaiter
	digestAt int64 // newest applied offset divisible by 256
	digest   [32]byte
	digests  map[int64][32]byte // the newest few
	lastTick time.Time
}

type posWaiter struct {
	offset int64
	c      chan struct{}
}

func (p *part) setHead(h meta.Head) {
	p.mu.Lock()
	p.head, p.at = h, time.Now()
	keep := p.waiting[:0]
	for _, w := range p.waiting {
		if w.offset <= h.Offset {
			close(w.c)
		} else {
			keep = append(keep, w)
		}
	}
	p.waiting = keep
	p.mu.Unlock()
}

func (p *part) setDigest(offset int64, d [32]byte) {
	p.mu.Lock()
	p.digestAt, p.digest = offset, d
	if p.digests == nil {
		p.digests = map[int64][32]byte{}
	}
	p.digests[offset] = d
	delete(p.digests, offset-keepDigests*digestEvery)
	p.mu.Unlock()
}

// Head is the newest applied state of the partition's clocks.
func (p *part) getHead() meta.Head {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head
}

// estimate is what E is now, as far as this node can tell: E at the newest
// applied record plus its own monotonic time since then, two minutes at most.
func (p *part) estimate() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head.Offset < 0 {
		return 0
	}
	return p.head.E + min(time.Since(p.at), 2*time.Minute).Microseconds()
}

// until returns nil when offset is applied, else a channel that is closed then.
func (p *part) until(offset int64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head.Offset >= offset {
		return nil
	}
	c := make(chan struct{})
	p.waiting = append(p.waiting, posWaiter{offset, c})
	return c
}

// forget drops a waiter that gave up.
func (p *part) forget(c <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range p.waiting {
		if w.c == c {
			p.waiting[i] = p.waiting[len(p.waiting)-1]
			p.waiting = p.waiting[:len(p.waiting)-1]
			return
		}
	}
}
