package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// badgerView reads at a tick.
type badgerView struct {
	e    *badgerEngine
	tick uint64
	txn  *badger.Txn // made at the first read; holds nothing that would have to be released
}

func (e *badgerEngine) view(tick uint64) view { return &badgerView{e: e, tick: tick} }

func (v *badgerView) at() *badger.Txn {
	if v.txn == nil {
		v.txn = v.e.db.NewTransactionAt(v.tick, false)
	}
	return v.txn
}

func (v *badgerView) get(key []byte) (item Item, err error) {
	if e, ok := v.e.cache.get(key, v.tick); ok {
		if e.rev == 0 {
			return Item{}, ErrNotFound
		}
		return newItem(e.key, e.value, e.rev), nil
	}
	it, err := v.at().Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		v.e.cache.add(key, v.tick, nil)
		return Item{}, ErrNotFound
	}
	if err != nil {
		return Item{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	err = readValue(it, func(value []byte) {
		item = newItem(key, value, revision(it.Version(), it.UserMeta()))
	})
	if err == nil {
		v.e.cache.add(key, v.tick, &item)
	}
	return item, err
}

// readValue notices that Badger passes off a damaged entry of its value log as
// an empty value.
func readValue(it *badger.Item, use func([]byte)) error {
	lost := false
	err := it.Value(func(value []byte) error {
		if len(value) == 0 && it.ValueSize() > 0 {
			lost = true
			return nil
		}
		use(value)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if lost {
		return fmt.Errorf("%w: value log", ErrCorrupt)
	}
	return nil
}

func (v *badgerView) scan(s span, w walk, yield func(key, value []byte, rev uint64) bool) error {
	opt := badger.IteratorOptions{Reverse: w.reverse}
	start := s.lo
	if w.reverse {
		start = s.hi
	} else {
		opt.Prefix = s.prefix
	}
	it := v.at().NewIterator(opt)
	defer it.Close()
	for it.Seek(start); it.Valid(); it.Next() {
		item := it.Item()
		key := item.Key()
		switch {
		case w.reverse && bytes.Compare(key, s.hi) >= 0:
			continue
		case w.reverse && bytes.Compare(key, s.lo) < 0, !w.reverse && bytes.Compare(key, s.hi) >= 0:
			return nil
		}
		rev, on := revision(item.Version(), item.UserMeta()), false
		if w.keysOnly {
			on = yield(key, nil, rev)
		} else if err := readValue(item, func(value []byte) { on = yield(key, value, rev) }); err != nil {
			return err
		}
		if !on {
			return nil
		}
	}
	return nil
}
