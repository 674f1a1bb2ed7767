package replica

import (
	"context"
	"errors"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// maxSuspects bounds the shards that wait to be looked at; what does not fit
// is seen again at the next read.
const maxSuspects = 256

// suspicion is a shard that somebody asked for and that is missing or damaged.
type suspicion struct {
	path dsv.Path
	set  dsv.ShareSet
}

// doubt notes a shard that was not there when it was asked for. If this node
// should have it, it becomes a hole, so that the scan refills it.
func (r *Replica) doubt(path dsv.Path, set dsv.ShareSet, state ShardState) {
	if state == ShardDamaged {
		r.stats.damaged.Add(1)
	}
	select {
	case r.suspect <- suspicion{path, set}:
	default:
	}
}

func (r *Replica) suspectLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-r.suspect:
			if err := r.look(ctx, s); err != nil && ctx.Err() == nil {
				r.cfg.Logger.Error("look for a missing shard", "path", s.path, "err", err)
			}
		}
	}
}

// look finds the version whose share set it is, unless the hole is known.
func (r *Replica) look(ctx context.Context, s suspicion) error {
	var version uint64
	err := r.View(func(tx store.Txn) error {
		_, known, err := r.holeOfSet(tx, s.path, s.set)
		if err == nil && !known {
			version, err = versionOfSet(tx, s.path, s.set)
		}
		return err
	})
	if err != nil || version == 0 {
		return err
	}
	return r.NoteHole(ctx, s.path, version, s.set)
}

// versionOfSet finds the version that a share set was made for, 0 for none. What
// became of its transaction tells, while that is kept; only for older ones all
// versions are looked through.
func versionOfSet(tx store.Txn, path dsv.Path, set dsv.ShareSet) (uint64, error) {
	status, err := meta.LookupTx(tx, set.Tx)
	switch {
	case err != nil:
		return 0, err
	case status.State == meta.TxForgotten:
	case status.State == meta.TxCommitted && int(set.Op) < len(status.Results) && status.Results[set.Op].Key == path.Key:
		return status.Results[set.Op].Version, nil
	default:
		return 0, nil
	}
	all, err := meta.History(tx, path)
	for _, v := range all {
		if v.ShareSet == set {
			return v.Number, err
		}
	}
	return 0, err
}

// NoteHole looks at this node's shard of a version, as a reader or the audit
// found it missing or damaged; if it is, and the version still has that share
// set, it is a hole from now on.
func (r *Replica) NoteHole(ctx context.Context, path dsv.Path, version uint64, set dsv.ShareSet) error {
	for {
		err := r.noteHole(ctx, path, version, set)
		if !errors.Is(err, store.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

func (r *Replica) noteHole(ctx context.Context, path dsv.Path, version uint64, set dsv.ShareSet) error {
	tx, err := r.cfg.Store.Begin(store.ReadWriteReserve)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	v, ok, err := meta.LookupVersion(tx, path, version)
	if err != nil || !ok || v.Destroyed || v.ShareSet != set {
		return err
	}
	reason, err := r.auditVersion(tx, v)
	if err != nil || reason == 0 {
		return err
	}
	out := &applied{}
	h := Hole{Path: path, Version: version, Set: set, Since: v.ShareSetE, Reason: reason}
	if err := r.putHole(tx, set.Tx.Partition, h, out); err != nil {
		return err
	}
	if _, err := tx.Commit(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	r.publish(out)
	return nil
}

// Holes pages through this node's holes of one partition: up to limit behind
// after, nil for the first page. next is nil on the last one.
func (r *Replica) Holes(p dsv.Partition, after []byte, limit int) (holes []Hole, next []byte, err error) {
	err = r.View(func(tx store.Txn) error {
		items, more, err := tx.Scan(holePrefix(p), store.Page{After: after, Limit: limit})
		if err != nil {
			return err
		}
		for _, it := range items {
			h, err := decodeHole(it.Key, it.Value)
			if err != nil {
				return err
			}
			holes = append(holes, h)
		}
		if more {
			next = items[len(items)-1].Key
		}
		return nil
	})
	return holes, next, err
}
