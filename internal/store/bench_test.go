package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkCommit commits three small rows, as staging a shard does, with and
// without merging, and without waiting for the disk. Run on a real disk:
//
//	TMPDIR=/some/disk go test -run xxx -bench Commit ./internal/store
func BenchmarkCommit(b *testing.B) {
	for _, workers := range []int{1, 16, 64} {
		for _, name := range []string{"merged", "fsync-each", "no-sync"} {
			b.Run(fmt.Sprintf("%s/%d", name, workers), func(b *testing.B) {
				s := openTest(b, b.TempDir(), Options{OneByOne: name == "fsync-each"})
				defer s.Close()
				b.ReportAllocs()
				parallel(b, workers, func(i int64) error {
					tx, err := s.Begin(ReadWrite)
					if err != nil {
						return err
					}
					if err := tx.Put(stageRows(i)...); err != nil {
						return err
					}
					commit := tx.Commit
					if name == "no-sync" {
						commit = tx.CommitNoSync
					}
					_, err = commit(context.Background())
					return err
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
			})
		}
	}
}

func stageRows(i int64) []Pair {
	return []Pair{
		{Key: fmt.Appendf(nil, "rs:%016x", i), Value: make([]byte, 180)},
		{Key: fmt.Appendf(nil, "rt:%016x", i), Value: make([]byte, 60)},
		{Key: fmt.Appendf(nil, "rp:team/app:KEY_%d:%016x", i%1000, i), Value: []byte{}},
	}
}

// parallel runs fn b.N times in so many goroutines.
func parallel(b *testing.B, workers int, fn func(i int64) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range workers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := fn(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
}

// BenchmarkApply commits a fetch of records as one transaction that reads and
// writes as the apply loop does.
func BenchmarkApply(b *testing.B) {
	s := openTest(b, b.TempDir(), Options{})
	defer s.Close()
	const records = 100
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		tx := begin(b, s, ReadWrite)
		for range records {
			n++
			head := fmt.Appendf(nil, "ms:team/app:KEY_%d", n%5000)
			if _, err := tx.Get(head); err != nil && !errors.Is(err, ErrNotFound) {
				b.Fatal(err)
			}
			must(b, tx.Put(
				Pair{Key: head, Value: make([]byte, 120)},
				Pair{Key: fmt.Appendf(nil, "mv:team/app:KEY_%d:%08d", n%5000, n), Value: make([]byte, 200)},
				Pair{Key: fmt.Appendf(nil, "mt:%016x", n), Value: make([]byte, 80)}))
		}
		commit(b, tx)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// filled has n rows of 200 bytes under "k:".
func filled(b *testing.B, s Store, n int) {
	b.Helper()
	for i := 0; i < n; {
		tx := begin(b, s, ReadWrite)
		for range 5000 {
			must(b, tx.Put(Pair{Key: fmt.Appendf(nil, "k:%08d", i), Value: make([]byte, 200)}))
			i++
		}
		commit(b, tx)
	}
}

func eachStore(b *testing.B, rows int, fn func(b *testing.B, s Store)) {
	b.Run("memory", func(b *testing.B) {
		s := OpenMemory(Options{})
		defer s.Close()
		filled(b, s, rows)
		fn(b, s)
	})
	b.Run("badger", func(b *testing.B) {
		dir := b.TempDir()
		s := openTest(b, dir, Options{})
		filled(b, s, rows)
		must(b, s.Close()) // into tables
		s = openTest(b, dir, Options{})
		defer s.Close()
		fn(b, s)
	})
}

func BenchmarkBegin(b *testing.B) {
	s := OpenMemory(Options{})
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		tx, _ := s.Begin(ReadOnly)
		_ = tx.Abort()
	}
}

// BenchmarkGet reads four rows in a ReadOnly transaction, as one read of a
// secret does.
func BenchmarkGet(b *testing.B) {
	const rows = 100_000
	eachStore(b, rows, func(b *testing.B, s Store) {
		b.ReportAllocs()
		key := make([]byte, 0, 16)
		n := 0
		for b.Loop() {
			tx, err := s.Begin(ReadOnly)
			must(b, err)
			for range 4 {
				n = (n + 7919) % rows
				key = fmt.Appendf(key[:0], "k:%08d", n)
				if _, err := tx.Get(key); err != nil {
					b.Fatal(err)
				}
			}
			must(b, tx.Abort())
		}
	})
}

// BenchmarkScan and BenchmarkCount visit the same 1,000 rows.
func BenchmarkScan(b *testing.B) {
	eachStore(b, 20_000, func(b *testing.B, s Store) {
		b.ReportAllocs()
		for b.Loop() {
			tx := begin(b, s, ReadOnly)
			items, _, err := tx.Scan([]byte("k:00003"), Page{})
			if err != nil || len(items) != 1000 {
				b.Fatal(len(items), err)
			}
			must(b, tx.Abort())
		}
	})
}

func BenchmarkCount(b *testing.B) {
	eachStore(b, 20_000, func(b *testing.B, s Store) {
		b.ReportAllocs()
		for b.Loop() {
			tx := begin(b, s, ReadOnly)
			n, err := tx.Count([]byte("k:00003"))
			if err != nil || n != 1000 {
				b.Fatal(n, err)
			}
			must(b, tx.Abort())
		}
	})
}

// BenchmarkWatched commits one row under a watched prefix while so many
// watchers follow.
func BenchmarkWatched(b *testing.B) {
	for _, n := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openTest(b, b.TempDir(), Options{Watched: watched("k")})
			var wg sync.WaitGroup
			for range n {
				w := watch(b, s, Start{})
				wg.Go(func() {
					for _, err := w.Next(); err == nil; _, err = w.Next() {
					}
				})
			}
			i := 0
			for b.Loop() {
				i++
				put(b, s, fmt.Sprint("k", i%1000), "value")
			}
			must(b, s.Close())
			wg.Wait()
		})
	}
}
