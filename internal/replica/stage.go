package replica

import (
	"context"
	"errors"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/store"
)

// StageRequest asks a holder to store its shards and markers of one
// transaction durably. The caller's rights were judged before.
type StageRequest struct {
	Tx          dsv.TxID
	NS          dsv.Namespace
	Coordinator dsv.NodeID
	Incarnation dsv.Incarnation
	Ops         []StageOp
}

// StageOp is one operation at one holder. Shard is nil for a marker.
type StageOp struct {
	Op    uint16
	Kind  metapb.OpKind
	Key   dsv.Key
	Shard []byte
}

// Refusals of a holder.
var (
	ErrNotHolder      = dsv.E(dsv.KindInvalid, "not_holder", "this node is no holder of the namespace")
	ErrNotJoined      = &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, Detail: "this store has not joined the partition yet"}
	ErrTooEarly       = &dsv.Error{Kind: dsv.KindUnavailable, Code: "clock_ahead", Detail: "the transaction begins more than 10 s ahead of this node's log clock"}
	ErrTooLate        = dsv.E(dsv.KindConflict, "settled", "the transaction is decided or expired")
	ErrNotCoordinator = dsv.E(dsv.KindDenied, dsv.CodeDenied, "the transaction is another coordinator's")
	ErrStagedFull     = &dsv.Error{Kind: dsv.KindTooMany, Code: dsv.CodeTooMany, Detail: "too many bytes are staged here", RetryAfter: time.Second}
)

// Stage stores what a transaction gives this node and returns this store's id
// once it is durable: that is the acknowledgement. Repeating it is harmless.
// For a committed transaction it fills a hole (late fill).
func (r *Replica) Stage(ctx context.Context, q StageRequest) (dsv.StoreID, error) {
	if r.PartitionOf(q.NS) != q.Tx.Partition {
		return dsv.StoreID{}, dsv.Invalid("txid", "is of another partition than its namespace")
	}
	p := r.part(q.Tx.Partition)
	if err := r.Usable(q.Tx.Partition); err != nil {
		return dsv.StoreID{}, err
	}
	holders, err := r.Holders(q.NS)
	if err != nil {
		return dsv.StoreID{}, err
	}
	rank := rankOf(holders, r.cfg.Node)
	if rank < 0 {
		return dsv.StoreID{}, ErrNotHolder
	}
	if !p.joined.Load() {
		return dsv.StoreID{}, ErrNotJoined
	}
	r.awaitClock(ctx, p, q.Tx.T0)
	rows, bytes, err := r.stageRows(q, rank)
	if err != nil {
		return dsv.StoreID{}, err
	}
	unlock := r.latch.lock(q.Tx)
	defer unlock()
	return r.stageLatched(ctx, q, p, rank, rows, bytes)
}

// indexOps is what the index notes of a stage.
func indexOps(q StageRequest) []stagedOp {
	ops := make([]stagedOp, len(q.Ops))
	for i, o := range q.Ops {
		ops[i] = stagedOp{kind: o.Kind, key: o.Key}
	}
	return ops
}

// clockFor bounds how long a stage waits for this node's log clock.
const clockFor = 500 * time.Millisecond

// awaitClock lets a stage wait for the record that its coordinator took T0
// from: after a quiet time it can be here before that record is.
func (r *Replica) awaitClock(ctx context.Context, p *part, t0 int64) {
	if t0 <= p.estimate()+overdue {
		return
	}
	limit := time.NewTimer(clockFor)
	defer limit.Stop()
	for t0 > p.estimate()+overdue {
		c := p.until(p.getHead().Offset + 1)
		if c == nil {
			continue
		}
		select {
		case <-c:
			continue
		case <-limit.C:
		case <-ctx.Done():
		case <-r.done:
		}
		p.forget(c)
		return
	}
}

// stageRows seals the shards and makes the rows of a stage.
func (r *Replica) stageRows(q StageRequest, rank int) ([]store.Pair, int64, error) {
	st := staged{coordinator: q.Coordinator, incarnation: q.Incarnation, ns: q.NS}
	rows := make([]store.Pair, 0, 1+len(q.Ops))
	var bytes int64
	for _, o := range q.Ops {
		st.ops = append(st.ops, stagedOp{op: o.Op, kind: o.Kind, key: o.Key, shard: o.Shard != nil})
		if o.Shard == nil {
			continue
		}
		set := dsv.ShareSet{Tx: q.Tx, Op: o.Op}
		parsed, err := shard.Parse(o.Shard)
		if err != nil {
			return nil, 0, err
		}
		if parsed.Set() != set || parsed.Index() != rank {
			return nil, 0, dsv.Invalid("shard", "is of another share set or another holder")
		}
		row, err := r.seal.seal(set, rank, o.Shard)
		if err != nil {
			return nil, 0, err
		}
		bytes += int64(len(row))
		rows = append(rows, store.Pair{Key: shardKey(set), Value: row})
	}
	st.bytes = uint32(min(bytes, 1<<31))
	rows = append(rows, store.Pair{Key: stagedKey(q.Tx), Value: st.encode()})
	return rows, bytes, nil
}

func (r *Replica) stageLatched(ctx context.Context, q StageRequest, p *part, rank int, rows []store.Pair, bytes int64) (dsv.StoreID, error) {
	var status meta.TxStatus
	var again *staged
	e := p.getHead().E
	err := r.View(func(tx store.Txn) (err error) {
		if status, err = meta.LookupTxAt(tx, q.Tx, e); err == nil && p.index.has(q.Tx) {
			again, err = readStaged(tx, q.Tx)
		}
		return err
	})
	switch {
	case err != nil:
		return dsv.StoreID{}, err
	case status.State == meta.TxCommitted:
		return r.storeID, r.fill(ctx, q, rank)
	case status.State != meta.TxPending && status.State != meta.TxNone:
		return dsv.StoreID{}, ErrTooLate
	case again != nil && (again.coordinator != q.Coordinator || again.incarnation != q.Incarnation):
		return dsv.StoreID{}, ErrNotCoordinator
	case again != nil:
		return r.storeID, nil
	case status.State == meta.TxNone && q.Tx.T0+overdue < e:
		return dsv.StoreID{}, ErrTooLate
	case q.Tx.T0 > p.estimate()+overdue:
		return dsv.StoreID{}, ErrTooEarly
	}
	if r.stagedB.Add(bytes) > r.cfg.StagedBytes {
		r.stagedB.Add(-bytes)
		return dsv.StoreID{}, ErrStagedFull
	}
	p.index.begin(q.Tx, q.NS, indexOps(q))
	err = r.put(ctx, rows)
	p.index.written(q.Tx, err == nil || errors.Is(err, store.ErrUnknown))
	if err != nil {
		r.stagedB.Add(-bytes)
		return dsv.StoreID{}, err
	}
	r.stats.staged.Add(1)
	for _, o := range q.Ops {
		if o.Shard != nil {
			r.stats.shards.Add(1)
		}
	}
	return r.storeID, nil
}

// put writes rows without reading any. A caller that leaves does not end it:
// whether the rows are there must be known.
func (r *Replica) put(ctx context.Context, rows []store.Pair) error {
	tx, err := r.cfg.Store.Begin(store.ReadWrite)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	if err := tx.Put(rows...); err != nil {
		return storeError(err)
	}
	_, err = tx.Commit(context.WithoutCancel(ctx))
	return storeError(err)
}

// storeError gives the store's refusals the kinds users see.
func storeError(err error) error {
	switch {
	case errors.Is(err, store.ErrDiskFull):
		return &dsv.Error{Kind: dsv.KindDiskFull, Code: dsv.CodeDiskFull, Detail: "the disk of a holder is below its free-space floor", Err: err}
	case errors.Is(err, store.ErrTxnTooBig), errors.Is(err, store.ErrTooLarge):
		return &dsv.Error{Kind: dsv.KindTooLarge, Code: dsv.CodeTooLarge, Detail: "the request does not fit one store transaction", Err: err}
	}
	return err
}

// fill stores shards of a committed transaction where this node has a hole of
// the very same, still current share set.
func (r *Replica) fill(ctx context.Context, q StageRequest, rank int) error {
	for {
		err := r.fillOnce(ctx, q, rank)
		if !errors.Is(err, store.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

func (r *Replica) fillOnce(ctx context.Context, q StageRequest, rank int) error {
	tx, err := r.cfg.Store.Begin(store.ReadWrite)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	var filled, shards int64
	for _, o := range q.Ops {
		if o.Shard == nil {
			continue
		}
		n, err := r.fillOne(tx, q, o, rank)
		if err != nil {
			return err
		}
		filled += n.holes
		shards += n.shards
	}
	if filled == 0 {
		return nil
	}
	if _, err = tx.Commit(context.WithoutCancel(ctx)); err == nil {
		r.stats.holes.Add(-filled)
		r.stats.shards.Add(shards)
	}
	return storeError(err)
}

func (r *Replica) fillOne(tx store.Txn, q StageRequest, o StageOp, rank int) (deltas, error) {
	set := dsv.ShareSet{Tx: q.Tx, Op: o.Op}
	path := dsv.Path{NS: q.NS, Key: o.Key}
	hole, found, err := r.holeOfSet(tx, path, set)
	if err != nil || !found {
		return deltas{}, err
	}
	v, ok, err := meta.LookupVersion(tx, path, hole.Version)
	if err != nil {
		return deltas{}, err
	}
	if !ok || v.Destroyed || v.ShareSet != set || rank >= len(v.Digests) {
		return deltas{}, nil
	}
	if err := shard.Check(o.Shard, set, rank, v.Digests[rank]); err != nil {
		return deltas{}, err
	}
	row, err := r.seal.seal(set, rank, o.Shard)
	if err != nil {
		return deltas{}, err
	}
	d := deltas{holes: 1}
	if _, err := tx.Get(shardKey(set)); errors.Is(err, store.ErrNotFound) {
		d.shards = 1
	} else if err != nil {
		return deltas{}, err
	}
	if _, err := tx.Delete(holeKey(q.Tx.Partition, path, hole.Version)); err != nil {
		return deltas{}, err
	}
	return d, tx.Put(store.Pair{Key: shardKey(set), Value: row})
}

// holeOfSet finds this node's hole of one key that names a share set.
func (r *Replica) holeOfSet(tx store.Txn, path dsv.Path, set dsv.ShareSet) (h Hole, found bool, err error) {
	prefix := appendPath(holePrefix(set.Tx.Partition), path)
	err = scanAll(tx, prefix, func(it store.Item) error {
		x, err := decodeHole(it.Key, it.Value)
		if err == nil && x.Set == set {
			h, found = x, true
		}
		return err
	})
	return h, found, err
}

// Revoke drops what a coordinator staged here and never handed a COMMIT over
// for. Only the same incarnation of the same coordinator may; for a decided or
// unknown transaction it does nothing.
func (r *Replica) Revoke(ctx context.Context, from dsv.NodeID, inc dsv.Incarnation, t dsv.TxID) error {
	if int(t.Partition) >= len(r.parts) {
		return dsv.Invalid("txid", "is of a partition that does not exist")
	}
	unlock := r.latch.lock(t)
	defer unlock()
	for {
		err := r.revokeOnce(ctx, from, inc, t)
		if !errors.Is(err, store.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
}

func (r *Replica) revokeOnce(ctx context.Context, from dsv.NodeID, inc dsv.Incarnation, t dsv.TxID) error {
	tx, err := r.cfg.Store.Begin(store.ReadWriteReserve)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	st, err := readStaged(tx, t)
	if err != nil || st == nil {
		return err
	}
	if st.coordinator != from || st.incarnation != inc {
		return ErrNotCoordinator
	}
	status, err := meta.LookupTx(tx, t)
	if err != nil {
		return err
	}
	if status.State == meta.TxCommitted {
		return nil
	}
	out := &applied{}
	if err := r.dropRefused(tx, t, out); err != nil {
		return err
	}
	if _, err := tx.Commit(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	r.publish(out)
	return nil
}
