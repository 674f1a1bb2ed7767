package datastore

import (
	"errors"

	"github.com/dsvault/dsv/internal/store"
)

// Report is what Check found; a whole type has no orphans and none missing.
type Report struct {
	Items, Rows int
	Orphans     int // index rows that no item asks for
	Missing     int // index rows that an item asks for and that are not there
}

const checkPage = 512

// Check compares the items of the type with its index rows, all in the
// transaction's snapshot.
func (t *Type[T]) Check(tx store.Txn) (r Report, err error) {
	err = pages(tx, itemKey(t.name, ""), false, func(it store.Item) error {
		r.Items++
		_, id, _ := parseItem(it.Key)
		v, err := t.decode(it.Value)
		if err != nil {
			return err
		}
		for key := range t.rows(id, v) {
			switch has, err := exists(tx, []byte(key)); {
			case err != nil:
				return err
			case !has:
				r.Missing++
			}
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	err = pages(tx, indexPrefix(t.name), true, func(it store.Item) error {
		r.Rows++
		ok, err := t.asked(tx, it.Key)
		if err == nil && !ok {
			r.Orphans++
		}
		return err
	})
	return r, err
}

// asked tells whether an item asks for an index row.
func (t *Type[T]) asked(tx store.Txn, key []byte) (bool, error) {
	row, ok := parseIndex(key)
	if !ok {
		return false, nil
	}
	v, err := t.Get(tx, row.id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return t.rows(row.id, v)[string(key)], nil
}

func exists(tx store.Txn, key []byte) (bool, error) {
	_, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// pages visits all rows with a prefix.
func pages(tx store.Txn, prefix []byte, keysOnly bool, visit func(store.Item) error) error {
	page := store.Page{Limit: checkPage, KeysOnly: keysOnly}
	for {
		items, more, err := tx.Scan(prefix, page)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := visit(it); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		page.After = nextOf(items, more)
	}
}
