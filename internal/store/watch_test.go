package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func watched(prefixes ...string) (out [][]byte) {
	for _, p := range prefixes {
		out = append(out, []byte(p))
	}
	return out
}

func watch(t testing.TB, s Store, from Start, prefixes ...string) *Watcher {
	t.Helper()
	w, err := s.Watch(context.Background(), from, watched(prefixes...)...)
	must(t, err)
	t.Cleanup(w.Close)
	return w
}

// told is a change in words: "key=value" or "-key".
func told(c Change) (out []string) {
	for _, e := range c.Events {
		if e.Deleted {
			out = append(out, "-"+string(e.Key))
		} else {
			out = append(out, string(e.Key)+"="+string(e.Value))
		}
	}
	return out
}

func next(t testing.TB, w *Watcher) Change {
	t.Helper()
	c, err := w.Next()
	must(t, err)
	for _, e := range c.Events {
		if !c.Snapshot && e.Revision != c.Revision || e.Revision > c.Revision {
			t.Fatalf("event %q at revision %d in a change at %d", e.Key, e.Revision, c.Revision)
		}
	}
	return c
}

func TestC17EventsOnceInOrder(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{Watched: watched("a:", "b:")})
		w := watch(t, s, Start{})
		var want []Change
		for i := range 50 {
			tx := begin(t, s, ReadWrite)
			must(t, tx.Put(Pair{Key: fmt.Appendf(nil, "a:%d", i), Value: []byte("1")}, Pair{Key: []byte("not")},
				Pair{Key: []byte("b:x"), Value: []byte{byte(i)}}))
			_, err := tx.Delete(fmt.Appendf(nil, "a:%d", i-1), []byte("a:none"))
			must(t, err)
			c := Change{Revision: commit(t, tx)}
			if i > 0 {
				c.Events = append(c.Events, Event{Key: fmt.Appendf(nil, "a:%d", i-1), Deleted: true, Revision: c.Revision})
			}
			c.Events = append(c.Events, Event{Key: fmt.Appendf(nil, "a:%d", i), Value: []byte("1"), Revision: c.Revision})
			if i > 0 && bytes.Compare(c.Events[0].Key, c.Events[1].Key) > 0 {
				c.Events[0], c.Events[1] = c.Events[1], c.Events[0]
			}
			c.Events = append(c.Events, Event{Key: []byte("b:x"), Value: []byte{byte(i)}, Revision: c.Revision})
			want = append(want, c)
			put(t, s, "other", "no event")
		}
		for _, c := range want {
			same(t, "change", next(t, w), c)
		}
	})
}

func TestC17ConcurrentCommitsKeepTheirOwnRevisions(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{Watched: watched("")})
		w := watch(t, s, Start{})
		const workers, each = 12, 30
		var mu sync.Mutex
		commits := map[uint64]string{}
		var wg sync.WaitGroup
		for n := range workers {
			wg.Go(func() {
				for i := range each {
					tx, _ := s.Begin(ReadWrite)
					v := fmt.Sprintf("%d.%d", n, i)
					_ = tx.Put(Pair{Key: []byte("hot"), Value: []byte(v)}, Pair{Key: []byte("hot2"), Value: []byte(v)})
					rev, err := tx.Commit(context.Background())
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					if commits[rev] != "" {
						t.Errorf("revision %d given twice", rev)
					}
					commits[rev] = v
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		last, lastValue := uint64(0), ""
		for range workers * each {
			c := next(t, w)
			if c.Revision <= last {
				t.Fatalf("revision %d after %d", c.Revision, last)
			}
			last, lastValue = c.Revision, commits[c.Revision]
			same(t, "change", told(c), []string{"hot=" + lastValue, "hot2=" + lastValue})
		}
		same(t, "newest", get(t, s, "hot"), lastValue)
	})
}

func TestC18ResumeAndSnapshot(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{Watched: watched("w:")})
		put(t, s, "w:1", "a", "w:2", "b", "x", "c")
		r := put(t, s, "w:1", "a2")
		put(t, s, "w:3", "d")
		r4 := put(t, s, "w:4", "e")
		w := watch(t, s, Start{After: r})
		same(t, "first after r", told(next(t, w)), []string{"w:3=d"})
		same(t, "second after r", told(next(t, w)), []string{"w:4=e"})

		w = watch(t, s, Start{Snapshot: true})
		put(t, s, "w:5", "late")
		same(t, "snapshot", next(t, w), Change{Revision: r4, Snapshot: true, Events: []Event{
			{Key: []byte("w:1"), Value: []byte("a2"), Revision: r}, {Key: []byte("w:2"), Value: []byte("b"), Revision: firstRev(t, s, "w:2")},
			{Key: []byte("w:3"), Value: []byte("d"), Revision: firstRev(t, s, "w:3")}, {Key: []byte("w:4"), Value: []byte("e"), Revision: r4},
		}})
		same(t, "after snapshot", told(next(t, w)), []string{"w:5=late"})

		w = watch(t, s, Start{Snapshot: true}, "w:nothing")
		same(t, "empty snapshot", next(t, w), Change{Revision: s.Revision(), Snapshot: true})
		_, err := s.Watch(context.Background(), Start{After: s.Revision() + 1})
		wantErr(t, err, ErrCompacted) // the store is older than the watcher
	})
}

func firstRev(t testing.TB, s Store, key string) uint64 {
	t.Helper()
	tx := begin(t, s, ReadOnly)
	defer tx.Abort()
	it, err := tx.Get([]byte(key))
	must(t, err)
	return it.Revision
}

// A storm of writes while watches start: each must end with the true state.
func TestC18SnapshotInAStorm(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{Watched: watched("w:")})
		for i := range 700 { // several pages
			if i%50 == 0 {
				put(t, s, fmt.Sprintf("w:%03d", i), strings.Repeat("v", 9000))
			}
			put(t, s, fmt.Sprintf("w:%03d", i), "0")
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for n := range 2 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(1, uint64(n)))
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					tx, _ := s.Begin(ReadWrite)
					k := fmt.Appendf(nil, "w:%03d", rnd.IntN(800))
					if rnd.IntN(4) == 0 {
						_, _ = tx.Delete(k)
					} else {
						_ = tx.Put(Pair{Key: k, Value: fmt.Append(nil, n, i)})
					}
					_, _ = tx.Commit(context.Background())
				}
			})
		}
		type copied struct {
			w     *Watcher
			state map[string]string
			rev   uint64
		}
		var copies []*copied
		for range 5 {
			c := &copied{w: watch(t, s, Start{Snapshot: true}), state: map[string]string{}}
			copies = append(copies, c)
			for more := true; more; {
				ch := next(t, c.w)
				more = ch.Snapshot && ch.More
				c.rev = ch.Revision
				apply(c.state, ch)
			}
		}
		close(stop)
		wg.Wait()
		end := put(t, s, "w:end", "1")
		want := map[string]string{}
		tx := begin(t, s, ReadOnly)
		items, _, err := tx.Scan([]byte("w:"), Page{})
		must(t, err)
		for _, it := range items {
			want[string(it.Key)] = string(it.Value)
		}
		must(t, tx.Abort())
		for _, c := range copies {
			for c.rev < end {
				ch := next(t, c.w)
				if ch.Revision <= c.rev {
					t.Fatalf("revision %d again after %d", ch.Revision, c.rev)
				}
				c.rev = ch.Revision
				apply(c.state, ch)
			}
			same(t, "copy", c.state, want)
		}
	})
}

func apply(state map[string]string, c Change) {
	for _, e := range c.Events {
		if e.Deleted {
			delete(state, string(e.Key))
		} else {
			state[string(e.Key)] = string(e.Value)
		}
	}
}

func TestC19Compacted(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		const retain = 20
		s := open(t, Options{Watched: watched(""), WatchRetain: retain})
		var revs []uint64
		for i := range 100 {
			revs = append(revs, put(t, s, "k", fmt.Sprint(i)))
		}
		_, err := s.Watch(context.Background(), Start{After: revs[3]})
		var ce *CompactedError
		if !errors.As(err, &ce) || !errors.Is(err, ErrCompacted) {
			t.Fatalf("error %v", err)
		}
		if ce.Oldest > revs[len(revs)-retain-1] || ce.Oldest < revs[len(revs)-2*retain] {
			t.Fatalf("oldest %d: %d transactions are to be kept, up to %d", ce.Oldest, retain, revs[99])
		}
		w := watch(t, s, Start{After: ce.Oldest})
		for i, r := range revs {
			if r > ce.Oldest {
				same(t, "change", told(next(t, w)), []string{fmt.Sprintf("k=%d", i)})
			}
		}
	})
}

func TestC20SlowConsumerAndCancel(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{Watched: watched(""), WatchRetain: 20})
		slow := watch(t, s, Start{})
		put(t, s, "k", "first")
		same(t, "first", told(next(t, slow)), []string{"k=first"})
		for i := range 500 { // never delayed by the watcher
			put(t, s, "k", fmt.Sprint(i))
		}
		_, err := slow.Next()
		var ce *CompactedError
		if !errors.As(err, &ce) {
			t.Fatalf("slow consumer got %v", err)
		}
		_, again := slow.Next()
		same(t, "sticky", again == err, true)

		before := runtime.NumGoroutine()
		ctx, cancel := context.WithCancel(context.Background())
		errs := make(chan error)
		for i := range 10 {
			w, err := s.Watch(ctx, Start{After: s.Revision()})
			must(t, err)
			go func() { _, err := w.Next(); errs <- err }()
			if i%2 == 0 {
				w.Close()
				wantErr(t, <-errs, ErrEnded)
			}
		}
		cancel()
		for range 5 {
			wantErr(t, <-errs, context.Canceled)
		}
		if n := runtime.NumGoroutine(); n > before+5 { // those that are on their way out
			t.Fatalf("%d goroutines, %d before", n, before)
		}
		w := watch(t, s, Start{After: s.Revision()})
		go func() { _, err := w.Next(); errs <- err }()
		must(t, s.Close())
		wantErr(t, <-errs, ErrClosed)
	})
}

func TestC20WatcherHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // ends only when every goroutine has
		s := OpenMemory(Options{Watched: watched("")})
		w, err := s.Watch(t.Context(), Start{})
		must(t, err)
		got := make(chan error)
		go func() { _, err := w.Next(); got <- err }()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("Next returned %v with no event", err)
		default:
		}
		put(t, s, "k", "v")
		must(t, <-got)
		must(t, s.Close())
	})
}

func TestC21ManyRanges(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{Watched: watched("a", "ab", "c:", "a")})
		w := watch(t, s, Start{}, "ab", "abc", "", "ab", "c:1")
		narrow := watch(t, s, Start{}, "ab", "c:1", "c:1:x")
		put(t, s, "abc", "1", "c:2", "2", "b", "none")
		put(t, s, "a", "3")
		put(t, s, "c:1", "4")
		same(t, "once each", told(next(t, w)), []string{"abc=1", "c:2=2"})
		same(t, "narrow", told(next(t, narrow)), []string{"abc=1"})
		same(t, "narrow", told(next(t, narrow)), []string{"c:1=4"})
		tx := begin(t, s, ReadWrite)
		_, err := tx.DeletePrefix(nil)
		must(t, err)
		commit(t, tx)
		same(t, "deletes", told(next(t, narrow)), []string{"-abc", "-c:1"})
		for _, p := range []string{"b", "c", "d"} {
			_, err = s.Watch(context.Background(), Start{}, []byte(p))
			if p == "c" {
				must(t, err) // contains c:
				continue
			}
			wantErr(t, err, ErrNotWatched)
		}
		_, err = open(t, Options{}).Watch(context.Background(), Start{})
		wantErr(t, err, ErrNotWatched)
	})
}

func TestUnwatchedPayNothing(t *testing.T) {
	s := openTest(t, t.TempDir(), Options{Watched: watched("w:")})
	defer s.Close()
	put(t, s, "x", "1")
	if len(s.log.held) != 0 || s.log.newest != 0 {
		t.Fatal("a write outside the watched ranges made an event row")
	}
	tx := begin(t, s, ReadOnly)
	n, err := tx.Count(nil)
	must(t, err)
	same(t, "visible keys", n, 1)
	must(t, tx.Abort())
}

// C22 has its test in C17: revisions are given in commit order.

func TestC23ResumeAfterRestart(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Watched: watched("a:"), WatchRetain: 1000}
	s := openTest(t, dir, opt)
	var revs []uint64
	for i := range 30 {
		revs = append(revs, put(t, s, "a:k", fmt.Sprint(i), "b:k", fmt.Sprint(i)))
	}
	must(t, s.Close())

	opt.Watched = watched("a:", "b:")
	s = openTest(t, dir, opt)
	same(t, "revision did not go back", s.Revision() >= revs[29], true)
	w := watch(t, s, Start{After: revs[9]}, "a:")
	for i := 10; i < 30; i++ {
		c := next(t, w)
		same(t, "change", told(c), []string{fmt.Sprintf("a:k=%d", i)})
		same(t, "revision", c.Revision, revs[i])
	}
	_, err := s.Watch(context.Background(), Start{After: revs[28]}, []byte("b:"))
	var ce *CompactedError
	if !errors.As(err, &ce) || ce.Oldest != revs[29] { // its events were not kept then
		t.Fatalf("newly watched range: %v", err)
	}
	wb := watch(t, s, Start{After: ce.Oldest}, "b:")
	r := put(t, s, "b:k", "new", "a:k", "new")
	if r <= revs[29] {
		t.Fatalf("revision %d after restart, %d before", r, revs[29])
	}
	same(t, "new range", told(next(t, wb)), []string{"b:k=new"})
	same(t, "old range", told(next(t, w)), []string{"a:k=new"})
	must(t, s.Close())
}
