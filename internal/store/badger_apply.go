package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// apply writes a batch and lets the cache know.
func (e *badgerEngine) apply(b *batch) error {
	if err := e.write(b); err != nil {
		return err
	}
	e.cache.note(b)
	return nil
}

// write writes a batch as one Badger transaction, which is one entry of its
// write-ahead log, or, if it is too large for that or has a value for the value
// log, through redo rows: the whole batch is first written as values of them, a
// tick lower, then in parts, then the first redo row is removed. Open finishes
// what a crash interrupted. Views stay below until all is there. Whatever a
// crash leaves is a first part of these steps, so only value logs, which may
// lack what a log points to, have to be durable before the last.
func (e *badgerEngine) write(b *batch) error {
	if rows, cost := e.limits(); len(b.rows) < rows && e.total(b) < cost && !e.hasLarge(b.rows) {
		return e.commit(b.tick, b.rows)
	}
	var more [][]byte // keys of the redo rows but the first
	for _, r := range redoRows(encodeBatch(b), int(e.large/2)) {
		if err := e.commit(b.tick-1, []row{r}); err != nil {
			return err
		}
		more = append(more, r.key)
	}
	return e.finish(b, more[:len(more)-1])
}

func (e *badgerEngine) sync() error { return e.durably((*wal).sync) }

// durably runs a sync between two writes of Badger, where syncs are ours.
func (e *badgerEngine) durably(sync func(*wal) error) error {
	if !ownSync {
		return nil
	}
	e.writing.Lock()
	defer e.writing.Unlock()
	return sync(e.wal)
}

func (e *badgerEngine) hasLarge(rows []row) bool {
	return slices.ContainsFunc(rows, func(r row) bool { return int64(len(r.value)) >= e.large })
}

func (e *badgerEngine) total(b *batch) (cost int64) {
	for i := range b.rows {
		cost += e.cost(b.rows[i].key, b.rows[i].value)
	}
	return cost
}

// finish writes the rows of a batch whose redo rows are there: the first, and
// more. Only a round of one transaction can be that large, so no key is in it
// twice.
func (e *badgerEngine) finish(b *batch, more [][]byte) error {
	maxRows, maxCost := e.limits()
	rows := b.rows
	for len(rows) > 0 {
		n, cost := 0, int64(0)
		for n < len(rows) && n < maxRows-1 {
			cost += e.cost(rows[n].key, rows[n].value)
			if n > 0 && cost >= maxCost {
				break
			}
			n++
		}
		if err := e.commit(b.tick, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	if e.hasLarge(b.rows) {
		if err := e.durably((*wal).syncValues); err != nil {
			return err
		}
	}
	if err := e.commit(b.tick, []row{{key: keyRedo, del: true}}); err != nil {
		return err
	}
	return e.dropRedo(b.tick, more)
}

// dropRedo deletes redo rows without the first, which mean nothing.
func (e *badgerEngine) dropRedo(tick uint64, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	rows := make([]row, len(keys))
	for i, k := range keys {
		rows[i] = row{key: k, del: true}
	}
	return e.commit(tick, rows)
}

func (e *badgerEngine) commit(tick uint64, rows []row) error {
	e.writing.Lock()
	defer e.writing.Unlock()
	txn := e.db.NewTransactionAt(tick, true)
	defer txn.Discard()
	entries := make([]badger.Entry, len(rows))
	for i := range rows {
		r := &rows[i]
		var err error
		if r.del {
			err = txn.Delete(r.key)
		} else {
			entries[i].Key, entries[i].Value = r.key, r.value
			entries[i].UserMeta = r.slot
			err = txn.SetEntry(&entries[i])
		}
		if err != nil {
			return fmt.Errorf("badger: %w", err)
		}
	}
	if err := txn.CommitAt(tick, nil); err != nil {
		return fmt.Errorf("badger: %w", err)
	}
	if e.log.syncFailed.Load() {
		return errors.New("badger: sync of the value log failed")
	}
	if ownSync {
		return e.wal.wrote()
	}
	return nil
}

// redo finishes a batch that a crash interrupted, or drops what is there of one
// that had hardly begun.
func (e *badgerEngine) redo() error {
	v := e.view(e.newest())
	var value []byte
	var more [][]byte
	var tick uint64
	others := span{lo: redoKey(1), hi: successor(keyRedo), prefix: keyRedo}
	err := v.scan(others, walk{}, func(key, part []byte, rev uint64) bool {
		value = append(value, part...)
		more, tick = append(more, bytes.Clone(key)), rev>>8
		return true
	})
	if err != nil {
		return err
	}
	first, err := v.get(keyRedo)
	if errors.Is(err, ErrNotFound) {
		return e.dropRedo(tick+1, more)
	}
	if err != nil {
		return err
	}
	b, err := decodeBatch(append(first.Value, value...))
	if err != nil {
		return err
	}
	return e.finish(b, more)
}
