package store

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"time"

	"github.com/google/btree"
)

// txn is a Txn of either store.
type txn struct {
	c     *core
	mode  Mode
	class class
	over  error // why it cannot be used any more
	epoch *epoch
	view  view
	began time.Time

	writes *btree.BTreeG[*write] // by key; nil until the first
	bytes  int                   // of writes, see MaxTxnBytes

	reads  []uint64 // hashes of the keys read, with repetitions
	sorted int      // reads[:sorted] has none
	ranges []span   // scanned

	seen  []byte // the key read last, in the engine's form
	rev   uint64 // its revision in the snapshot, 0 for none
	key   []byte // scratch for the engine's form of a key
	pivot write  // scratch for a look-up in writes
}

// write is what a transaction does to a key.
type write struct {
	row
	base Condition // what the committed state must be
}

func writeLess(a, b *write) bool { return bytes.Compare(a.key, b.key) < 0 }

// check admits an operation.
func (t *txn) check() error {
	if t.over != nil {
		return t.over
	}
	if t.dead() || time.Since(t.began) > t.c.oracle.ages[t.class] {
		t.finish(ErrExpired)
		return ErrExpired
	}
	return nil
}

func (t *txn) dead() bool { return t.epoch.dead[t.class].Load() }

// finish lets go of everything; over is what later operations return.
func (t *txn) finish(over error) {
	t.c.oracle.end(t.epoch, t.class)
	t.over, t.view, t.writes, t.reads, t.ranges = over, nil, nil, nil, nil
}

// read runs fn on the view, unless the transaction is over or expired
// meanwhile: then what fn saw may lack something.
func (t *txn) read(fn func(view) error) error {
	if err := t.c.enter(); err != nil {
		return err
	}
	err := fn(t.view)
	t.c.leave()
	if t.dead() {
		t.finish(ErrExpired)
		return ErrExpired
	}
	return err
}

// Get returns one item.
func (t *txn) Get(key []byte) (Item, error) {
	if err := t.check(); err != nil {
		return Item{}, err
	}
	if len(key) == 0 {
		return Item{}, ErrEmptyKey
	}
	t.key = userKey(t.key[:0], key)
	return t.get(t.key)
}

// get looks a key in the engine's form up in the transaction, then in its
// snapshot, and tracks it.
func (t *txn) get(key []byte) (Item, error) {
	if w := t.written(key); w != nil {
		if w.del {
			return Item{}, ErrNotFound
		}
		return newItem(w.key, w.value, 0), nil
	}
	if t.class == writer {
		t.track(maphash.Bytes(t.c.seed, key))
	}
	if err := t.c.enter(); err != nil {
		return Item{}, err
	}
	item, err := t.view.get(key)
	t.c.leave()
	if t.dead() {
		t.finish(ErrExpired)
		return Item{}, ErrExpired
	}
	if t.class == writer && (err == nil || errors.Is(err, ErrNotFound)) {
		t.seen, t.rev = append(t.seen[:0], key...), item.Revision // who reads a row often removes it next
	}
	return item, err
}

// written is the transaction's own write of a key, if it has one.
func (t *txn) written(key []byte) *write {
	if t.writes == nil {
		return nil
	}
	t.pivot.key = key
	w, _ := t.writes.Get(&t.pivot)
	return w
}

// track remembers that a key was read.
func (t *txn) track(hash uint64) {
	if len(t.reads) >= 2*t.sorted+64 {
		slices.Sort(t.reads)
		t.reads = slices.Compact(t.reads)
		t.sorted = len(t.reads)
	}
	t.reads = append(t.reads, hash)
}

// trackRange remembers that lo <= key < hi was scanned.
func (t *txn) trackRange(lo, hi []byte) {
	if t.class != writer {
		return
	}
	if n := len(t.ranges); n > 0 && bytes.Equal(t.ranges[n-1].hi, lo) {
		t.ranges[n-1].hi = hi
		return
	}
	t.ranges = append(t.ranges, span{lo: lo, hi: hi})
}

// newItem copies a row of the engine.
func newItem(key, value []byte, rev uint64) Item {
	key = key[1:]
	buf := make([]byte, len(key)+len(value))
	copy(buf, key)
	copy(buf[len(key):], value)
	return Item{Key: buf[:len(key):len(key)], Value: buf[len(key):], Revision: rev}
}

// Commit hands the writes to the committer and waits for its answer.
func (t *txn) Commit(ctx context.Context) (uint64, error) { return t.commit(ctx, true) }

// CommitNoSync is Commit that does not wait for the disk.
func (t *txn) CommitNoSync(ctx context.Context) (uint64, error) { return t.commit(ctx, false) }

func (t *txn) commit(ctx context.Context, sync bool) (uint64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	if t.writes == nil || t.writes.Len() == 0 {
		rev := newestRevision(t.epoch.tick)
		t.finish(ErrEnded)
		return rev, nil
	}
	r := t.request()
	r.sync = sync
	defer t.finish(ErrEnded)
	if r.puts {
		if err := t.c.floor.check(int64(t.bytes), t.mode == ReadWriteReserve); err != nil {
			return 0, err
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := t.c.queue.add(r); err != nil {
		return 0, err
	}
	select {
	case <-r.done:
		return r.rev, r.err
	case <-ctx.Done():
	}
	if r.withdraw() {
		return 0, ctx.Err()
	}
	select {
	case <-r.done: // both were ready
		return r.rev, r.err
	default:
		return 0, ErrUnknown
	}
}

// request flattens the transaction for the committer.
func (t *txn) request() *request {
	r := &request{
		epoch: t.epoch, reads: t.reads, ranges: coalesce(t.ranges),
		rows: make([]row, 0, t.writes.Len()), done: make(chan struct{}),
	}
	t.writes.Ascend(func(w *write) bool {
		if w.base != (Condition{}) {
			r.conds = append(r.conds, cond{len(r.rows), w.base})
		}
		r.puts = r.puts || !w.del
		r.cost += t.c.eng.cost(w.key, w.value)
		r.rows = append(r.rows, w.row)
		return true
	})
	r.events = encodeEvents(t.c.opt.Watched, r.rows)
	if r.events != nil {
		r.cost += t.c.eng.cost(eventKey(0), r.events)
	}
	return r
}

// Abort drops the transaction.
func (t *txn) Abort() error {
	if t.over == ErrEnded {
		return ErrEnded
	}
	if t.over == nil {
		t.finish(ErrEnded)
	}
	t.over = ErrEnded
	return nil
}
