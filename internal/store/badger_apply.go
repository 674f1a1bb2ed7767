package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// apply writes a batch as one Badger transaction, which is one entry of its
// write-ahead log and one fsync, or, if it is too large for that, through the
// redo row: the whole batch is first made durable as one value, a tick lower,
// then written in parts, the last of which removes the row. Open finishes what
// a crash interrupted. Views stay below until all is there.
func (e *badgerEngine) apply(b *batch) error {
	if rows, cost := e.limits(); len(b.rows) < rows && e.total(b) < cost {
		return e.commit(b.tick, b.rows)
	}
	redo := row{key: keyRedo, value: encodeBatch(b)}
	if err := e.commit(b.tick-1, []row{redo}); err != nil {
		return err
	}
	return e.finish(b)
}

func (e *badgerEngine) total(b *batch) (cost int64) {
	for i := range b.rows {
		cost += e.cost(b.rows[i].key, b.rows[i].value)
	}
	return cost
}

// finish writes the rows of a batch whose redo row is there. Only a round of
// one transaction can be that large, so no key is in it twice.
func (e *badgerEngine) finish(b *batch) error {
	maxRows, maxCost := e.limits()
	rows := append(slices.Clip(b.rows), row{key: keyRedo, del: true})
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
	return nil
}

func (e *badgerEngine) commit(tick uint64, rows []row) error {
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
	return nil
}

// redo finishes a batch that a crash interrupted.
func (e *badgerEngine) redo() error {
	item, err := e.view(e.newest()).get(keyRedo)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := decodeBatch(item.Value)
	if err != nil {
		return err
	}
	return e.finish(b)
}
