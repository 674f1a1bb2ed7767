package replica

import (
	"errors"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// decide does to this node's rows what a decision says: staged rows become
// live or go, superseded and destroyed shards go, a version that a COMMIT
// gives this node and whose shard is not here is a hole.
func (r *Replica) decide(tx store.Txn, d *meta.Decision, e int64, out *applied) error {
	committed := d.Status.State == meta.TxCommitted
	st, err := r.dropStaged(tx, d.Tx, out)
	if err != nil {
		return err
	}
	have := map[uint16]bool{}
	if st != nil {
		for _, o := range st.ops {
			switch {
			case committed && o.shard && int(o.op) < len(d.Ops) && d.Ops[o.op].HasShards:
				have[o.op] = true
			case o.shard:
				if err := r.dropShard(tx, dsv.ShareSet{Tx: d.Tx, Op: o.op}, out); err != nil {
					return err
				}
			}
		}
	}
	if !committed {
		return nil
	}
	rank := rankOf(d.Holders, r.cfg.Node)
	for _, o := range d.Ops {
		if err := r.dropGone(tx, o, out); err != nil {
			return err
		}
		if rank < 0 || !o.HasShards || have[o.Op] {
			continue
		}
		h := Hole{Path: o.Path, Version: o.Version, Set: o.ShareSet, Since: e, Reason: HoleMissing}
		if err := r.putHole(tx, d.Tx.Partition, h, out); err != nil {
			return err
		}
	}
	return nil
}

// dropGone removes shards and holes of share sets that a decision ended.
func (r *Replica) dropGone(tx store.Txn, o meta.DecidedOp, out *applied) error {
	for _, g := range o.Gone {
		if err := r.dropShard(tx, g.ShareSet, out); err != nil {
			return err
		}
		n, err := tx.Delete(holeKey(g.ShareSet.Tx.Partition, g.Path, g.Version))
		if err != nil {
			return err
		}
		out.delta.holes -= int64(n)
	}
	return nil
}

// dropStaged removes the staged rows of a transaction, not its shards, and
// returns what was staged, nil if nothing was.
func (r *Replica) dropStaged(tx store.Txn, t dsv.TxID, out *applied) (*staged, error) {
	st, err := readStaged(tx, t)
	if err != nil || st == nil {
		return nil, err
	}
	if _, err := tx.Delete(stagedKey(t)); err != nil {
		return nil, err
	}
	out.unstaged = append(out.unstaged, t)
	out.delta.staged--
	out.delta.bytes -= int64(st.bytes)
	return st, nil
}

func (r *Replica) dropShard(tx store.Txn, s dsv.ShareSet, out *applied) error {
	n, err := tx.Delete(shardKey(s))
	out.delta.shards -= int64(n)
	return err
}

func (r *Replica) putHole(tx store.Txn, p dsv.Partition, h Hole, out *applied) error {
	key := holeKey(p, h.Path, h.Version)
	_, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		out.delta.holes++
	} else if err != nil {
		return err
	}
	return tx.Put(store.Pair{Key: key, Value: h.encode()})
}

// sweep drops staged rows whose transaction never got a PREPARE in time, and
// leftovers of a decision that the apply loop found by itself while the stage
// was under way. At most sweepAtOnce a time.
func (r *Replica) sweep(tx store.Txn, p dsv.Partition, e int64, out *applied) error {
	for _, t := range r.part(p).index.older(e-overdue, sweepAtOnce) {
		status, err := meta.LookupTx(tx, t)
		if err != nil {
			return err
		}
		switch status.State {
		case meta.TxPending:
			continue
		case meta.TxCommitted: // cannot be: the latch orders stage and COMMIT; keep the shard if it is so
			_, err = r.dropStaged(tx, t, out)
		default:
			out.unstaged = append(out.unstaged, t) // also where a failed write left no row
			err = r.dropRefused(tx, t, out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const sweepAtOnce = 64

// dropRefused removes the staged rows and shards of a transaction.
func (r *Replica) dropRefused(tx store.Txn, t dsv.TxID, out *applied) error {
	st, err := r.dropStaged(tx, t, out)
	if err != nil || st == nil {
		return err
	}
	for _, o := range st.ops {
		if o.shard {
			if err := r.dropShard(tx, dsv.ShareSet{Tx: t, Op: o.op}, out); err != nil {
				return err
			}
		}
	}
	return nil
}

func rankOf(holders []dsv.NodeID, n dsv.NodeID) int {
	for i, h := range holders {
		if h == n {
			return i
		}
	}
	return -1
}
