package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// whole refuses a directory with data in it, but without the file that tells
// which data are there or under which keys, or without one of those keys.
// Badger would begin such a file anew, and forget the tables; and a key that is
// made anew gets the number of the lost one, so it would take what it decrypts
// for a table and bring the process down.
func whole(dir string) error {
	var logs []string // of both kinds: they begin with the number of their key
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		logs = append(logs, files...)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(logs)+len(tables) == 0 {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, badger.ManifestFilename)); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: there are data and no %s", ErrCorrupt, badger.ManifestFilename)
	}
	keys, err := registered(filepath.Join(dir, badger.KeyRegistryFileName))
	if err != nil {
		return err
	}
	if len(tables) > 0 && len(keys) == 0 {
		return fmt.Errorf("%w: there are tables and no key in %s", ErrCorrupt, badger.KeyRegistryFileName)
	}
	for _, path := range logs {
		id, used, err := keyOf(path)
		if err != nil {
			return err
		}
		if used && !keys[id] {
			return fmt.Errorf("%w: %s is under key %d, which %s does not have", ErrCorrupt, filepath.Base(path), id, badger.KeyRegistryFileName)
		}
	}
	return nil
}

// Sizes in KEYREGISTRY: what stands before the keys, and before each key its
// length and checksum.
const (
	registryHead = 16 + len("Hello Badger")
	registryKey  = 4 + 4
)

// registered are the numbers of the data keys in KEYREGISTRY. Whether the keys
// are right, Badger tells.
func registered(path string) (map[uint64]bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: there are data and no %s", ErrCorrupt, badger.KeyRegistryFileName)
	}
	if err != nil {
		return nil, err
	}
	bad := fmt.Errorf("%w: %s ends early", ErrCorrupt, badger.KeyRegistryFileName)
	if len(b) < registryHead {
		return nil, bad
	}
	keys := map[uint64]bool{}
	for b = b[registryHead:]; len(b) > 0; {
		if len(b) < registryKey {
			return nil, bad
		}
		size := int64(binary.BigEndian.Uint32(b))
		if b = b[registryKey:]; int64(len(b)) < size {
			return nil, bad
		}
		const number = 1 << 3 // the first field of the message, a varint
		if id, n := binary.Uvarint(b[min(1, size):size]); size > 1 && b[0] == number && n > 0 {
			keys[id] = true
		}
		b = b[size:]
	}
	return keys, nil
}

// keyOf is the number of the key that a log file is under; not used, where the
// file was made and nothing written to it.
func keyOf(path string) (id uint64, used bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	head := make([]byte, 64)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	for _, c := range head[:n] {
		used = used || c != 0
	}
	if n < 8 {
		return 0, false, nil
	}
	return binary.BigEndian.Uint64(head), used, nil
}
