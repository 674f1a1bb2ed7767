package store

import (
	"errors"
	"os"
	"syscall"
)

// ownSync: the store syncs Badger's files itself. On Linux a sync of a file
// covers what was written to it through any memory map (fsync(2), msync(2)).
const ownSync = true

// fdatasync makes a file's contents, and what is needed to find them, durable.
func fdatasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
