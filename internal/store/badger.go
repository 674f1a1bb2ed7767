package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger is a Store on disk.
type Badger struct {
	*core
	engine   *badgerEngine
	unlock   func() error
	clean    bool
	wasEmpty bool
}

// OpenBadger opens the store in opt.Dir, making it if the directory is empty
// or missing. It reads and checks all of the store's tables first. Its errors
// are *OpenError, or tell every fault of the options.
func OpenBadger(opt Options) (*Badger, error) {
	opt, err := opt.complete(true)
	if err != nil {
		return nil, fmt.Errorf("store: options: %w", err)
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, &OpenError{opt.Dir, err}
	}
	unlock, err := lockDir(opt.Dir)
	if err != nil {
		return nil, &OpenError{opt.Dir, err}
	}
	s, err := openLocked(opt)
	if err != nil {
		return nil, &OpenError{opt.Dir, errors.Join(err, unlock())}
	}
	s.unlock = unlock
	return s, nil
}

func openLocked(opt Options) (*Badger, error) {
	held, err := hasStore(opt.Dir)
	if err == nil {
		err = whole(opt.Dir)
	}
	if err != nil {
		return nil, err
	}
	free := newFloor(opt).free
	if err := roomToOpen(opt, free); err != nil {
		return nil, err
	}
	if err := keepBallast(opt, free); err != nil {
		return nil, err
	}
	eng, err := openEngine(opt)
	if err != nil {
		return nil, err
	}
	s := &Badger{engine: eng, wasEmpty: !held}
	if s.clean, err = readMark(opt.Dir, newestRevision(eng.newest())); err == nil {
		err = removeMark(opt.Dir)
	}
	if err == nil {
		err = eng.redo()
	}
	if err == nil {
		s.core, err = newCore(eng, opt)
	}
	if err != nil {
		return nil, errors.Join(err, eng.close())
	}
	s.stopped.Go(func() { eng.collectGarbage(s.stop, opt.GCEvery) })
	return s, nil
}

// WasClean reports whether the last Close of the directory went to its end.
// If not, the newest commits may be missing without a trace: a damaged
// write-ahead log ends at the damage.
func (s *Badger) WasClean() bool { return s.clean }

// WasEmpty reports whether Open found no store in the directory.
func (s *Badger) WasEmpty() bool { return s.wasEmpty }

// Close commits what is queued, closes the files and, if all went well, leaves
// the mark that WasClean reports.
func (s *Badger) Close() error {
	return s.close(func(err error) error {
		if err == nil && s.failed.Load() == nil {
			err = writeMark(s.opt.Dir, s.Revision())
		}
		return errors.Join(err, s.unlock())
	})
}

// Verify reads all tables and compares their checksums. ErrCorrupt means that
// something on the disk rotted since Open: reads may lack rows, rebuild.
func (s *Badger) Verify() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return verifyTables(s.engine.db)
}

// Size is what the store takes on disk: tables and write-ahead logs, and
// value logs. Bytes.
func (s *Badger) Size() (lsm, vlog int64) {
	entries, _ := os.ReadDir(s.opt.Dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		size := info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			size = st.Blocks * 512 // the files are sparse
		}
		switch filepath.Ext(e.Name()) {
		case ".sst", ".mem":
			lsm += size
		case ".vlog":
			vlog += size
		}
	}
	return lsm, vlog
}

// badgerEngine is the engine of OpenBadger. Badger runs in managed mode: its
// timestamps are our ticks, its user byte is the slot.
type badgerEngine struct {
	db    *badger.DB
	log   *logger
	key   []byte // our copy, Badger reads it until closed
	rows  int
	max   int64
	large int64  // values from this size on go to the value log
	low   uint64 // what discard was last told
	cache *rowCache

	writing sync.Mutex // held while Badger writes to its logs
	wal     *wal       // nil without ownSync
}

func openEngine(opt Options) (*badgerEngine, error) {
	e := &badgerEngine{log: &logger{to: opt.Logger}, key: append([]byte(nil), opt.EncryptionKey.Reveal()...)}
	w := &wal{dir: opt.Dir, fsync: opt.fsync}
	if ownSync {
		if err := w.settle(); err != nil { // before tables are made of it
			clear(e.key)
			return nil, err
		}
	}
	if err := verifyFirst(badgerOptions(opt, e.key, e.log), opt.Dir); err != nil {
		clear(e.key)
		return nil, err
	}
	db, err := openManaged(badgerOptions(opt, e.key, e.log))
	if err != nil {
		clear(e.key)
		return nil, err
	}
	e.db, e.rows, e.max, e.large = db, int(db.MaxBatchCount()), db.MaxBatchSize(), db.Opts().ValueThreshold
	e.cache = newRowCache(e.newest(), opt.cache)
	if ownSync {
		e.wal = w
		if err := w.find(); err != nil {
			return nil, errors.Join(err, e.close())
		}
	}
	return e, nil
}

// openManaged opens and names what is wrong.
func openManaged(opt badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	db, err = badger.OpenManaged(opt)
	var machine syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, badger.ErrEncryptionKeyMismatch), strings.Contains(err.Error(), badger.ErrEncryptionKeyMismatch.Error()):
		return nil, fmt.Errorf("%w (or KEYREGISTRY is damaged)", ErrWrongKey)
	case errors.As(err, &machine):
		return nil, err
	}
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EACCES, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EROFS} {
		if strings.Contains(err.Error(), e.Error()) { // Badger flattens its causes
			return nil, fmt.Errorf("%w: %w", e, plain(err))
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrCorrupt, plain(err))
}

// plain keeps the first line of what Badger says: what follows sends to its
// manual, which does not know what to do here.
func plain(err error) error {
	if first, _, more := strings.Cut(err.Error(), "\n"); more {
		return errors.New(first)
	}
	return err
}

func (e *badgerEngine) newest() uint64       { return e.db.MaxVersion() }
func (e *badgerEngine) limits() (int, int64) { return e.rows - 8, e.max - 4096 }
func (e *badgerEngine) publish(tick uint64)  { e.cache.shown(tick) }

// cost is Badger's own estimate, never less.
func (e *badgerEngine) cost(key, value []byte) int64 {
	const overhead = 2 + 10 + 8 // meta bytes, version as estimated, version as written
	if len(value) >= valueThreshold {
		return int64(len(key)) + 12 + overhead
	}
	return int64(len(key)+len(value)) + overhead
}

func (e *badgerEngine) discard(tick uint64) {
	if tick > e.low {
		e.low = tick
		e.db.SetDiscardTs(tick)
	}
}

func (e *badgerEngine) close() error {
	err := e.db.Close()
	if e.wal != nil {
		err = errors.Join(err, e.wal.close())
	}
	clear(e.key)
	return err
}

// rewriteValues moves what is alive of a value log to the newest one, if less
// than half of it is, and deletes the file; it reports whether it did. What it
// moved has to be durable before. Badger keeps the file while an iterator is open.
func (e *badgerEngine) rewriteValues() bool {
	e.writing.Lock()
	defer e.writing.Unlock()
	txn := e.db.NewTransactionAt(e.newest(), false)
	it := txn.NewIterator(badger.IteratorOptions{})
	err := e.db.RunValueLogGC(0.5)
	if err == nil && ownSync {
		if err := e.wal.find(); err != nil {
			e.log.Errorf("value log: %v", err)
			e.log.syncFailed.Store(true)
			return false // the iterator stays open, and so the file stays too
		}
	}
	it.Close()
	txn.Discard()
	return err == nil
}

// collectGarbage of the value log until stop.
func (e *badgerEngine) collectGarbage(stop <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for e.rewriteValues() {
			select {
			case <-stop:
				return
			default:
			}
		}
	}
}
