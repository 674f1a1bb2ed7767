package replica

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/store"
)

// auditOnce looks, after a start that follows no clean close, whether every
// shard that the metadata gives this node is here and opens; what is not is a
// hole, to be refilled by repair. It goes partition by partition once that is
// joined, in small steps.
func (r *Replica) auditOnce(ctx context.Context) {
	defer close(r.audits)
	if r.cfg.Clean {
		return
	}
	for _, p := range r.parts {
		if !r.untilJoined(ctx, p) {
			return
		}
		if err := r.auditPartition(ctx, p.id); err != nil {
			if ctx.Err() == nil {
				r.cfg.Logger.Error("audit of a partition failed", "partition", p.id, "err", err)
			}
			return
		}
	}
}

// Audited is closed when the audit after an unclean close is done; at once
// after a clean one.
func (r *Replica) Audited() <-chan struct{} { return r.audits }

func (r *Replica) untilJoined(ctx context.Context, p *part) bool {
	t := time.NewTicker(joinEvery)
	defer t.Stop()
	for !p.joined.Load() {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
	}
	return true
}

const auditAtOnce = 256

func (r *Replica) auditPartition(ctx context.Context, p dsv.Partition) error {
	var next meta.Cursor
	for ctx.Err() == nil {
		var bad []Hole
		err := r.View(func(tx store.Txn) error {
			var page []meta.Version
			var err error
			if page, next, err = meta.Versions(tx, p, next, auditAtOnce); err != nil {
				return err
			}
			for _, v := range page {
				reason, err := r.auditVersion(tx, v)
				if err != nil {
					return err
				}
				if reason != 0 {
					bad = append(bad, Hole{Path: v.Path, Version: v.Number, Set: v.ShareSet})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, h := range bad {
			if err := r.NoteHole(ctx, h.Path, h.Version, h.Set); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
	}
	return ctx.Err()
}

// auditVersion tells what is wrong with this node's shard of one version.
func (r *Replica) auditVersion(tx store.Txn, v meta.Version) (HoleReason, error) {
	holders, err := r.Holders(v.Path.NS)
	if err != nil {
		return 0, err
	}
	rank := rankOf(holders, r.cfg.Node)
	if rank < 0 || rank >= len(v.Digests) {
		return 0, nil
	}
	var a Answer
	if err := r.readShard(tx, v.ShareSet, rank, &a); err != nil {
		return 0, err
	}
	switch {
	case a.State == ShardMissing:
		return HoleMissing, nil
	case a.State == ShardDamaged, shard.Check(a.Shard, v.ShareSet, rank, v.Digests[rank]) != nil:
		return HoleDamaged, nil
	}
	return 0, nil
}
