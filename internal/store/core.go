package store

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
)

// core is the transaction layer; each store is a core over its engine.
type core struct {
	eng    engine
	opt    Options
	seed   maphash.Seed
	oracle oracle
	floor  *floor

	nodes   *btree.FreeListG[*write] // keeps none; it spares each transaction its own
	queue   queue
	hist    history
	log     eventLog
	syncs   int                   // of the committer
	syncBy  time.Time             // of the committer: when what was applied and not synced has to be; zero: there is none
	since   []uint64              // by opt.Watched: all its events after this revision were kept
	failed  atomic.Pointer[error] // why commits are refused
	stop    chan struct{}         // closed first at Close
	stopped sync.WaitGroup        // the goroutines of the store

	gate   sync.RWMutex // read-held while the engine is read; closed under it
	closed bool
	once   sync.Once
	err    error // of Close
}

// newCore starts the layer over an engine, which it closes if it fails.
func newCore(eng engine, opt Options) (*core, error) {
	c := &core{
		eng: eng, opt: opt,
		seed:  maphash.MakeSeed(),
		floor: newFloor(opt),
		nodes: btree.NewFreeListG[*write](0),
		hist:  history{last: map[uint64]uint64{}, max: maxHistory},
		stop:  make(chan struct{}),
	}
	c.queue.wake = make(chan struct{}, 1)
	c.oracle.init(eng, opt)
	if err := c.loadEvents(); err != nil {
		return nil, err
	}
	c.eng.discard(c.oracle.newest())
	c.stopped.Go(c.commitLoop)
	return c, nil
}

// Begin starts a transaction on the newest committed state.
func (c *core) Begin(mode Mode) (Txn, error) {
	t, err := c.begin(mode)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (c *core) begin(mode Mode) (*txn, error) {
	select {
	case <-c.stop:
		return nil, ErrClosed
	default:
	}
	t := &txn{c: c, mode: mode, began: time.Now(), class: reader}
	if mode != ReadOnly {
		t.class = writer
	}
	t.epoch, t.view = c.oracle.begin(t.class, t.began)
	return t, nil
}

// Revision is that of the newest commit, 0 in a new store.
func (c *core) Revision() uint64 { return newestRevision(c.oracle.newest()) }

// Watch follows the registered ranges that overlap the prefixes; no prefix
// means all of them.
func (c *core) Watch(ctx context.Context, from Start, prefixes ...[]byte) (*Watcher, error) {
	return c.watch(ctx, from, prefixes)
}

// close ends everything; last runs after the engine was closed.
func (c *core) close(last func(error) error) error {
	c.once.Do(func() {
		close(c.stop)
		c.queue.close()
		c.stopped.Wait()
		c.gate.Lock()
		c.closed = true
		c.gate.Unlock()
		c.err = last(c.eng.close())
	})
	return c.err
}

// enter admits a read of the engine; leave must follow.
func (c *core) enter() error {
	c.gate.RLock()
	if c.closed {
		c.gate.RUnlock()
		return ErrClosed
	}
	return nil
}

func (c *core) leave() { c.gate.RUnlock() }

// fail refuses commits from now on: the engine is in a state nobody knows.
func (c *core) fail(err error) { c.failed.CompareAndSwap(nil, &err) }
