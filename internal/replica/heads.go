package replica

import (
	"sync"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// Head is the newest decided change of one key, for gossip. Times are
// microseconds; ValidTo 0 is open.
type Head struct {
	Path               dsv.Path
	Version            uint64
	Live               bool
	ValidFrom, ValidTo int64
	Offset             int64
	Partition          dsv.Partition
}

// keepHeads is how many of the newest heads are remembered.
const keepHeads = 64

// heads remembers the newest changes that were applied here, in a ring.
type heads struct {
	mu   sync.Mutex
	ring [keepHeads]Head
	next int
}

func (h *heads) add(e Event) {
	if e.Decided == nil || e.Decided.Status.State != meta.TxCommitted {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, o := range e.Decided.Ops {
		if o.Kind == metapb.OpKind_REPAIR || i >= len(e.Decided.Status.Results) {
			continue
		}
		r := e.Decided.Status.Results[i]
		if o.Kind == metapb.OpKind_DESTROY && r.ValidTo == 0 {
			continue // it closed no interval
		}
		h.ring[h.next%keepHeads] = Head{Path: o.Path, Version: r.Version, Live: r.ValidTo == 0, ValidFrom: r.ValidFrom, ValidTo: r.ValidTo,
			Offset: e.Position.Offset, Partition: e.Position.Partition}
		h.next++
	}
}

// Heads are the newest decided changes, one per key.
func (r *Replica) Heads() []Head {
	h := &r.heads
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := map[dsv.Path]bool{}
	var out []Head
	for i := h.next - 1; i >= 0 && i >= h.next-keepHeads; i-- {
		if x := h.ring[i%keepHeads]; !seen[x.Path] {
			seen[x.Path] = true
			out = append(out, x)
		}
	}
	return out
}

// keepDigests is how many digests per partition are remembered, so that a node
// that is behind can still be compared.
const keepDigests = 16

// Digests are the state digests at the newest offsets divisible by 256 that
// this process applied.
func (r *Replica) Digests(p dsv.Partition) map[int64][32]byte {
	pt := r.part(p)
	pt.mu.Lock()
	defer pt.mu.Unlock()
	out := make(map[int64][32]byte, len(pt.digests))
	for o, d := range pt.digests {
		out[o] = d
	}
	return out
}
