package replica

import (
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
)

// maxPlaces is how many namespaces are remembered; then all are forgotten.
const maxPlaces = 4096

// places remembers the partition and the holders of namespaces that were asked
// for: both are functions of the name and the CONFIG that cost a dozen hashes,
// and every read needs them several times at every node.
type places struct {
	mu sync.RWMutex
	of map[dsv.Namespace]place
}

type place struct {
	partition dsv.Partition
	conf      *meta.Config // nil: holders are not known yet
	holders   []dsv.NodeID // of conf
}

func (r *Replica) place(ns dsv.Namespace) place {
	s := &r.places
	s.mu.RLock()
	pl, ok := s.of[ns]
	s.mu.RUnlock()
	if !ok {
		pl.partition = meta.PartitionOf(ns, r.cfg.Partitions)
	}
	conf := r.parts[pl.partition].conf.Load()
	if ok && pl.conf == conf {
		return pl
	}
	if pl.conf, pl.holders = conf, nil; conf != nil {
		pl.holders = conf.Holders(ns)
	}
	s.mu.Lock()
	if s.of == nil || len(s.of) >= maxPlaces {
		s.of = map[dsv.Namespace]place{}
	}
	s.of[ns] = pl
	s.mu.Unlock()
	return pl
}

// PartitionOf is the namespace's partition.
func (r *Replica) PartitionOf(ns dsv.Namespace) dsv.Partition { return r.place(ns).partition }

// Holders are the n members that hold the namespace, in rank order: of the
// CONFIG in force in its partition, or a not_ready error before it is applied.
// The slice is only read.
func (r *Replica) Holders(ns dsv.Namespace) ([]dsv.NodeID, error) {
	pl := r.place(ns)
	if pl.conf == nil {
		return nil, &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, RetryAfter: time.Second,
			Detail: "this node has not read the cluster's CONFIG from the log yet"}
	}
	return pl.holders, nil
}
