package store

import (
	"bytes"
	"errors"
	"hash/maphash"

	"github.com/google/btree"
)

// Put buffers pairs, all or none.
func (t *txn) Put(pairs ...Pair) error {
	if err := t.checkWrite(); err != nil {
		return err
	}
	for i := range pairs {
		if err := checkPair(&pairs[i]); err != nil {
			return err
		}
	}
	undo := make(undo, 0, len(pairs))
	for i := range pairs {
		if err := t.put(&pairs[i], &undo); err != nil {
			t.revert(undo)
			return err
		}
	}
	return nil
}

func (t *txn) checkWrite() error {
	if err := t.check(); err != nil {
		return err
	}
	if t.mode == ReadOnly {
		return ErrReadOnly
	}
	return nil
}

func checkPair(p *Pair) error {
	switch {
	case len(p.Key) == 0:
		return ErrEmptyKey
	case len(p.Key) > MaxKey, !p.Delete && len(p.Value) > MaxValue:
		return ErrTooLarge
	}
	return nil
}

// undo is what writes there were before an operation.
type undo []replaced

type replaced struct {
	key []byte
	old *write
}

func (t *txn) revert(u undo) {
	if t.over != nil {
		return
	}
	for i := len(u) - 1; i >= 0; i-- {
		t.bytes -= t.unset(u[i].key)
		if u[i].old != nil {
			t.bytes += u[i].old.size()
			t.writes.ReplaceOrInsert(u[i].old)
		}
	}
}

func (t *txn) unset(key []byte) int {
	if w, ok := t.writes.Delete(&write{row: row{key: key}}); ok {
		return w.size()
	}
	return 0
}

func (w *write) size() int { return len(w.key) + len(w.value) + txnRowExtra }

func (t *txn) put(p *Pair, u *undo) error {
	key := userKey(make([]byte, 0, 1+len(p.Key)), p.Key)
	own := t.written(key)
	base, err := t.judge(key, own, p.If)
	if err != nil {
		return err
	}
	if p.Delete {
		_, err := t.remove(key, own, base, u)
		return err
	}
	return t.set(&write{row: row{key: key, value: bytes.Clone(p.Value)}, base: base}, own, u)
}

// judge tells whether a condition holds as the transaction sees it, and what
// it asks of the committed state.
func (t *txn) judge(key []byte, own *write, c Condition) (Condition, error) {
	if own != nil {
		if c.Absent && !own.del || c.Revision > 0 {
			return Condition{}, &RevisionError{Key: bytes.Clone(key[1:])}
		}
		return own.base, nil
	}
	if c == (Condition{}) {
		return c, nil
	}
	current, err := t.peek(key)
	if err != nil {
		return c, err
	}
	if !c.holds(current) {
		t.track(maphash.Bytes(t.c.seed, key)) // the caller learns it
		return c, &RevisionError{Key: bytes.Clone(key[1:]), Current: current}
	}
	return c, nil
}

// holds for a key at a revision, 0 for none.
func (c Condition) holds(current uint64) bool {
	return (!c.Absent || current == 0) && (c.Revision == 0 || c.Revision == current)
}

// peek is the revision of a key in the snapshot, 0 for none; not tracked.
func (t *txn) peek(key []byte) (rev uint64, err error) {
	if len(key) > 0 && bytes.Equal(t.seen, key) {
		return t.rev, nil
	}
	err = t.read(func(v view) error {
		item, err := v.get(key)
		rev = item.Revision
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return rev, err
}

// set puts a write in the place of own.
func (t *txn) set(w, own *write, u *undo) error {
	size, count := t.bytes+w.size(), 1
	if own != nil {
		size, count = size-own.size(), 0
	}
	if t.writes == nil {
		t.writes = btree.NewWithFreeListG(16, writeLess, t.c.nodes)
	}
	if size > MaxTxnBytes || t.writes.Len()+count > MaxTxnRows {
		return ErrTxnTooBig
	}
	if w.hash = maphash.Bytes(t.c.seed, w.key); own != nil {
		w.hash = own.hash
	}
	t.writes.ReplaceOrInsert(w)
	t.bytes = size
	*u = append(*u, replaced{w.key, own})
	return nil
}

// Delete removes keys and reports how many existed.
func (t *txn) Delete(keys ...[]byte) (int, error) {
	if err := t.checkWrite(); err != nil {
		return 0, err
	}
	for _, k := range keys {
		if len(k) == 0 {
			return 0, ErrEmptyKey
		}
	}
	n := 0
	var undo undo
	for _, k := range keys {
		key := userKey(make([]byte, 0, 1+len(k)), k)
		own := t.written(key)
		var base Condition
		if own != nil {
			base = own.base
		}
		existed, err := t.remove(key, own, base, &undo)
		if err != nil {
			t.revert(undo)
			return 0, err
		}
		if existed {
			n++
		}
	}
	return n, nil
}

// remove deletes a key as the transaction sees it. What the committed state
// does not have needs no write: the read of it is tracked.
func (t *txn) remove(key []byte, own *write, base Condition, u *undo) (existed bool, err error) {
	if own != nil && own.del {
		return false, nil
	}
	var below bool
	switch {
	case base.Revision > 0:
		below = true
	case base.Absent:
	default:
		t.track(maphash.Bytes(t.c.seed, key))
		rev, err := t.peek(key)
		if err != nil {
			return false, err
		}
		below = rev > 0
	}
	if below {
		return true, t.set(&write{row: row{key: key, del: true}, base: base}, own, u)
	}
	if base.Absent {
		t.track(maphash.Bytes(t.c.seed, key))
	}
	if own == nil {
		return false, nil
	}
	*u = append(*u, replaced{key, own})
	t.bytes -= t.unset(key)
	return true, nil
}

// DeletePrefix removes all keys with the prefix.
func (t *txn) DeletePrefix(prefix []byte) (int, error) {
	if err := t.checkWrite(); err != nil {
		return 0, err
	}
	type found struct {
		key []byte
		own bool
	}
	var keys []found
	_, err := t.walk(bounds(prefix, Page{}), Page{KeysOnly: true}, func(key, _ []byte, rev uint64) {
		keys = append(keys, found{bytes.Clone(key), rev == 0})
	})
	if err != nil {
		return 0, err
	}
	var undo undo
	for _, k := range keys {
		if k.own {
			own := t.written(k.key)
			_, err = t.remove(k.key, own, own.base, &undo)
		} else {
			err = t.set(&write{row: row{key: k.key, del: true}}, nil, &undo)
		}
		if err != nil {
			t.revert(undo)
			return 0, err
		}
	}
	return len(keys), nil
}
