package meta

import (
	"cmp"
	"slices"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// join judges JOIN. A store id comes into force once, ever: an old JOIN that
// lands again must not revive the acknowledgements of a lost store.
func (m *machine) join(j *metapb.Join) error {
	var id, replaces dsv.StoreID
	if len(j.GetStoreId()) != len(id) || (len(j.GetReplaces()) != 0 && len(j.GetReplaces()) != len(id)) {
		return m.void(VoidMalformed)
	}
	copy(id[:], j.GetStoreId())
	copy(replaces[:], j.GetReplaces())
	if id == (dsv.StoreID{}) {
		return m.void(VoidMalformed)
	}
	c, err := m.config()
	if err != nil {
		return err
	}
	node := dsv.NodeID(j.GetNode())
	if !c.HasMember(node) {
		return m.void(VoidMember)
	}
	seen := seenKey(m.p, id)
	if old, err := get(m.tx, seen, nil); err != nil {
		return err
	} else if old != nil {
		return m.void(VoidStoreSeen)
	}
	stores := new(metapb.StoresRow)
	old, err := get(m.tx, storesKey(m.p), stores)
	if err != nil {
		return err
	}
	if string(storeOf(stores, j.GetNode())) != string(j.GetReplaces()) {
		return m.void(VoidReplaces)
	}
	setStore(stores, j.GetNode(), id)
	m.stores = nil
	if err := m.put(storesKey(m.p), old, stores); err != nil {
		return err
	}
	m.eff.Join = &Join{Node: node, StoreID: id, Replaces: replaces}
	return m.putRaw(seen, nil, []byte(node))
}

func findStore(row *metapb.StoresRow, node string) (int, bool) {
	return slices.BinarySearchFunc(row.GetStores(), node, func(e *metapb.StoreEntry, n string) int {
		return cmp.Compare(e.GetNode(), n)
	})
}

// storeOf is the current id of a node's store, nil before its first JOIN.
func storeOf(row *metapb.StoresRow, node string) []byte {
	if i, ok := findStore(row, node); ok {
		return row.GetStores()[i].GetStoreId()
	}
	return nil
}

func setStore(row *metapb.StoresRow, node string, id dsv.StoreID) {
	i, ok := findStore(row, node)
	if !ok {
		row.Stores = slices.Insert(row.Stores, i, &metapb.StoreEntry{Node: node})
	}
	row.Stores[i].StoreId = id[:]
}

// StoreID returns the current store id of a node; false before its first JOIN.
func StoreID(tx store.Txn, p dsv.Partition, node dsv.NodeID) (dsv.StoreID, bool, error) {
	ids, err := StoreIDs(tx, p)
	id, ok := ids[node]
	return id, ok, err
}

// StoreIDs returns the current store ids of all nodes that have joined.
func StoreIDs(tx store.Txn, p dsv.Partition) (map[dsv.NodeID]dsv.StoreID, error) {
	row := new(metapb.StoresRow)
	if _, err := get(tx, storesKey(p), row); err != nil {
		return nil, err
	}
	out := make(map[dsv.NodeID]dsv.StoreID, len(row.GetStores()))
	for _, e := range row.GetStores() {
		var id dsv.StoreID
		if len(e.GetStoreId()) != len(id) {
			return nil, corrupt(storesKey(p), "not a store id")
		}
		copy(id[:], e.GetStoreId())
		out[dsv.NodeID(e.GetNode())] = id
	}
	return out, nil
}

// Replaced reports whether a store id was in force and is so no more. An id
// that never joined is not replaced.
func Replaced(tx store.Txn, p dsv.Partition, id dsv.StoreID) (bool, error) {
	node, err := get(tx, seenKey(p, id), nil)
	if err != nil || node == nil {
		return false, err
	}
	now, ok, err := StoreID(tx, p, dsv.NodeID(node))
	return err == nil && (!ok || now != id), err
}
