package replica

import (
	"context"
	"errors"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/store"
)

// ShardState is what a holder says of the shard it was asked for.
type ShardState uint8

// States of a shard at its holder.
const (
	ShardNotAsked ShardState = iota
	ShardGood
	ShardMissing
	ShardDamaged
)

func (s ShardState) String() string {
	return [...]string{"not-asked", "good", "missing", "damaged"}[min(s, 3)]
}

// FetchRequest asks a holder for its answer about one key, and for its shard
// of one share set where Set is not zero.
type FetchRequest struct {
	Path dsv.Path
	Set  dsv.ShareSet
	// Probe asks for the shard's state only, not its bytes.
	Probe bool
}

// Answer is a holder's: ONE snapshot, taken after the request.
type Answer struct {
	Store   dsv.StoreID
	Decided int64      // d: log offset of the newest decided change of the key in the holder's prefix, -1 = none
	Staged  []dsv.TxID // S: every transaction staged here for the key and undecided in that prefix, repairs left out
	State   ShardState
	Shard   []byte
}

// Fetch answers from one snapshot. A store that has not applied its own JOIN
// in the key's partition refuses: it may have lost what it once acknowledged.
func (r *Replica) Fetch(_ context.Context, q FetchRequest) (Answer, error) {
	p := r.PartitionOf(q.Path.NS)
	if err := r.Usable(p); err != nil {
		return Answer{}, err
	}
	holders, err := r.Holders(q.Path.NS)
	if err != nil {
		return Answer{}, err
	}
	rank := rankOf(holders, r.cfg.Node)
	if rank < 0 {
		return Answer{}, ErrNotHolder
	}
	if !r.part(p).joined.Load() {
		return Answer{}, ErrNotJoined
	}
	a := Answer{Store: r.storeID, Decided: -1}
	a.Staged = r.part(p).index.of(q.Path) // S before the snapshot: see stagedIndex
	err = r.View(func(tx store.Txn) error {
		s, ok, err := meta.SecretIn(tx, p, q.Path)
		if err != nil {
			return err
		}
		if ok {
			a.Decided = s.ChangedOffset
		}
		if q.Set.IsZero() {
			return nil
		}
		return r.readShard(tx, q.Set, rank, &a)
	})
	if err == nil && (a.State == ShardDamaged || a.State == ShardMissing) {
		r.doubt(q.Path, q.Set, a.State)
	}
	if q.Probe {
		a.Shard = nil
	}
	return a, err
}

func (r *Replica) readShard(tx store.Txn, set dsv.ShareSet, rank int, a *Answer) error {
	it, err := tx.Get(shardKey(set))
	if errors.Is(err, store.ErrNotFound) {
		a.State = ShardMissing
		return nil
	}
	if err != nil {
		return err
	}
	b, err := r.seal.open(set, rank, it.Value)
	if err != nil {
		a.State = ShardDamaged
		return nil
	}
	if s, err := shard.Parse(b); err != nil || s.Set() != set || s.Index() != rank {
		a.State = ShardDamaged
		return nil
	}
	a.State, a.Shard = ShardGood, b
	return nil
}
