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

// applyAtOnce bounds the records of one store transaction.
const applyAtOnce = 1024

// digestEvery is the distance of the offsets at which state digests are
// compared between nodes.
const digestEvery = 256

// applyLoop reads the log and applies it: all whole records of a fetch that
// fit go into one store transaction with their positions.
func (r *Replica) applyLoop(ctx context.Context) {
	var last time.Time // when the newest transaction began
	for ctx.Err() == nil {
		records, err := r.pollSome(ctx, last)
		last = time.Now()
		for len(records) > 0 && err == nil {
			n := min(len(records), applyAtOnce)
			if err = r.applySome(ctx, records[:n]); err != nil {
				err = fmt.Errorf("apply: %w", err)
			}
			records = records[n:]
		}
		if err != nil {
			if ctx.Err() == nil {
				r.fail(err)
			}
			return
		}
	}
}

const (
	// inertWait is how long a fetch of nothing but PREPAREs waits for what
	// follows: a PREPARE decides nothing, and its COMMIT is on its way.
	inertWait = 3 * time.Millisecond
	// applySpacing is the least time between two transactions of a busy log:
	// fewer and larger ones cost fewer syncs of the disk and less of everything.
	applySpacing = 3 * time.Millisecond
	company      = 4 // records of one fetch that make a log busy
)

// pollSome returns the records of a fetch, and those that come while it is
// worth to wait for more.
func (r *Replica) pollSome(ctx context.Context, last time.Time) ([]entry, error) {
	records, err := r.poll(ctx)
	if err != nil || len(records) == 0 {
		return records, err
	}
	until := time.Now().Add(inertWait)
	if !inert(records) {
		if len(records) < company {
			return records, nil
		}
		until = last.Add(applySpacing)
	}
	for len(records) < applyAtOnce {
		left := time.Until(until)
		if left <= 0 {
			return records, nil
		}
		wait, cancel := context.WithTimeout(ctx, left)
		more, err := r.poll(wait)
		cancel()
		records = append(records, more...)
		switch {
		case err != nil && wait.Err() == nil:
			return records, err
		case err != nil:
			return records, ctx.Err()
		case !inert(more) && len(records) < company:
			return records, nil
		}
	}
	return records, nil
}

// entry is a record as it lies in the log and as it reads; m is nil where it is
// void.
type entry struct {
	commitlog.Record
	m *metapb.Record
}

// inert reports whether records only announce what others will decide.
func inert(records []entry) bool {
	for _, rec := range records {
		if _, ok := rec.m.GetBody().(*metapb.Record_Prepare); !ok {
			return false
		}
	}
	return true
}

// poll is one fetch. Partitions that diverged stop here.
func (r *Replica) poll(ctx context.Context) ([]entry, error) {
	batch, err := r.cfg.Log.Poll(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	for _, d := range batch.Diverged {
		reason := d.Reason
		r.part(d.Partition).diverged.Store(&reason)
		r.cfg.Logger.Error("partition stops: log diverged", "partition", d.Partition, "reason", reason)
	}
	out := make([]entry, len(batch.Records))
	for i, rec := range batch.Records {
		out[i] = entry{rec, decode(rec)}
	}
	return out, nil
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

// applied is what one store transaction did, told after it is durable.
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
	epochs := map[dsv.Partition]commitlog.Record{}
	for _, rec := range records {
		if r.part(rec.Partition).diverged.Load() != nil {
			continue
		}
		epochs[rec.Partition] = rec.Record
		if rec.Partition == commitlog.Control {
			err = r.applySetting(tx, rec.Record, rec.m, out)
		} else {
			err = r.applyRecord(tx, rec.Record, rec.m, out)
		}
		if err != nil {
			return nil, fmt.Errorf("partition %d offset %d: %w", rec.Partition, rec.Offset, err)
		}
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
	if _, err := tx.Commit(ctx); err != nil {
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

func (r *Replica) applyRecord(tx store.Txn, rec commitlog.Record, m *metapb.Record, out *applied) error {
	eff, err := meta.Apply(tx, meta.Input{
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

// publish tells memory and waiters what is durable now.
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
