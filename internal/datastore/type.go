package datastore

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dsvault/dsv/internal/store"
)

// ErrOrphan is an index row without its item: only a bug or a damaged store
// makes one. Check tells how many there are.
var ErrOrphan = errors.New("datastore: index row without item")

// Codec turns values into bytes and back. Decode refuses what Encode did not
// write.
type Codec[T any] interface {
	Encode(*T) ([]byte, error)
	Decode([]byte) (*T, error)
}

// Index finds items by the values that Of derives from them, none, one or
// many. Of depends on the item alone.
type Index[T any] struct {
	Field string
	Of    func(*T) []string
}

// Type is one type of items. It holds no state: all is in the transactions it
// is given.
type Type[T any] struct {
	name    string
	codec   Codec[T]
	indexes []Index[T]
}

// New declares a type. It panics if a name cannot be one or is there twice.
func New[T any, C Codec[T]](name string, codec C, indexes ...Index[T]) *Type[T] {
	if !validName(name) {
		panic(fmt.Sprintf("datastore: %q cannot name a type", name))
	}
	seen := map[string]bool{}
	for _, ix := range indexes {
		if !validName(ix.Field) || seen[ix.Field] {
			panic(fmt.Sprintf("datastore: %q cannot name an index of type %q", ix.Field, name))
		}
		seen[ix.Field] = true
	}
	return &Type[T]{name, codec, indexes}
}

// Put writes an item, new or not, and makes its index rows fit. They are those
// of the item as it will be read: a codec that loses something of a value must
// not leave rows that no later Put or Delete finds.
func (t *Type[T]) Put(tx store.Txn, id string, value *T) error {
	b, err := t.codec.Encode(value)
	if err != nil {
		return fmt.Errorf("datastore: encode %s: %w", t.name, err)
	}
	if value, err = t.decode(b); err != nil {
		return err
	}
	stale := map[string]bool{}
	old, err := t.Get(tx, id)
	switch {
	case err == nil:
		stale = t.rows(id, old)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	pairs := []store.Pair{{Key: itemKey(t.name, id), Value: b}}
	for _, key := range sorted(t.rows(id, value)) {
		if !stale[key] {
			pairs = append(pairs, store.Pair{Key: []byte(key)})
		}
		delete(stale, key)
	}
	for _, key := range sorted(stale) {
		pairs = append(pairs, store.Pair{Key: []byte(key), Delete: true})
	}
	return tx.Put(pairs...)
}

// rows are the keys of an item's index rows.
func (t *Type[T]) rows(id string, value *T) map[string]bool {
	keys := map[string]bool{}
	for _, ix := range t.indexes {
		for _, v := range ix.Of(value) {
			keys[string(indexKey(t.name, ix.Field, v, id))] = true
		}
	}
	return keys
}

// sorted, so that equal calls write equal rows in equal order.
func sorted(keys map[string]bool) []string { return slices.Sorted(maps.Keys(keys)) }

// Get returns an item, or store.ErrNotFound.
func (t *Type[T]) Get(tx store.Txn, id string) (*T, error) {
	it, err := tx.Get(itemKey(t.name, id))
	if err != nil {
		return nil, err
	}
	return t.decode(it.Value)
}

func (t *Type[T]) decode(b []byte) (*T, error) {
	v, err := t.codec.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("datastore: decode %s: %w", t.name, err)
	}
	return v, nil
}

// Delete removes an item and its index rows, or returns store.ErrNotFound.
func (t *Type[T]) Delete(tx store.Txn, id string) error {
	old, err := t.Get(tx, id)
	if err != nil {
		return err
	}
	keys := [][]byte{itemKey(t.name, id)}
	for _, key := range sorted(t.rows(id, old)) {
		keys = append(keys, []byte(key))
	}
	_, err = tx.Delete(keys...)
	return err
}

// Clear removes all items of the type, with all index rows, also ones without
// an item.
func (t *Type[T]) Clear(tx store.Txn) error {
	_, err1 := tx.DeletePrefix(itemKey(t.name, ""))
	_, err2 := tx.DeletePrefix(indexPrefix(t.name))
	return errors.Join(err1, err2)
}

// List returns a page of items in the byte order of their ids. next is nil at
// the end, else it goes into page.After (page.To if Reverse) for the next page.
func (t *Type[T]) List(tx store.Txn, page store.Page) (list []*T, next []byte, err error) {
	page.KeysOnly = false
	items, more, err := tx.Scan(itemKey(t.name, ""), page)
	if err != nil {
		return nil, nil, err
	}
	for _, it := range items {
		v, err := t.decode(it.Value)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, v)
	}
	return list, nextOf(items, more), nil
}

func nextOf(items []store.Item, more bool) []byte {
	if !more {
		return nil
	}
	return items[len(items)-1].Key
}

// By returns a page of the items that have exactly the value in the indexed
// field, in the byte order of their ids; next as in List. It panics if the
// type has no such index.
func (t *Type[T]) By(tx store.Txn, field, value string, page store.Page) (list []*T, next []byte, err error) {
	if !slices.ContainsFunc(t.indexes, func(ix Index[T]) bool { return ix.Field == field }) {
		panic(fmt.Sprintf("datastore: type %q has no index %q", t.name, field))
	}
	page.KeysOnly = true
	rows, more, err := tx.Scan(indexPrefix(t.name, field, value), page)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		r, ok := parseIndex(row.Key)
		if !ok {
			return nil, nil, ErrOrphan
		}
		v, err := t.Get(tx, r.id)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil, ErrOrphan
		}
		if err != nil {
			return nil, nil, err
		}
		list = append(list, v)
	}
	return list, nextOf(rows, more), nil
}
