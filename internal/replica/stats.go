package replica

import (
	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// Stats of this node's copy.
type Stats struct {
	Shards, Holes, Staged, Damaged int64
	StagedBytes                    int64
	Partitions                     []PartitionStats
}

// PartitionStats of one partition.
type PartitionStats struct {
	Partition dsv.Partition
	Head      meta.Head
	Joined    bool
	Diverged  string
	// DigestAt is the newest applied offset divisible by 256 that this process
	// saw, with the state digest there; 0 and a zero digest before.
	DigestAt int64
	Digest   [32]byte
}

// Stats is a cheap snapshot of counters.
func (r *Replica) Stats() Stats {
	s := Stats{
		Shards: r.stats.shards.Load(), Holes: r.stats.holes.Load(), Staged: r.stats.staged.Load(),
		Damaged: r.stats.damaged.Load(), StagedBytes: r.stagedB.Load(),
	}
	for _, p := range r.parts {
		p.mu.Lock()
		s.Partitions = append(s.Partitions, PartitionStats{
			Partition: p.id, Head: p.head, Joined: p.joined.Load(), DigestAt: p.digestAt, Digest: p.digest,
		})
		p.mu.Unlock()
		s.Partitions[len(s.Partitions)-1].Diverged = r.Diverged(p.id)
	}
	return s
}

// Pending is how many transactions are undecided in a partition here.
func (r *Replica) Pending(p dsv.Partition) (n int, err error) {
	err = r.View(func(tx store.Txn) error {
		pending, err := meta.Pending(tx, p)
		n = len(pending)
		return err
	})
	return n, err
}
