package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// floor refuses writes while the free space is low. Badger writes through
// memory maps of sparse files: on a full disk the process dies, so writing has
// to stop before.
type floor struct {
	dir  string
	low  int64
	free func(dir string) (int64, error)

	mu   sync.Mutex
	at   time.Time
	last int64
	err  error
}

const floorEvery = 100 * time.Millisecond

func newFloor(opt Options) *floor {
	f := &floor{dir: opt.Dir, low: opt.FreeFloor, free: opt.FreeSpace}
	if f.free == nil {
		f.free = freeSpace
	}
	return f
}

// freeSpace is what an unprivileged process may still write, in bytes.
func freeSpace(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// check returns ErrDiskFull if size more bytes would go below the floor, or
// below half of it.
func (f *floor) check(size int64, reserve bool) error {
	if f.low == 0 {
		return nil
	}
	low := f.low
	if reserve {
		low /= 2
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); f.at.IsZero() || now.Sub(f.at) >= floorEvery {
		f.last, f.err = f.free(f.dir)
		f.at = now
	}
	switch {
	case f.err != nil:
		return fmt.Errorf("%w: %w", ErrDiskFull, f.err)
	case f.last-size < low:
		return fmt.Errorf("%w: %d bytes free, floor %d", ErrDiskFull, f.last, low)
	}
	return nil
}

// roomToOpen refuses to open where Badger would die: it flushes the memtables
// that a crash left and begins a new one.
func roomToOpen(opt Options, free func(string) (int64, error)) error {
	if opt.FreeFloor == 0 {
		return nil
	}
	need := min(opt.FreeFloor/4, 4*opt.memTable)
	have, err := free(opt.Dir)
	if err == nil && have < need {
		err = fmt.Errorf("%w: %d bytes free, opening needs %d (delete %s or make room)", ErrDiskFull, have, need, ballastName)
	}
	return err
}

const ballastName = "BALLAST"

// keepBallast makes the ballast file if it is not there in full and leaves the
// floor free. It is written, not only reserved, so that it is there on any
// file system.
func keepBallast(opt Options, free func(string) (int64, error)) error {
	if opt.Ballast == 0 {
		return nil
	}
	path := filepath.Join(opt.Dir, ballastName)
	if st, err := os.Stat(path); err == nil && st.Size() == opt.Ballast {
		return nil
	}
	if have, err := free(opt.Dir); err != nil || have-opt.Ballast < opt.FreeFloor {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, zeros{}, opt.Ballast)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
