package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// ErrDamaged says that the store has lost metadata that stood in it, or shows
// rows that do not fit together: after a crash, on a disk that rots. Nothing
// can be served from it; a new directory is read from the log and refilled.
var ErrDamaged = errors.New("replica: the metadata on disk are damaged")

// verify is for a start that follows no clean close. What such a store shows
// may be older than what it once had, which its new id allows for. But it may
// also lack rows from the middle, a table or one of two write-ahead logs: then
// positions would be believed for which the rows are gone. So the rows of each
// partition are held against their running digest. Settings have no digest:
// they are forgotten, to be read from the control topic anew before the node
// serves.
func (r *Replica) verify() error {
	err := r.View(func(tx store.Txn) error {
		for _, p := range r.parts {
			if err := verifyPartition(tx, p.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	tx, err := r.cfg.Store.Begin(store.ReadWriteReserve)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	if err := forgetSettings(tx); err != nil {
		return err
	}
	_, err = tx.Commit(context.Background())
	return err
}

func verifyPartition(tx store.Txn, p dsv.Partition) error {
	h, err := meta.ReadHead(tx, p)
	if err != nil {
		return fmt.Errorf("%w: partition %d: %w", ErrDamaged, p, err)
	}
	if h.Offset < 0 {
		n, err := tx.Count(meta.Prefix(p))
		if err == nil && n > 0 {
			err = fmt.Errorf("%w: partition %d has %d rows and no position", ErrDamaged, p, n)
		}
		return err
	}
	if _, ok, err := meta.PartitionCount(tx); err != nil || !ok && h.Configured {
		return errors.Join(fmt.Errorf("%w: partition %d has a CONFIG, and how many there are is not known", ErrDamaged, p), err)
	}
	d, err := meta.DigestOf(tx, p)
	if err == nil && d != h.Digest {
		err = fmt.Errorf("%w: partition %d: the rows at offset %d are not those of its digest", ErrDamaged, p, h.Offset)
	}
	return err
}

// forgetSettings makes the control topic be read from its beginning.
func forgetSettings(tx store.Txn) error {
	if _, err := tx.Delete(settingsKey); err != nil {
		return err
	}
	return tokens.Clear(tx)
}
