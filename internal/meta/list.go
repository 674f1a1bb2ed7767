package meta

import (
	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// Listed is one secret of a List.
type Listed struct {
	Key     dsv.Key
	Version uint64 // the last one
	Live    bool
}

// ListOption changes what List returns.
type ListOption uint8

// WithDeleted also lists secrets that are not live.
const WithDeleted ListOption = 1

// List returns up to limit (0 = no limit) live secrets of a namespace whose
// key has the prefix and is greater than after, in byte order. more tells that
// another page follows: ask again after the last key.
func List(tx store.Txn, ns dsv.Namespace, prefix, after string, limit int, opts ...ListOption) (names []Listed, more bool, err error) {
	p, ok, err := partitionOf(tx, ns)
	if err != nil || !ok {
		return nil, false, err
	}
	deleted := false
	for _, o := range opts {
		deleted = deleted || o == WithDeleted
	}
	base := secretPrefix(p, ns, len(prefix))
	page := store.Page{Limit: scanPage}
	if limit > 0 {
		page.Limit = min(limit+1, scanPage)
	}
	if after != "" {
		page.After = append(secretPrefix(p, ns, len(after)), after...)
	}
	skip := len(base)
	err = scan(tx, append(base, prefix...), page, func(it store.Item) (bool, error) {
		l, err := listed(it, skip)
		if err != nil || (!l.Live && !deleted) {
			return true, err
		}
		if limit > 0 && len(names) == limit {
			more = true
			return false, nil
		}
		names = append(names, l)
		return true, nil
	})
	return names, more, err
}

func listed(it store.Item, skip int) (Listed, error) {
	row := new(metapb.SecretRow)
	if err := unmarshal(it, row); err != nil {
		return Listed{}, err
	}
	k, err := dsv.ParseKey(string(it.Key[skip:]))
	if err != nil {
		return Listed{}, corrupt(it.Key, err)
	}
	return Listed{k, row.GetLastVersion(), row.GetLive()}, nil
}

// Cursor is a place in the walk of Versions; nil is its beginning.
type Cursor []byte

// Versions walks the committed, undestroyed versions of a partition, old ones
// too, in key order. It reads at most limit rows, so a page may hold fewer
// versions, even none; next is where to go on, nil at the end.
func Versions(tx store.Txn, p dsv.Partition, after Cursor, limit int) (vs []Version, next Cursor, err error) {
	page := store.Page{Limit: max(limit, 1), After: after}
	items, more, err := tx.Scan(rowKey(p, kindVersion, 0), page)
	if err != nil {
		return nil, nil, err
	}
	for _, it := range items {
		path, n, ok := versionOfKey(it.Key)
		if !ok {
			return nil, nil, corrupt(it.Key, "not a version")
		}
		v, err := versionOf(path, n, it)
		if err != nil {
			return nil, nil, err
		}
		if !v.Destroyed {
			vs = append(vs, v)
		}
	}
	if more && len(items) > 0 {
		next = items[len(items)-1].Key
	}
	return vs, next, nil
}
