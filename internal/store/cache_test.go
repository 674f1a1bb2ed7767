package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// Readers at every age of snapshot see what was committed at it and nothing
// else, while writers change and delete the rows under them and the cache holds
// a part of them.
func TestCacheAndSnapshots(t *testing.T) {
	s := openTest(t, t.TempDir(), Options{memTable: 1 << 20, cache: 6000})
	defer s.Close()
	const keys = 40
	type state struct {
		tx   Txn
		want [keys]int // 0: not there
	}
	var now [keys]int
	write := func(i int) {
		tx := begin(t, s, ReadWrite)
		for range 1 + rand.IntN(3) {
			k := rand.IntN(keys)
			if now[k] = i; rand.IntN(4) == 0 {
				now[k] = 0
				_, err := tx.Delete(fmt.Appendf(nil, "k%d", k))
				must(t, err)
				continue
			}
			value := fmt.Append(nil, i)
			if i%5 == 0 { // too large to keep
				value = append(value, make([]byte, maxCached)...)
			}
			must(t, tx.Put(Pair{Key: fmt.Appendf(nil, "k%d", k), Value: value}))
		}
		_, err := tx.CommitNoSync(context.Background())
		must(t, err)
	}
	check := func(st *state) {
		for range 8 {
			k := rand.IntN(keys)
			want := "-"
			if st.want[k] != 0 {
				want = fmt.Sprint(st.want[k])
			}
			same(t, fmt.Sprintf("k%d", k), strings.TrimRight(getIn(t, st.tx, fmt.Sprintf("k%d", k)), "\x00"), want)
		}
	}
	var open []*state
	for i := 1; i <= 4000; i++ {
		write(i)
		open = append(open, &state{begin(t, s, ReadOnly), now})
		for range 3 {
			check(open[rand.IntN(len(open))])
		}
		if len(open) > 12 {
			n := rand.IntN(len(open))
			must(t, open[n].tx.Abort())
			open = append(open[:n], open[n+1:]...)
		}
	}
	for _, st := range open {
		must(t, st.tx.Abort())
	}
	c := s.engine.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) == 0 || c.old == nil || c.size > c.max {
		t.Errorf("%d young rows of %d bytes, %d old", len(c.young), c.size, len(c.old))
	}
}

// A counter that is read back at once, by others than who wrote it, never goes
// back.
func TestCacheWhileWriting(t *testing.T) {
	s := openTest(t, t.TempDir(), Options{memTable: 1 << 20, cache: 2000})
	defer s.Close()
	var told atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := told.Load()
				tx, err := s.Begin(ReadOnly)
				must(t, err)
				it, err := tx.Get([]byte("n"))
				if err == nil && int64(it.Revision) < least || err != nil && least > 0 {
					t.Errorf("revision %d, %v, after %d was told", it.Revision, err, least)
				}
				_ = tx.Abort()
			}
		})
	}
	for i := range 3000 {
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("n"), Value: fmt.Append(nil, i)}, Pair{Key: fmt.Append(nil, "other", i%20)}))
		rev, err := tx.CommitNoSync(context.Background())
		must(t, err)
		told.Store(int64(rev))
	}
	close(stop)
	wg.Wait()
}
