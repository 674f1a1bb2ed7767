package replica

import (
	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// CurrentStore reports whether id is the store id in force for a node in what
// this node has applied of a partition: only then its acknowledgement counts.
func (r *Replica) CurrentStore(p dsv.Partition, n dsv.NodeID, id dsv.StoreID) bool {
	ids := r.part(p).stores.Load()
	return ids != nil && (*ids)[n] == id
}

// ReplacedStore reports whether a node answers under a store id that this node
// knows to be replaced: such an answer is dropped.
func (r *Replica) ReplacedStore(p dsv.Partition, n dsv.NodeID, id dsv.StoreID) bool {
	if r.CurrentStore(p, n, id) {
		return false
	}
	replaced := true
	err := r.View(func(tx store.Txn) (err error) {
		replaced, err = meta.Replaced(tx, p, id)
		return err
	})
	return err != nil || replaced
}

// StoreIDs are the ids in force in a partition.
func (r *Replica) StoreIDs(p dsv.Partition) map[dsv.NodeID]dsv.StoreID {
	if ids := r.part(p).stores.Load(); ids != nil {
		return *ids
	}
	return nil
}

// loadStores refreshes what memory holds of a partition's store ids. Acks are
// judged again when COMMIT is applied; this saves a record that would fail.
func (r *Replica) loadStores(tx store.Txn, p dsv.Partition) error {
	ids, err := meta.StoreIDs(tx, p)
	if err == nil {
		r.part(p).stores.Store(&ids)
	}
	return err
}
