package meta

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dsvault/dsv/internal/store"
)

// mapStore is the plainest store there is: a map that is copied at Begin.
type mapStore struct{ rows map[string]string }

func newStore(testing.TB) begins { return &mapStore{rows: map[string]string{}} }

func (s *mapStore) Begin(m store.Mode) (store.Txn, error) {
	t := &mapTxn{s: s, rows: s.rows}
	if m == store.ReadWrite {
		t.rows = maps.Clone(s.rows)
	}
	return t, nil
}

type mapTxn struct {
	s    *mapStore
	rows map[string]string
}

func (t *mapTxn) Get(key []byte) (store.Item, error) {
	v, ok := t.rows[string(key)]
	if !ok {
		return store.Item{}, store.ErrNotFound
	}
	return store.Item{Key: bytes.Clone(key), Value: append([]byte{}, v...)}, nil
}

func (t *mapTxn) Put(pairs ...store.Pair) error {
	for _, p := range pairs {
		t.rows[string(p.Key)] = string(p.Value)
	}
	return nil
}

func (t *mapTxn) Scan(prefix []byte, page store.Page) (items []store.Item, more bool, err error) {
	for _, k := range slices.Sorted(maps.Keys(t.rows)) {
		if !strings.HasPrefix(k, string(prefix)) || (page.After != nil && k <= string(page.After)) || k < string(page.From) {
			continue
		}
		if page.Limit > 0 && len(items) == page.Limit {
			return items, true, nil
		}
		it := store.Item{Key: []byte(k)}
		if !page.KeysOnly {
			it.Value = append([]byte{}, t.rows[k]...)
		}
		items = append(items, it)
	}
	return items, false, nil
}

func (t *mapTxn) Delete(keys ...[]byte) (n int, err error) {
	for _, k := range keys {
		if _, ok := t.rows[string(k)]; ok {
			n++
			delete(t.rows, string(k))
		}
	}
	return n, nil
}

func (t *mapTxn) DeletePrefix([]byte) (int, error) { panic("not used") }

func (t *mapTxn) Count(prefix []byte) (n int, err error) {
	items, _, err := t.Scan(prefix, store.Page{})
	return len(items), err
}

func (t *mapTxn) Commit(context.Context) (uint64, error) { t.s.rows = t.rows; return 1, nil }
func (t *mapTxn) Abort() error                           { return nil }
