package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// wal syncs what Badger has written, in its place (see ownSync). Badger itself
// would sync two files at every commit, the second one, the value log, for
// nothing in all but rare ones; it cannot leave a sync out; and it only logs
// when that of the value log fails.
//
// Badger writes to two kinds of files through memory maps, and here only the
// caller of wrote and sync does: to the newest write-ahead log, NNNNN.mem, and
// to value logs, *.vlog. When a log is full Badger begins the next one, in the
// beginning of a commit; the full one becomes a table, synced, before it is
// deleted. Tables, MANIFEST and KEYREGISTRY Badger syncs whatever its options
// say.
//
// Invariant: whenever no write is under way, all that ever was in a write-ahead
// log but the newest one is durable. So what a power cut takes is a last part of
// the newest log, and replay, which ends at the first entry that is not whole,
// gives back a first part of all commits.
type wal struct {
	dir   string
	fid   int
	next  string // path of the log after this one
	f     *os.File
	fsync func(*os.File) error
}

// settle makes all logs durable that there are: a process that was killed has
// left some that nobody synced.
func (w *wal) settle() error {
	return errors.Join(w.syncValues(), w.syncAll("*.mem"))
}

// find goes on with the newest log that Badger has made, when all are durable.
func (w *wal) find() error {
	if err := w.settle(); err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(w.dir, "*.mem"))
	if err != nil {
		return err
	}
	if len(logs) == 0 {
		return fmt.Errorf("%w: no write-ahead log in %s", ErrCorrupt, w.dir)
	}
	newest := slices.MaxFunc(logs, func(a, b string) int { return logID(a) - logID(b) })
	f, err := os.Open(newest)
	if err != nil {
		return err
	}
	return w.begin(f, logID(newest))
}

// logID of the path of a write-ahead log.
func logID(path string) (id int) {
	_, _ = fmt.Sscanf(filepath.Base(path), "%d.mem", &id)
	return id
}

// begin goes on with a log that Badger has made.
func (w *wal) begin(f *os.File, fid int) error {
	if w.f != nil {
		if err := w.f.Close(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	w.f, w.fid = f, fid
	w.next = filepath.Join(w.dir, fmt.Sprintf("%05d.mem", fid+1))
	return errors.Join(w.syncFile(f), syncDir(w.dir))
}

// wrote notes a commit. If Badger has begun a new log for it, the one before is
// synced.
func (w *wal) wrote() error {
	if err := syscall.Access(w.next, 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return &os.PathError{Op: "access", Path: w.next, Err: err}
	}
	f, err := os.Open(w.next)
	if err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return w.begin(f, w.fid+1)
}

// sync makes durable what was written, but for value logs.
func (w *wal) sync() error { return w.syncFile(w.f) }

// syncValues makes all value logs durable.
func (w *wal) syncValues() error { return w.syncAll("*.vlog") }

// syncAll makes all files of a pattern durable.
func (w *wal) syncAll(pattern string) error {
	logs, err := filepath.Glob(filepath.Join(w.dir, pattern))
	for _, path := range logs {
		if err == nil {
			err = w.syncPath(path)
		}
	}
	return err
}

// syncPath syncs a file unless Badger has deleted it, as one not needed.
func (w *wal) syncPath(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(w.syncFile(f), f.Close())
}

func (w *wal) syncFile(f *os.File) error {
	if err := w.fsync(f); err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func (w *wal) close() error {
	if w.f == nil {
		return nil
	}
	return w.f.Close()
}
