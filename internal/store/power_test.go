package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// drive is a disk that can lose its power: it knows what of each log was made
// durable. What Badger syncs by itself it takes for durable.
type drive struct {
	dir   string
	odds  atomic.Int32 // of 4, that a page written and not synced reaches the disk
	mu    sync.Mutex
	known map[string][]byte // by path: the log when it was synced last
	syncs int
	begun []map[string][]byte // what cuts would leave just after Badger began a log
}

func (d *drive) sync(f *os.File) error {
	path := f.Name()
	if err := fdatasync(f); err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil // Badger has made a table of it
	}
	d.mu.Lock()
	_, again := d.known[path]
	d.known[path], d.syncs = b, d.syncs+1
	d.mu.Unlock()
	if !again && filepath.Ext(path) == ".mem" {
		if files := d.cut(); files != nil {
			d.begun = append(d.begun, files)
		}
	}
	return nil
}

// cut is what a power cut now may leave in the directory; value logs lose all
// that was not synced. It is nil if a log became a table meanwhile.
func (d *drive) cut() map[string][]byte {
	files := map[string][]byte{}
	take := func(pattern string) {
		paths, _ := filepath.Glob(filepath.Join(d.dir, pattern))
		for _, path := range paths {
			if img := d.image(path); img != nil {
				files[filepath.Base(path)] = img
			}
		}
	}
	manifest := func() []byte {
		b, _ := os.ReadFile(filepath.Join(d.dir, "MANIFEST"))
		return b
	}
	files["MANIFEST"] = manifest()
	take("*.mem")
	take("*.sst")
	if !bytes.Equal(manifest(), files["MANIFEST"]) {
		return nil
	}
	take("*.vlog")
	take("KEYREGISTRY")
	take("DISCARD")
	return files
}

func restore(t *testing.T, files map[string][]byte) string {
	t.Helper()
	to := t.TempDir()
	for name, b := range files {
		path := filepath.Join(to, name)
		must(t, os.WriteFile(path, bytes.TrimRight(b, "\x00"), 0o600))
		must(t, os.Truncate(path, int64(len(b))))
	}
	return to
}

// image of a file; nil: not even its name is on the disk.
func (d *drive) image(path string) []byte {
	d.mu.Lock()
	img := bytes.Clone(d.known[path])
	d.mu.Unlock()
	if filepath.Ext(path) == ".vlog" {
		return img
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return nil // deleted: MANIFEST will have changed
	}
	if filepath.Ext(path) != ".mem" {
		return now
	}
	const page = 4096
	for at := 0; at < min(len(now), len(img)); at += page {
		end := min(at+page, len(now), len(img))
		if !bytes.Equal(now[at:end], img[at:end]) && rand.Int32N(4) < d.odds.Load() {
			copy(img[at:end], now[at:end])
		}
	}
	return img
}

// A power cut takes commits that nobody waited for, from the newest backwards,
// each whole, and none that Commit told of.
func TestPowerCut(t *testing.T) {
	if !ownSync {
		t.Skip("Badger syncs every commit here")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	d := &drive{dir: t.TempDir(), known: map[string][]byte{}}
	s := openTest(t, d.dir, Options{memTable: 1 << 20, fsync: d.sync})
	defer s.Close()
	const commits = 1000
	durable, lost, cuts, begun := -1, 0, 0, 0
	for i := range commits {
		tx := begin(t, s, ReadWrite)
		v := binary.BigEndian.AppendUint64(nil, uint64(i))
		must(t, tx.Put(Pair{Key: fmt.Appendf(nil, "n:%06d", i), Value: v}, Pair{Key: []byte("last"), Value: v},
			Pair{Key: fmt.Appendf(nil, "pad:%d", i%7), Value: make([]byte, rng.IntN(4<<10))}))
		var err error
		before := durable
		switch {
		case i%400 == 399: // through redo rows
			must(t, tx.Put(Pair{Key: []byte("large:1"), Value: make([]byte, 90<<10)}, Pair{Key: []byte("large:2"), Value: make([]byte, 90<<10)}))
		case i%100 == 49: // through the value log
			must(t, tx.Put(Pair{Key: []byte("large:3"), Value: make([]byte, 120<<10)}))
		}
		if rng.IntN(8) == 0 {
			if _, err = tx.Commit(context.Background()); err == nil {
				durable = i
			}
		} else {
			_, err = tx.CommitNoSync(context.Background())
		}
		must(t, err)
		d.odds.Store(rng.Int32N(5))
		cut := d.begun
		begun += len(cut)
		d.begun = nil
		if rng.IntN(50) == 0 {
			if files := d.cut(); files != nil {
				cut = append(cut, files)
			}
		}
		for _, files := range cut {
			cuts++
			lost += i - checkCut(t, restore(t, files), before, i)
		}
	}
	t.Logf("%d cuts, %d of them where a log had just begun, took %d commits; %d syncs of %d commits", cuts, begun, lost, d.syncs, commits)
	if lost == 0 {
		t.Error("no cut took anything: this test looks at nothing")
	}
	for _, log := range []string{"00002.mem", "00003.mem"} {
		if d.known[filepath.Join(d.dir, log)] == nil {
			t.Errorf("%s was never synced", log)
		}
	}
	if d.syncs > commits/2 {
		t.Errorf("%d syncs", d.syncs)
	}
}

// checkCut returns the newest commit that is there.
func checkCut(t *testing.T, dir string, durable, newest int) int {
	t.Helper()
	s := openTest(t, dir, Options{memTable: 1 << 20})
	defer s.Close()
	same(t, "clean", s.WasClean(), false)
	tx := begin(t, s, ReadOnly)
	defer tx.Abort()
	_, _, err := tx.Scan(nil, Page{}) // every value is whole
	must(t, err)
	items, _, err := tx.Scan([]byte("n:"), Page{})
	must(t, err)
	n := len(items)
	for i, it := range items {
		if want := fmt.Sprintf("n:%06d", i); string(it.Key) != want {
			t.Fatalf("commit %d is gone and a later one is not: %s", i, it.Key)
		}
	}
	if n > newest+1 || n <= durable {
		t.Fatalf("%d commits of %d are there, %d were durable", n, newest+1, durable+1)
	}
	if n > 0 {
		last, err := tx.Get([]byte("last"))
		must(t, err)
		same(t, "the newest commit is whole", int(binary.BigEndian.Uint64(last.Value)), n-1)
	}
	return n - 1
}

// What nobody waited for is synced soon, once.
func TestSyncWithin(t *testing.T) {
	if !ownSync {
		t.Skip("Badger syncs every commit here")
	}
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		s := openTest(t, t.TempDir(), Options{fsync: func(f *os.File) error { syncs.Add(1); return fdatasync(f) }})
		defer s.Close()
		commit := func() {
			tx := begin(t, s, ReadWrite)
			must(t, tx.Put(Pair{Key: []byte("k")}))
			_, err := tx.CommitNoSync(context.Background())
			must(t, err)
		}
		opened := syncs.Load()
		for range 3 {
			commit()
			same(t, "syncs at once", syncs.Load(), opened)
			time.Sleep(SyncWithin + time.Millisecond)
			opened++
			same(t, "syncs soon", syncs.Load(), opened)
			time.Sleep(time.Minute)
			same(t, "syncs in quiet", syncs.Load(), opened)
		}
		for begin := time.Now(); time.Since(begin) < 10*SyncWithin; time.Sleep(SyncWithin / 10) {
			commit() // others come all the time
		}
		if n := syncs.Load() - opened; n < 8 || n > 11 {
			t.Errorf("%d syncs in ten times the while", n)
		}
	})
}

// A sync that fails fails its commits, and all that come after.
func TestSyncFails(t *testing.T) {
	if !ownSync {
		t.Skip("Badger syncs by itself here")
	}
	for name, soft := range map[string]bool{"waited for": false, "not waited for": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var broken atomic.Bool
				s := openTest(t, t.TempDir(), Options{fsync: func(f *os.File) error {
					if broken.Load() {
						return syscall.EIO
					}
					return fdatasync(f)
				}})
				defer s.Close()
				put(t, s, "k", "1")
				broken.Store(true)
				tx := begin(t, s, ReadWrite)
				must(t, tx.Put(Pair{Key: []byte("k"), Value: []byte("2")}))
				if soft {
					_, err := tx.CommitNoSync(context.Background())
					must(t, err)
					time.Sleep(2 * SyncWithin)
				} else {
					_, err := tx.Commit(context.Background())
					wantErr(t, err, ErrFailed)
					wantErr(t, err, syscall.EIO)
					same(t, "shown", get(t, s, "k"), "1")
				}
				broken.Store(false)
				for range 2 {
					tx = begin(t, s, ReadWrite)
					must(t, tx.Put(Pair{Key: []byte("k"), Value: []byte("3")}))
					_, err := tx.CommitNoSync(context.Background())
					wantErr(t, err, ErrFailed)
				}
			})
		})
	}
}
