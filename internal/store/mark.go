package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	markName = "CLEAN" // see doc.go
	lockName = "STORE.LOCK"
	markForm = "dsv store 1, closed at revision %d\n"
)

// lockDir takes the directory for this store until unlock. Badger's own lock
// ends before the clean mark is written.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrInUse
		}
		return nil, err
	}
	return f.Close, nil
}

// readMark reports whether the directory was closed cleanly at the revision.
func readMark(dir string, rev uint64) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, markName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && string(b) == fmt.Sprintf(markForm, rev), err
}

// removeMark makes sure, also across a power cut, that there is no mark.
func removeMark(dir string) error {
	err := os.Remove(filepath.Join(dir, markName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(dir)
}

// writeMark is the last thing a clean close does.
func writeMark(dir string, rev uint64) error {
	path := filepath.Join(dir, markName)
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, markForm, rev)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// hasStore reports whether the directory holds a store, whole or not.
func hasStore(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		n := e.Name()
		if n == "MANIFEST" || n == "KEYREGISTRY" || strings.HasSuffix(n, ".sst") ||
			strings.HasSuffix(n, ".mem") || strings.HasSuffix(n, ".vlog") {
			return true, err
		}
	}
	return false, err
}
