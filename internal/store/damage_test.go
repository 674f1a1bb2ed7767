package store

import (
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

// A store without its list of tables or its keys is refused, not begun anew.
func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, Options{memTable: 1 << 20})
	put(t, s, "a", "1")
	must(t, s.Close())
	for _, name := range []string{"MANIFEST", "KEYREGISTRY", "*.sst"} {
		copied := copyDir(t, dir)
		files, err := filepath.Glob(filepath.Join(copied, name))
		must(t, err)
		if len(files) == 0 {
			t.Fatalf("no %s", name)
		}
		must(t, os.Remove(files[0]))
		_, err = OpenBadger(Options{Dir: copied, EncryptionKey: testKey(), memTable: 1 << 20})
		wantErr(t, err, ErrCorrupt)
		if !strings.Contains(fmt.Sprint(err), copied) {
			t.Errorf("the error does not name the directory: %v", err)
		}
	}
}
