package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/dsvault/dsv"
)

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func TestCleanMark(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "dir")
	mark := filepath.Join(dir, markName)
	s := openTest(t, dir, Options{})
	same(t, "new: empty, clean", []bool{s.WasEmpty(), s.WasClean()}, []bool{true, false})
	put(t, s, "k", "v")
	must(t, s.Close())
	s = openTest(t, dir, Options{})
	same(t, "after Close: empty, clean", []bool{s.WasEmpty(), s.WasClean()}, []bool{false, true})
	if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("mark while open: %v", err)
	}
	put(t, s, "k", "v2")
	copied := copyDir(t, dir) // as a crash leaves it
	must(t, s.Close())
	s = openTest(t, copied, Options{})
	same(t, "after crash: empty, clean", []bool{s.WasEmpty(), s.WasClean()}, []bool{false, false})
	same(t, "after crash", get(t, s, "k"), "v2")
	must(t, s.Close())

	// A mark that belongs to another state of the store is none.
	must(t, os.WriteFile(mark, []byte(fmt.Sprintf(markForm, 511)), 0o600))
	s = openTest(t, dir, Options{})
	same(t, "foreign mark", s.WasClean(), false)
	s.fail(errors.New("test"))
	must(t, s.Close())
	s = openTest(t, dir, Options{})
	same(t, "a failed store leaves no mark", s.WasClean(), false)
	must(t, s.Close())
}

func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		copySparse(t, filepath.Join(dir, e.Name()), filepath.Join(to, e.Name()))
	}
	return to
}

func copySparse(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	st, err := in.Stat()
	must(t, err)
	out, err := os.Create(to)
	must(t, err)
	defer out.Close()
	must(t, out.Truncate(st.Size()))
	const seekData, seekHole = 3, 4
	for off := int64(0); off < st.Size(); {
		start, err := in.Seek(off, seekData)
		if err != nil {
			break // nothing but a hole
		}
		end, err := in.Seek(start, seekHole)
		must(t, err)
		_, err = in.Seek(start, io.SeekStart)
		must(t, err)
		_, err = out.Seek(start, io.SeekStart)
		must(t, err)
		_, err = io.CopyN(out, in, end-start)
		must(t, err)
		off = end
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, Options{})
	put(t, s, "k", "v")
	open := func(key dsv.Secret) error {
		s, err := OpenBadger(Options{Dir: dir, EncryptionKey: key})
		if err == nil {
			_ = s.Close()
			return nil
		}
		var oe *OpenError
		if !errors.As(err, &oe) || oe.Dir != dir || !contains(err.Error(), dir) {
			t.Fatalf("error does not tell the directory: %v", err)
		}
		return err
	}
	wantErr(t, open(testKey()), ErrInUse)
	must(t, s.Close())
	other := dsv.SecretOf(make([]byte, 32))
	wantErr(t, open(other), ErrWrongKey)
	s = openTest(t, dir, Options{})
	same(t, "a wrong key does not make it unclean", s.WasClean(), true)
	must(t, s.Close())

	for _, name := range []string{"MANIFEST", "KEYREGISTRY"} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		must(t, err)
		bad := append([]byte(nil), good...)
		bad[len(bad)/2] ^= 1
		must(t, os.WriteFile(path, bad, 0o600))
		err = open(testKey())
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s damaged: %v", name, err)
		}
		must(t, os.WriteFile(path, good, 0o600))
	}
	must(t, open(testKey()))

	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := OpenBadger(Options{Dir: file, EncryptionKey: testKey()}); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a file for a directory: %v", err)
	}
}

func TestFreeFloor(t *testing.T) {
	free := int64(1000 << 20)
	looks := 0
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		opt := Options{FreeFloor: 100 << 20, FreeSpace: func(string) (int64, error) { looks++; return free, nil }}
		s := openTest(t, dir, opt)
		try := func(m Mode, p Pair) error {
			tx := begin(t, s, m)
			must(t, tx.Put(p))
			_, err := tx.Commit(t.Context())
			return err
		}
		p := Pair{Key: []byte("k"), Value: make([]byte, 1<<20)}
		must(t, try(ReadWrite, p))
		free = 90 << 20
		must(t, try(ReadWrite, p)) // looked less than 100 ms ago
		time.Sleep(100 * time.Millisecond)
		looks = 0
		wantErr(t, try(ReadWrite, p), ErrDiskFull)
		must(t, try(ReadWriteReserve, p))
		must(t, try(ReadWrite, Pair{Key: []byte("k"), Delete: true}))
		same(t, "looks", looks, 1)
		free = 50<<20 + 10
		time.Sleep(100 * time.Millisecond)
		wantErr(t, try(ReadWriteReserve, p), ErrDiskFull)
		same(t, "reads go on", get(t, s, "k"), "-")
		free = 200 << 20
		time.Sleep(100 * time.Millisecond)
		must(t, try(ReadWrite, p))
		must(t, s.Close())

		free = 1 << 20
		opt.Dir, opt.EncryptionKey = dir, testKey()
		_, err := OpenBadger(opt)
		wantErr(t, err, ErrDiskFull)
	})
}

func TestBallast(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ballastName)
	free := int64(1 << 30)
	opt := Options{FreeFloor: 100 << 20, Ballast: 3 << 20, FreeSpace: func(string) (int64, error) { return free, nil }}
	size := func() int64 {
		st, err := os.Stat(path)
		if err != nil {
			return -1
		}
		return st.Size()
	}
	must(t, openTest(t, dir, opt).Close())
	same(t, "ballast", size(), opt.Ballast)
	must(t, os.Remove(path))
	free = 102 << 20
	must(t, openTest(t, dir, opt).Close())
	same(t, "no room for it", size(), int64(-1))
	free = 1 << 30
	must(t, openTest(t, dir, opt).Close())
	same(t, "again", size(), opt.Ballast)
}

// What no test on this machine can see when it is wrong.
func TestBadgerOptions(t *testing.T) {
	o := badgerOptions(Options{memTable: memTableSize}, make([]byte, 32), nil)
	if o.SyncWrites == ownSync || !o.VerifyValueChecksum || o.ChecksumVerificationMode != options.OnBlockRead ||
		o.IndexCacheSize == 0 || len(o.EncryptionKey) != 32 || o.NumVersionsToKeep != 1 || o.NumCompactors < 2 {
		t.Errorf("options %+v", o)
	}
}

// E13: the store runs in a bubble, on a real directory, and ends there.
func TestBadgerInABubble(t *testing.T) {
	start := time.Now()
	synctest.Test(t, func(t *testing.T) {
		s := openTest(t, t.TempDir(), Options{Watched: watched("k")})
		w := watch(t, s, Start{})
		for i := range 300 {
			put(t, s, fmt.Sprint("k", i%10), strings.Repeat("v", 100))
			time.Sleep(time.Second)
			next(t, w)
		}
		must(t, s.Close())
	})
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("5 simulated minutes took %v", d)
	}
}

// A transaction of the promised size fits, and can be deleted again.
func TestLargeTransaction(t *testing.T) {
	s := openTest(t, t.TempDir(), Options{})
	defer s.Close()
	tx := begin(t, s, ReadWrite)
	for i := range 20_000 {
		must(t, tx.Put(Pair{Key: fmt.Appendf(nil, "row-%08d", i), Value: make([]byte, 8<<20/20_000)}))
	}
	commit(t, tx)
	tx = begin(t, s, ReadWrite)
	n, err := tx.DeletePrefix(nil)
	must(t, err)
	same(t, "deleted", n, 20_000)
	commit(t, tx)
	tx = begin(t, s, ReadWrite)
	for i := range MaxTxnRows {
		must(t, tx.Put(Pair{Key: fmt.Append(nil, i)}))
	}
	wantErr(t, tx.Put(Pair{Key: []byte("one more")}), ErrTxnTooBig)
	must(t, tx.Abort())
}

// The revision does not go back although compaction drops deletions: in the
// end nothing is left of the rows that had the newest ticks.
func TestRevisionOutlivesDeletions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, opt := t.TempDir(), Options{memTable: 1 << 20}
		s := openTest(t, dir, opt)
		tables := func() (upper, lowest int) {
			for _, l := range s.engine.db.Levels() {
				if l.Level == 6 {
					lowest = l.NumTables
				} else {
					upper += l.NumTables
				}
			}
			return upper, lowest
		}
		for i := 0; ; i++ {
			put(t, s, fmt.Sprint(i), strings.Repeat("v", 50<<10))
			time.Sleep(time.Second) // compactions happen
			if _, lowest := tables(); lowest > 0 {
				break
			}
		}
		tx := begin(t, s, ReadWrite)
		_, err := tx.DeletePrefix(nil)
		must(t, err)
		rev := commit(t, tx)
		for range 3 {
			must(t, s.Close()) // flushes
			s = openTest(t, dir, opt)
			same(t, "revision", s.Revision(), rev)
			must(t, s.engine.db.Flatten(1))
		}
		if upper, _ := tables(); upper > 0 {
			t.Fatal("not compacted")
		}
		must(t, s.Close())
	})
}

// Old versions must go: managed mode keeps all above the discard mark.
func TestOldVersionsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openTest(t, t.TempDir(), Options{memTable: 1 << 20})
		put(t, s, "k", "first")
		held := begin(t, s, ReadOnly)
		write := func(n int) {
			for i := range n {
				put(t, s, "k", strings.Repeat("v", 50<<10)+fmt.Sprint(i))
				time.Sleep(time.Second) // compactions happen
			}
		}
		write(150)
		same(t, "held snapshot", getIn(t, held, "k"), "first")
		if n := versions(s); n < 150 {
			t.Fatalf("%d versions while a snapshot below them is open", n)
		}
		must(t, held.Abort())
		write(150)
		if n := versions(s); n > 150 { // the last tables are not compacted yet
			t.Fatalf("%d versions of one key", n)
		}
		must(t, s.Close())
	})
}

func versions(s *Badger) (n int) {
	opt := badger.DefaultIteratorOptions
	opt.AllVersions, opt.PrefetchValues = true, false
	txn := s.engine.db.NewTransactionAt(1<<62, false)
	it := txn.NewIterator(opt)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		n++
	}
	return n
}
