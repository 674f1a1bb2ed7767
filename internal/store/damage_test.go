package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// One flipped bit anywhere in a table: Open tells, or the data is right. It
// must never be wrong or lacking, and never take the process down.
func TestDamagedTable(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, Options{memTable: 1 << 20})
	want := map[string]string{}
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range 30 {
		k, v := fmt.Sprintf("key-%03d", i), strings.Repeat(fmt.Sprint(i), 100+rnd.IntN(100))
		want[k] = v
		put(t, s, k, v)
	}
	must(t, s.Close())
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	must(t, err)
	if len(tables) == 0 {
		t.Fatal("no table to damage")
	}
	base, found := tables[0], 0
	good, err := os.ReadFile(base)
	must(t, err)
	flips := []int{len(good) - 1, len(good) - 2, len(good) - 4, len(good) - 8, len(good) - 12, len(good) - 20}
	for range 14 {
		flips = append(flips, rnd.IntN(len(good)))
	}
	for _, at := range flips {
		copied := copyDir(t, dir)
		bad := append([]byte(nil), good...)
		bad[at] ^= 1 << rnd.IntN(8)
		must(t, os.WriteFile(filepath.Join(copied, filepath.Base(base)), bad, 0o600))
		s, err := OpenBadger(Options{Dir: copied, EncryptionKey: testKey(), memTable: 1 << 20})
		if err != nil {
			wantErr(t, err, ErrCorrupt)
			found++
			continue
		}
		for k, v := range want {
			if get(t, s, k) != v {
				t.Fatalf("bit flipped at %d of %d: %s is wrong", at, len(good), k)
			}
		}
		must(t, s.Verify())
		must(t, s.Close())
	}
	if found < len(flips)/2 {
		t.Fatalf("%d of %d flips noticed", found, len(flips))
	}
}

func TestDamagedValueLog(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, Options{memTable: 1 << 20})
	put(t, s, "big", strings.Repeat("v", 300<<10), "empty", "")
	must(t, s.Close())
	logs, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	must(t, err)
	for _, path := range logs {
		b, err := os.ReadFile(path)
		must(t, err)
		if len(b) > 100<<10 {
			b[50<<10] ^= 1
			must(t, os.WriteFile(path, b, 0o600))
		}
	}
	s = openTest(t, dir, Options{memTable: 1 << 20})
	defer s.Close()
	same(t, "empty value", get(t, s, "empty"), "")
	tx := begin(t, s, ReadOnly)
	_, err = tx.Get([]byte("big"))
	wantErr(t, err, ErrCorrupt)
	_, _, err = tx.Scan(nil, Page{})
	wantErr(t, err, ErrCorrupt)
	must(t, tx.Abort())
}

// A process that dies while it writes a table leaves a part of one, which no
// row needs yet.
func TestTableBegun(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, Options{memTable: 1 << 20})
	put(t, s, "a", "1")
	must(t, s.Close())
	for _, size := range []int64{0, 3, 100, 1 << 20} {
		begun := filepath.Join(dir, "000099.sst")
		must(t, os.WriteFile(begun, []byte("abc"), 0o600))
		must(t, os.Truncate(begun, size))
		s = openTest(t, dir, Options{memTable: 1 << 20})
		same(t, "a", get(t, s, "a"), "1")
		must(t, s.Close())
		if _, err := os.Stat(begun); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%d bytes of a table are still there: %v", size, err)
		}
	}
}

// A store without its list of tables or its keys is refused, not begun anew,
// wherever the file ends.
func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, Options{memTable: 1 << 20})
	put(t, s, "a", "1")
	must(t, s.Close())
	refused := func(what, dir string) {
		t.Helper()
		_, err := OpenBadger(Options{Dir: dir, EncryptionKey: testKey(), memTable: 1 << 20})
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrWrongKey) || !strings.Contains(fmt.Sprint(err), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, name := range []string{"MANIFEST", "KEYREGISTRY", "*.sst"} {
		copied := copyDir(t, dir)
		files, err := filepath.Glob(filepath.Join(copied, name))
		must(t, err)
		if len(files) == 0 {
			t.Fatalf("no %s", name)
		}
		must(t, os.Remove(files[0]))
		refused(name+" is gone", copied)
	}
	// What is said is one line, whatever Badger says.
	newer := copyDir(t, dir)
	manifest, err := os.ReadFile(filepath.Join(newer, "MANIFEST"))
	must(t, err)
	for i := range 8 { // magic and versions
		spoilt := bytes.Clone(manifest)
		spoilt[i] ^= 0x40
		must(t, os.WriteFile(filepath.Join(newer, "MANIFEST"), spoilt, 0o600))
		refused(fmt.Sprintf("MANIFEST differs at %d", i), newer)
		if _, err := OpenBadger(Options{Dir: newer, EncryptionKey: testKey(), memTable: 1 << 20}); strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("more than a line: %v", err)
		}
	}
	copied := copyDir(t, dir)
	registry := filepath.Join(copied, "KEYREGISTRY")
	good, err := os.ReadFile(registry)
	must(t, err)
	for size := range len(good) {
		must(t, os.WriteFile(registry, good[:size], 0o600))
		refused(fmt.Sprintf("KEYREGISTRY ends after %d of %d bytes", size, len(good)), copied)
	}
	must(t, os.WriteFile(registry, good, 0o600))
	s = openTest(t, copied, Options{memTable: 1 << 20}) // nothing of all that has done it harm
	same(t, "a", get(t, s, "a"), "1")
	must(t, s.Close())
}

// A store whose process died has a write-ahead log with a head: a number and a
// start of the cipher. Whatever bit of that is flipped, the log is read up to
// some entry, or the store is refused.
func TestDamagedLogHead(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, Options{memTable: 1 << 20})
	put(t, s, "a", "1")
	put(t, s, "b", "2")
	crashed := copyDir(t, dir)
	must(t, s.Close())
	logs, err := filepath.Glob(filepath.Join(crashed, "*.mem"))
	must(t, err)
	if len(logs) != 1 {
		t.Fatalf("%d write-ahead logs", len(logs))
	}
	for at := range 20 {
		copied := copyDir(t, crashed)
		path := filepath.Join(copied, filepath.Base(logs[0]))
		b, err := os.ReadFile(path)
		must(t, err)
		b[at] ^= 1 << (at % 8)
		must(t, os.WriteFile(path, b, 0o600))
		s, err := OpenBadger(Options{Dir: copied, EncryptionKey: testKey(), memTable: 1 << 20})
		if err != nil {
			wantErr(t, err, ErrCorrupt)
			continue
		}
		if s.WasClean() {
			t.Errorf("byte %d: it passes for clean", at)
		}
		tx := begin(t, s, ReadOnly)
		items, _, err := tx.Scan(nil, Page{})
		must(t, err)
		for _, it := range items {
			if k := string(it.Key); k != "a" && k != "b" || string(it.Value) != map[string]string{"a": "1", "b": "2"}[k] {
				t.Errorf("byte %d: there is %q = %q", at, k, it.Value)
			}
		}
		must(t, tx.Abort())
		must(t, s.Close())
	}
}
