package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// openStoreID reads the store's id, or gives it a new one where there is none,
// the last close was not clean, or another process took this node's place
// meanwhile: an id comes into force once only.
func (r *Replica) openStoreID() error {
	tx, err := r.cfg.Store.Begin(store.ReadWriteReserve)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	it, err := tx.Get(storeIDKey)
	switch {
	case err == nil && len(it.Value) == len(r.storeID) && r.cfg.Clean:
		copy(r.storeID[:], it.Value)
		replaced, err := r.wasReplaced(tx)
		if err != nil || !replaced {
			return err
		}
		r.cfg.Clean = false
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	r.storeID = dsv.NewStoreID()
	if err := tx.Put(store.Pair{Key: storeIDKey, Value: r.storeID[:]}); err != nil {
		return err
	}
	_, err = tx.Commit(context.Background())
	return err
}

func (r *Replica) wasReplaced(tx store.Txn) (bool, error) {
	for _, p := range r.parts {
		if yes, err := meta.Replaced(tx, p.id, r.storeID); err != nil || yes {
			return yes, err
		}
	}
	return false, nil
}

// joinEvery is the pause before a JOIN that did not take effect is looked at
// again.
const joinEvery = 200 * time.Millisecond

// joinLoop puts this store's id into every partition where it is not in force:
// read on to the log's end, then append JOIN naming the id in force there; a
// void one is appended anew with the id that is current then.
func (r *Replica) joinLoop(ctx context.Context) {
	tick := time.NewTicker(joinEvery)
	defer tick.Stop()
	sent := map[dsv.Partition]int64{} // applied offset at which a JOIN was sent
	ends := map[dsv.Partition]int64{}
	for {
		missing := 0
		for _, p := range r.parts {
			if p.joined.Load() || p.diverged.Load() != nil {
				continue
			}
			missing++
			r.joinOne(ctx, p, sent, ends)
		}
		if !r.control.joined.Load() && r.control.diverged.Load() == nil {
			missing++
			if r.caughtUp(ctx, r.control, ends) {
				r.control.joined.Store(true)
			}
		}
		if missing == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// caughtUp reports whether a partition is applied up to where the log ended
// when this process first asked.
func (r *Replica) caughtUp(ctx context.Context, p *part, ends map[dsv.Partition]int64) bool {
	if _, ok := ends[p.id]; !ok {
		end, err := r.cfg.Log.EndOffset(ctx, p.id)
		if err != nil {
			return false
		}
		ends[p.id] = end
	}
	return p.getHead().Offset >= ends[p.id]-1
}

func (r *Replica) joinOne(ctx context.Context, p *part, sent, ends map[dsv.Partition]int64) {
	if !r.caughtUp(ctx, p, ends) || p.conf.Load() == nil {
		return
	}
	applied := p.getHead().Offset
	if at, ok := sent[p.id]; ok && applied <= at && !p.joinLost.Swap(false) {
		return // the one sent is still on its way
	}
	var replaces []byte
	err := r.View(func(tx store.Txn) error {
		id, ok, err := meta.StoreID(tx, p.id, r.cfg.Node)
		if ok {
			replaces = id[:]
		}
		return err
	})
	if err != nil {
		return
	}
	rec := &metapb.Record{Version: 1, Body: &metapb.Record_Join{Join: &metapb.Join{
		Node: string(r.cfg.Node), StoreId: r.storeID[:], Replaces: replaces,
	}}}
	err = r.append(p.id, rec, func(_ int64, err error) {
		if err != nil {
			p.joinLost.Store(true)
		}
	})
	if err == nil {
		sent[p.id] = applied
	}
}

// append encodes a record and hands it over.
func (r *Replica) append(p dsv.Partition, rec *metapb.Record, done func(int64, error)) error {
	body, err := meta.Encode(rec)
	if err != nil {
		return err
	}
	return r.cfg.Log.Append(p, body, done)
}

// Ready reports whether this node may serve: every partition has its CONFIG
// and this store's JOIN, and the settings are read up to where they ended at
// the start. The error says what is missing.
func (r *Replica) Ready() error {
	if err := r.Err(); err != nil {
		return err
	}
	conf, join := 0, 0
	for _, p := range r.parts {
		if d := p.diverged.Load(); d != nil {
			return fmt.Errorf("partition %d diverged: %s", p.id, *d)
		}
		if p.conf.Load() == nil {
			conf++
		}
		if !p.joined.Load() {
			join++
		}
	}
	switch {
	case conf > 0:
		return fmt.Errorf("%d of %d partitions without CONFIG: still reading the log, or run dsvctl init", conf, len(r.parts))
	case join > 0:
		return fmt.Errorf("this store has not joined %d of %d partitions yet", join, len(r.parts))
	}
	if d := r.control.diverged.Load(); d != nil {
		return fmt.Errorf("the control topic diverged: %s", *d)
	}
	if !r.control.joined.Load() {
		return errors.New("the settings in the control topic are not read to their end yet")
	}
	return nil
}

// Diverged is why a partition stopped, "" while it is sound.
func (r *Replica) Diverged(p dsv.Partition) string {
	if d := r.part(p).diverged.Load(); d != nil {
		return *d
	}
	return ""
}

// Judging refuses to judge callers by settings that have stopped: a token
// revoked since would be good for ever.
func (r *Replica) Judging() error {
	if d := r.Diverged(commitlog.Control); d != "" {
		return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeLogDiverged, Detail: "this node's copy of the settings diverged: " + d}
	}
	return nil
}

// Usable refuses work on a partition that stopped.
func (r *Replica) Usable(p dsv.Partition) error {
	if err := r.Err(); err != nil {
		return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, Detail: "this node has stopped", Err: err}
	}
	if d := r.Diverged(p); d != "" {
		return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeLogDiverged, Detail: "this node's copy of the log diverged: " + d}
	}
	return nil
}
