package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// verifyFirst opens the store with compactions off, compares all checksums of
// its tables and closes it again. Were this left to Badger, a damaged table
// would bring the process down (it is read in a goroutine that panics), and
// were it done after Open, a compaction might already have dropped the damaged
// rows.
func verifyFirst(opt badger.Options, dir string) error {
	tables, err := listed(opt, dir)
	if err != nil || len(tables) == 0 {
		return err
	}
	for _, path := range tables {
		if err := verifyFooter(path); err != nil {
			return err
		}
	}
	opt.NumCompactors = 0
	db, err := openManaged(opt)
	if err != nil {
		return err
	}
	err = verifyTables(db)
	if cerr := db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("%w: %w", ErrCorrupt, cerr)
	}
	return err
}

// listed are the tables that MANIFEST names and that are there. A crash can leave
// others, not whole: they were being written, and Badger deletes them. What is
// missing Badger tells when it opens.
func listed(opt badger.Options, dir string) (paths []string, err error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, opt.ExternalMagicVersion, opt)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, plain(err))
	}
	for id := range m.Tables {
		path := table.NewFilename(id, dir)
		if _, err := os.Stat(path); err == nil {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func verifyTables(db *badger.DB) (err error) {
	defer func() {
		if p := recover(); p != nil { // on a checksum that differs it panics instead
			err = fmt.Errorf("%w: the checksum of a table differs (%v)", ErrCorrupt, p)
		}
	}()
	if err := db.VerifyChecksum(); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// verifyFooter checks the lengths at the end of a table, which Badger believes:
// ... index, length of index, checksum of index, length of checksum.
func verifyFooter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	bad := fmt.Errorf("%w: footer of %s", ErrCorrupt, filepath.Base(path))
	end := st.Size()
	length := func() (int64, error) {
		var b [4]byte
		if end -= 4; end < 0 {
			return 0, bad
		}
		_, err := f.ReadAt(b[:], end)
		return int64(binary.BigEndian.Uint32(b[:])), err
	}
	for range 2 {
		n, err := length()
		if err != nil {
			return err
		}
		if end -= n; n == 0 || end < 0 {
			return bad
		}
	}
	return nil
}
