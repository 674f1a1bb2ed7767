package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// Config of a replica. Everything but Logger is required.
type Config struct {
	Node       dsv.NodeID
	ClusterID  string
	Members    []dsv.NodeID
	Quorum     dsv.Quorum
	Partitions int
	Store      store.Store
	Log        *commitlog.Log
	RowKey     dsv.Secret // 32 bytes, derived from the node's root key
	// Clean tells that the store was closed cleanly, or is this node's very
	// first; otherwise the store takes a new id and is audited.
	Clean       bool
	Incarnation dsv.Incarnation
	StagedBytes int64 // bound on staged shards; beyond it staging answers 429
	Logger      *slog.Logger
}

// Replica is one node's copy. Start before use, Close after.
type Replica struct {
	cfg     Config
	seal    sealer
	latch   *latches
	wait    *waiters
	parts   []*part
	control *part
	book    atomic.Pointer[auth.Book]
	storeID dsv.StoreID
	stagedB atomic.Int64
	stats   counters
	places  places
	heads   heads
	audits  chan struct{} // closed when the audit after an unclean close is done

	cancel  context.CancelFunc
	ownMu   sync.Mutex // guards ended, and that nothing joins wg after it
	ended   bool
	wg      sync.WaitGroup
	suspect chan suspicion
	failed  chan struct{} // it stopped by itself
	done    chan struct{} // it stopped
	fatal   atomic.Pointer[error]
	closing sync.Once
	stopped sync.Once
}

type counters struct {
	shards, holes, staged, damaged atomic.Int64
}

// New reads what the store holds; it starts nothing. After no clean close it
// reads all metadata, and ErrDamaged is what it may find.
func New(cfg Config) (*Replica, error) {
	if err := cfg.Quorum.Validate(); err != nil {
		return nil, err
	}
	if cfg.RowKey.Len() != 32 {
		return nil, errors.New("replica: row key is not 32 bytes long")
	}
	if cfg.Partitions < 1 || cfg.Partitions >= int(commitlog.Control) {
		return nil, dsv.Invalid("log.partitions", "must be 1 to 65534")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Replica{
		cfg:    cfg,
		seal:   sealer{base: cfg.RowKey.Reveal(), node: cfg.Node},
		latch:  newLatches(),
		wait:   newWaiters(),
		failed: make(chan struct{}),
		done:   make(chan struct{}),
		audits: make(chan struct{}),

		suspect: make(chan suspicion, maxSuspects),
	}
	for p := range cfg.Partitions {
		r.parts = append(r.parts, &part{id: dsv.Partition(p), index: newStagedIndex()})
	}
	r.control = &part{id: commitlog.Control}
	if err := r.openStoreID(); err != nil {
		return nil, err
	}
	if !r.cfg.Clean {
		if err := r.verify(); err != nil {
			return nil, err
		}
	}
	if err := r.View(r.load); err != nil {
		return nil, err
	}
	return r, nil
}

// load fills what is kept in memory beside the store: positions, clocks,
// settings and counters. None of it decides anything.
func (r *Replica) load(tx store.Txn) error {
	for _, p := range r.parts {
		h, err := meta.ReadHead(tx, p.id)
		if err != nil {
			return err
		}
		p.setHead(h)
		conf, ok, err := meta.ReadConfig(tx, p.id)
		if err != nil {
			return err
		}
		if ok {
			if err := r.checkConfig(conf); err != nil {
				return err
			}
			p.conf.Store(&conf)
		}
		id, ok, err := meta.StoreID(tx, p.id, r.cfg.Node)
		if err != nil {
			return err
		}
		p.joined.Store(ok && id == r.storeID)
		if err := r.loadStores(tx, p.id); err != nil {
			return err
		}
	}
	if err := r.loadSettings(tx); err != nil {
		return err
	}
	return r.loadCounters(tx)
}

func (r *Replica) loadCounters(tx store.Txn) error {
	for _, c := range []struct {
		n      *atomic.Int64
		prefix string
	}{{&r.stats.shards, "rs"}, {&r.stats.holes, "rh"}, {&r.stats.staged, "rx"}} {
		n, err := tx.Count([]byte(c.prefix))
		if err != nil {
			return err
		}
		c.n.Store(int64(n))
	}
	var bytes int64
	err := scanAll(tx, []byte("rx"), func(it store.Item) error {
		s, err := decodeStaged(it.Value)
		if err != nil {
			return err
		}
		t, err := dsv.TxIDFromBytes(it.Key[2:])
		if err != nil || int(t.Partition) >= len(r.parts) {
			return errRow
		}
		bytes += int64(s.bytes)
		index := r.parts[t.Partition].index
		index.begin(t, s.ns, s.ops)
		index.written(t, true)
		return nil
	})
	r.stagedB.Store(bytes)
	return err
}

// scanAll walks a prefix page by page.
func scanAll(tx store.Txn, prefix []byte, visit func(store.Item) error) error {
	page := store.Page{Limit: 1024}
	for {
		items, more, err := tx.Scan(prefix, page)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := visit(it); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		page.After = items[len(items)-1].Key
	}
}

// Start begins to read the log, joins with a new store and settles what is
// overdue. It returns at once; Ready tells when the node may serve.
func (r *Replica) Start(ctx context.Context) error {
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	from, err := r.cursors()
	if err != nil {
		return err
	}
	if err := r.cfg.Log.Start(from); err != nil {
		return err
	}
	for _, loop := range []func(context.Context){r.applyLoop, r.joinLoop, r.tickLoop, r.auditOnce, r.suspectLoop} {
		r.own(func() { loop(ctx) })
	}
	return nil
}

// own runs f on a goroutine that Close waits for; false: it is closing.
func (r *Replica) own(f func()) bool {
	r.ownMu.Lock()
	defer r.ownMu.Unlock()
	if !r.ended {
		r.wg.Go(f)
	}
	return !r.ended
}

// Close ends all work; it neither closes the log nor the store.
func (r *Replica) Close() error {
	r.closing.Do(func() {
		r.ownMu.Lock()
		r.ended = true
		r.ownMu.Unlock()
		if r.cancel != nil {
			r.cancel()
		}
		r.stop()
		r.wg.Wait()
	})
	return nil
}

// stop frees everybody who waits.
func (r *Replica) stop() {
	r.stopped.Do(func() {
		close(r.done)
		r.wait.closeAll()
	})
}

// Failed is closed when the replica stopped by itself: an apply that could not
// go on, a configuration that differs, a store that was replaced. Err says why.
func (r *Replica) Failed() <-chan struct{} { return r.failed }

// Err is why Failed was closed.
func (r *Replica) Err() error {
	if p := r.fatal.Load(); p != nil {
		return *p
	}
	return nil
}

func (r *Replica) fail(err error) {
	if r.fatal.CompareAndSwap(nil, &err) {
		r.cfg.Logger.Error("replica stops", "err", err)
		close(r.failed)
		r.stop()
	}
}

// BeginView starts a snapshot of the newest applied state; the caller aborts it.
func (r *Replica) BeginView() (store.Txn, error) { return r.cfg.Store.Begin(store.ReadOnly) }

// View runs f on a snapshot of the newest applied state.
func (r *Replica) View(f func(store.Txn) error) error {
	tx, err := r.cfg.Store.Begin(store.ReadOnly)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	return f(tx)
}

// Book is the current settings' tokens.
func (r *Replica) Book() *auth.Book { return r.book.Load() }

// Node is this node's id; Quorum and Log likewise.
func (r *Replica) Node() dsv.NodeID             { return r.cfg.Node }
func (r *Replica) Quorum() dsv.Quorum           { return r.cfg.Quorum }
func (r *Replica) Log() *commitlog.Log          { return r.cfg.Log }
func (r *Replica) ClusterID() string            { return r.cfg.ClusterID }
func (r *Replica) Incarnation() dsv.Incarnation { return r.cfg.Incarnation }
func (r *Replica) StoreID() dsv.StoreID         { return r.storeID }
func (r *Replica) Partitions() int              { return r.cfg.Partitions }

func (r *Replica) part(p dsv.Partition) *part {
	if p == commitlog.Control {
		return r.control
	}
	return r.parts[p]
}
