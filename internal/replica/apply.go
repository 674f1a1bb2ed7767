package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// digestEvery is the distance of the offsets at which state digests are
// compared between nodes.
const digestEvery = 256

// applyLoop reads the log and applies it. What it applies at once goes into
// one store transaction with the positions. Nobody waits for that to reach the
// disk: the log has the records, and a store that a crash of the machine has
// set back is at a position it has been at, takes a new id, as after any
// unclean close, and reads on from there.
func (r *Replica) applyLoop(ctx context.Context) {
	f := newFeed(r)
	for ctx.Err() == nil {
		records, err := f.next(ctx)
		began := time.Now()
		if err == nil {
			if err = r.applySome(ctx, records); err != nil {
				err = fmt.Errorf("apply: %w", err)
			}
		}
		if err != nil {
			if ctx.Err() == nil {
				r.fail(err)
			}
			return
		}
		end := time.Now()
		f.rest = end.Add(min(end.Sub(began), maxRest))
	}
}

// applySome applies records in one transaction, or in halves where one is too
// big or took too long. A conflict means that a stage came between: it is done
// again.
func (r *Replica) applySome(ctx context.Context, records []entry) error {
	err := r.applyLatched(ctx, records)
	if len(records) > 1 && (errors.Is(err, store.ErrTxnTooBig) || errors.Is(err, store.ErrExpired)) {
		half := len(records) / 2
		if err := r.applySome(ctx, records[:half]); err != nil {
			return err
		}
		return r.applySome(ctx, records[half:])
	}
	return err
}

func (r *Replica) applyLatched(ctx context.Context, records []entry) error {
	var latched []dsv.TxID
	for _, rec := range records {
		if t, ok := decides(rec.m); ok {
			latched = append(latched, t)
		}
	}
	defer r.latch.lockAll(latched)()
	for {
		out, err := r.applyTxn(ctx, records)
		switch {
		case err == nil:
			r.publish(out)
			return out.fatal
		case errors.Is(err, store.ErrConflict):
			continue
		}
		return err
	}
}

func decode(rec commitlog.Record) *metapb.Record {
	if rec.Body == nil {
		return nil
	}
	m, err := meta.Decode(rec.Body)
	if err != nil {
		return nil
	}
	return m
}

// decides tells the transaction whose decision a record can be.
func decides(m *metapb.Record) (dsv.TxID, bool) {
	var id []byte
	switch b := m.GetBody().(type) {
	case *metapb.Record_Commit:
		id = b.Commit.GetTxid()
	case *metapb.Record_Abort:
		id = b.Abort.GetTxid()
	default:
		return dsv.TxID{}, false
	}
	t, err := dsv.TxIDFromBytes(id)
	return t, err == nil
}

// applied is what one store transaction did, told after its commit.
type applied struct {
	heads    map[dsv.Partition]meta.Head
	confs    map[dsv.Partition]meta.Config
	digests  []meta.Head     // at offsets divisible by 256
	joined   []dsv.Partition // by this store
	joins    []dsv.Partition // by any
	epochs   map[dsv.Partition]string
	unstaged []dsv.TxID // whose rows are gone or live
	events   []Event
	settings bool
	delta    deltas
	fatal    error
}

// deltas of the counters.
type deltas struct{ shards, holes, staged, bytes int64 }

func (r *Replica) applyTxn(ctx context.Context, records []entry) (*applied, error) {
	tx, err := r.cfg.Store.Begin(store.ReadWriteReserve)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Abort() }()
	out := &applied{
		heads: map[dsv.Partition]meta.Head{}, confs: map[dsv.Partition]meta.Config{}, epochs: map[dsv.Partition]string{},
	}
	run := meta.NewRun(tx)
	epochs := map[dsv.Partition]commitlog.Record{}
	for _, rec := range records {
		if r.part(rec.Partition).diverged.Load() != nil {
			continue
		}
		epochs[rec.Partition] = rec.Record
		if rec.Partition == commitlog.Control {
			err = r.applySetting(tx, rec.Record, rec.m, out)
		} else {
			err = r.applyRecord(tx, run, rec.Record, rec.m, out)
		}
		if err != nil {
			return nil, fmt.Errorf("partition %d offset %d: %w", rec.Partition, rec.Offset, err)
		}
	}
	if err := run.Flush(); err != nil {
		return nil, err
	}
	for p, h := range out.heads {
		if p == commitlog.Control {
			continue
		}
		if err := r.sweep(tx, p, h.E, out); err != nil {
			return nil, err
		}
	}
	for p, rec := range epochs {
		if err := r.putEpoch(tx, p, rec, out); err != nil {
			return nil, err
		}
	}
	if _, err := tx.CommitNoSync(ctx); err != nil {
		return nil, err
	}
	return out, nil
}

// putEpoch notes leader epoch and topic of the newest record where they are not
// those that this process noted last.
func (r *Replica) putEpoch(tx store.Txn, p dsv.Partition, rec commitlog.Record, out *applied) error {
	topic := r.cfg.Log.TopicID(p)
	row := binary.BigEndian.AppendUint32(make([]byte, 0, 20), uint32(rec.Epoch))
	row = append(row, topic[:]...)
	if known := r.part(p).epoch.Load(); known != nil && *known == string(row) {
		return nil
	}
	out.epochs[p] = string(row)
	return tx.Put(store.Pair{Key: epochKey(p), Value: row})
}

// cursors are the places to read on from.
func (r *Replica) cursors() (map[dsv.Partition]commitlog.Cursor, error) {
	from := map[dsv.Partition]commitlog.Cursor{}
	err := r.View(func(tx store.Txn) error {
		for _, p := range append([]*part{r.control}, r.parts...) {
			c := commitlog.Cursor{Next: p.getHead().Offset + 1}
			it, err := tx.Get(epochKey(p.id))
			switch {
			case err == nil && len(it.Value) == 20:
				c.Epoch = int32(binary.BigEndian.Uint32(it.Value))
				copy(c.TopicID[:], it.Value[4:])
			case err != nil && !errors.Is(err, store.ErrNotFound):
				return err
			}
			from[p.id] = c
		}
		return nil
	})
	return from, err
}

func (r *Replica) applyRecord(tx store.Txn, run *meta.Run, rec commitlog.Record, m *metapb.Record, out *applied) error {
	eff, err := run.Apply(meta.Input{
		Partition: rec.Partition, Offset: rec.Offset, AppendTime: rec.AppendTime, Incarnation: rec.Incarnation, Record: m,
	})
	if err != nil {
		return err
	}
	pos := dsv.Position{Partition: rec.Partition, Offset: rec.Offset}
	for i := range eff.Decisions {
		d := &eff.Decisions[i]
		if err := r.decide(tx, d, eff.Head.E, out); err != nil {
			return err
		}
		out.events = append(out.events, Event{Tx: d.Tx, Decided: d, Position: pos})
	}
	if rec.Incarnation == r.cfg.Incarnation {
		r.noteOwn(m, eff, pos, out)
	}
	if eff.Config != nil {
		if err := r.checkConfig(*eff.Config); err != nil {
			return err
		}
		out.confs[rec.Partition] = *eff.Config
	}
	if j := eff.Join; j != nil {
		out.joins = append(out.joins, rec.Partition)
		switch {
		case j.Node != r.cfg.Node:
		case j.StoreID == r.storeID:
			out.joined = append(out.joined, rec.Partition)
		case j.Replaces == r.storeID:
			out.fatal = fmt.Errorf("store %s of this node was replaced by %s: another process runs as %s", r.storeID, j.StoreID, j.Node)
		}
	}
	out.heads[rec.Partition] = eff.Head
	if eff.Head.Offset%digestEvery == 0 {
		out.digests = append(out.digests, eff.Head)
	}
	return nil
}

// noteOwn tells followers that a PREPARE of this process became pending, or
// that a PREPARE or COMMIT of it was void; who else writes under their ids
// tells them nothing.
func (r *Replica) noteOwn(m *metapb.Record, eff meta.Effects, pos dsv.Position, out *applied) {
	if eff.Prepared != nil {
		if r.wait.wants(*eff.Prepared) {
			out.events = append(out.events, Event{Tx: *eff.Prepared, Prepared: true, Position: pos})
		}
		return
	}
	if eff.Void == "" || m == nil {
		return
	}
	var id []byte
	kind := byte('P')
	switch b := m.GetBody().(type) {
	case *metapb.Record_Prepare:
		id = b.Prepare.GetTxid()
	case *metapb.Record_Commit:
		id, kind = b.Commit.GetTxid(), 'C'
	default:
		return
	}
	if t, err := dsv.TxIDFromBytes(id); err == nil && r.wait.wants(t) {
		out.events = append(out.events, Event{Tx: t, Void: eff.Void, Record: kind, Position: pos})
	}
}

// checkConfig refuses a cluster that is not the one this node is configured
// for: holders and quorums come from the log alone.
func (r *Replica) checkConfig(c meta.Config) error {
	bad := func(what string, log, own any) error {
		return fmt.Errorf("this node's configuration differs from the CONFIG in the log: %s is %v there and %v here", what, log, own)
	}
	switch {
	case c.ClusterID != r.cfg.ClusterID:
		return bad("cluster.id", c.ClusterID, r.cfg.ClusterID)
	case c.Q != r.cfg.Quorum:
		return bad("quorum", c.Q, r.cfg.Quorum)
	case c.Partitions != r.cfg.Partitions:
		return bad("log.partitions", c.Partitions, r.cfg.Partitions)
	case !sameMembers(c.Members, r.cfg.Members):
		return bad("members", c.Members, r.cfg.Members)
	}
	return nil
}

func sameMembers(a, b []dsv.NodeID) bool {
	if len(a) != len(b) {
		return false
	}
	in := map[dsv.NodeID]bool{}
	for _, x := range a {
		in[x] = true
	}
	for _, x := range b {
		if !in[x] {
			return false
		}
	}
	return true
}

// publish tells memory and waiters what is committed now.
func (r *Replica) publish(out *applied) {
	for p, row := range out.epochs {
		r.part(p).epoch.Store(&row)
	}
	for _, t := range out.unstaged {
		r.part(t.Partition).index.remove(t)
	}
	r.stats.shards.Add(out.delta.shards)
	r.stats.holes.Add(out.delta.holes)
	r.stats.staged.Add(out.delta.staged)
	r.stagedB.Add(out.delta.bytes)
	for p, c := range out.confs {
		r.part(p).conf.Store(&c)
	}
	if err := r.refresh(out); err != nil {
		out.fatal = err
	}
	for _, p := range out.joined {
		r.part(p).joined.Store(true)
	}
	for _, h := range out.digests {
		r.part(h.Partition).setDigest(h.Offset, h.Digest)
	}
	for p, h := range out.heads {
		r.part(p).setHead(h)
	}
	for _, e := range out.events {
		r.heads.add(e)
	}
	r.wait.publish(out.events)
}

// refresh reads anew what memory holds of store ids and settings.
func (r *Replica) refresh(out *applied) error {
	if len(out.joins) == 0 && !out.settings {
		return nil
	}
	return r.View(func(tx store.Txn) error {
		for _, p := range out.joins {
			if err := r.loadStores(tx, p); err != nil {
				return err
			}
		}
		if out.settings {
			return r.loadSettings(tx)
		}
		return nil
	})
}

// overdue is how long after T0 a transaction without a PREPARE is expired.
const overdue = int64(10 * time.Second / time.Microsecond)
