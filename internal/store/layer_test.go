package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// gated is an engine whose batches wait to be let through, or fail.
type gated struct {
	*memory
	ready   chan *batch // a batch has arrived
	proceed chan error  // what becomes of it
}

// gatedStore must be opened inside a bubble.
func gatedStore(t *testing.T, opt Options) (*gated, Store) {
	t.Helper()
	opt, err := opt.complete(false)
	must(t, err)
	g := &gated{newMemory(), make(chan *batch), make(chan error)}
	c, err := newCore(g, opt)
	must(t, err)
	return g, &memoryStore{c}
}

func (g *gated) apply(b *batch) error {
	g.ready <- b
	if err := <-g.proceed; err != nil {
		return err
	}
	return g.memory.apply(b)
}

type outcome struct {
	rev uint64
	err error
}

// commitLater commits a put of each key in a transaction of its own and
// returns once all are queued.
func commitLater(t *testing.T, s Store, ctx context.Context, keys ...string) []chan outcome {
	t.Helper()
	var out []chan outcome
	for _, k := range keys {
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte(k), Value: []byte("v")}))
		ch := make(chan outcome, 1)
		go func() { rev, err := tx.Commit(ctx); ch <- outcome{rev, err} }()
		synctest.Wait()
		out = append(out, ch)
	}
	return out
}

func TestCommitsShareABatch(t *testing.T) {
	for _, oneByOne := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g, s := gatedStore(t, Options{OneByOne: oneByOne})
			first := commitLater(t, s, t.Context(), "a") // goes alone, without waiting for company
			b := <-g.ready
			same(t, "rows of the first batch", len(b.rows), 1)
			rest := commitLater(t, s, t.Context(), "b", "c", "d", "b")
			g.proceed <- nil
			want := 1
			if oneByOne {
				want = 4
			}
			for range want {
				b = <-g.ready
				g.proceed <- nil
			}
			if !oneByOne {
				same(t, "rows of the second batch", len(b.rows), 4)
			}
			last := uint64(0)
			for _, ch := range append(first, rest...) {
				o := <-ch
				must(t, o.err)
				if o.rev <= last {
					t.Fatalf("revision %d after %d", o.rev, last)
				}
				last = o.rev
			}
			same(t, "newest", s.Revision(), last)
			must(t, s.Close())
		})
	}
}

func TestRoundHasRoomForManyTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := gatedStore(t, Options{})
		chans := commitLater(t, s, t.Context(), "first")
		<-g.ready
		for i := range 600 {
			chans = append(chans, commitLater(t, s, t.Context(), fmt.Sprint(i))...)
		}
		g.proceed <- nil
		for _, want := range []int{256, 256, 88} {
			b := <-g.ready
			same(t, "rows", len(b.rows), want)
			g.proceed <- nil
		}
		last := uint64(0)
		for _, ch := range chans {
			o := <-ch
			must(t, o.err)
			if o.rev <= last {
				t.Fatalf("revision %d after %d", o.rev, last)
			}
			last = o.rev
		}
		must(t, s.Close())
	})
}

func TestCommitWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := gatedStore(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		writing := commitLater(t, s, ctx, "writing")[0]
		<-g.ready
		queued := commitLater(t, s, ctx, "queued")[0]
		cancel()
		wantErr(t, (<-writing).err, ErrUnknown)
		wantErr(t, (<-queued).err, context.Canceled)
		g.proceed <- nil
		synctest.Wait()
		same(t, "was written after all", get(t, s, "writing"), "v")
		same(t, "was withdrawn", get(t, s, "queued"), "-")
		must(t, s.Close())
	})
}

func TestConditionsInOneRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := gatedStore(t, Options{})
		blocker := commitLater(t, s, t.Context(), "x")[0]
		<-g.ready
		later := func(p Pair) chan outcome {
			tx := begin(t, s, ReadWrite)
			must(t, tx.Put(p))
			ch := make(chan outcome, 1)
			go func() { rev, err := tx.Commit(t.Context()); ch <- outcome{rev, err} }()
			synctest.Wait()
			return ch
		}
		win := later(Pair{Key: []byte("k"), If: Condition{Absent: true}})
		lose := later(Pair{Key: []byte("k"), If: Condition{Absent: true}})
		other := later(Pair{Key: []byte("k2")})
		g.proceed <- nil
		<-g.ready
		g.proceed <- nil
		must(t, (<-blocker).err)
		won := <-win
		must(t, won.err)
		must(t, (<-other).err)
		var re *RevisionError
		if err := (<-lose).err; !errors.As(err, &re) || re.Current != won.rev {
			t.Fatalf("loser got %v, winner has %d", err, won.rev)
		}
		must(t, s.Close())
	})
}

func TestFailedWriteStopsCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := gatedStore(t, Options{Watched: nil})
		broken := errors.New("disk on fire")
		ch := commitLater(t, s, t.Context(), "a")[0]
		<-g.ready
		second := commitLater(t, s, t.Context(), "b")[0]
		g.proceed <- broken
		for _, c := range []chan outcome{ch, second} {
			o := <-c
			wantErr(t, o.err, ErrFailed)
			wantErr(t, o.err, broken)
		}
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("c")}))
		_, err := tx.Commit(t.Context())
		wantErr(t, err, ErrFailed)
		same(t, "reads go on", get(t, s, "a"), "-")
		must(t, s.Close())
	})
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := gatedStore(t, Options{})
		a := commitLater(t, s, t.Context(), "a")[0]
		<-g.ready
		b := commitLater(t, s, t.Context(), "b")[0]
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		synctest.Wait()
		g.proceed <- nil
		<-g.ready
		g.proceed <- nil
		must(t, (<-a).err)
		must(t, (<-b).err)
		must(t, <-closed)
	})
}

func TestC11DroppedTransactionsExpire(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, opt Options) Store{
		"memory": func(t *testing.T, opt Options) Store { return OpenMemory(opt) },
		"badger": func(t *testing.T, opt Options) Store { return openTest(t, t.TempDir(), opt) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, Options{MaxAge: 30 * time.Second, MaxReadAge: time.Minute})
				put(t, s, "k", "old")
				dropped, reader := begin(t, s, ReadWrite), begin(t, s, ReadOnly)
				same(t, "young", getIn(t, dropped, "k"), "old")
				must(t, dropped.Put(Pair{Key: []byte("x")}))
				time.Sleep(31 * time.Second)
				put(t, s, "k", "new") // sweeps
				_, err := dropped.Get([]byte("k"))
				wantErr(t, err, ErrExpired)
				_, err = dropped.Commit(t.Context())
				wantErr(t, err, ErrExpired)
				must(t, dropped.Abort())
				wantErr(t, dropped.Abort(), ErrEnded)
				same(t, "reader lives longer", getIn(t, reader, "k"), "old")
				time.Sleep(30 * time.Second)
				_, _, err = reader.Scan(nil, Page{})
				wantErr(t, err, ErrExpired)

				// Without any commit they expire too.
				idle := begin(t, s, ReadWrite)
				time.Sleep(31 * time.Second)
				wantErr(t, idle.Put(Pair{Key: []byte("x")}), ErrExpired)
				must(t, s.Close())
			})
		})
	}
}

func TestDroppedTransactionsPinNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := OpenMemory(Options{}).(*memoryStore)
		for i := range 100 {
			put(t, s, "k", fmt.Sprint(i))
			begin(t, s, ReadWrite) // dropped
			begin(t, s, ReadOnly)
		}
		if len(s.hist.log) < 99 {
			t.Fatalf("history of %d commits for 99 open snapshots", len(s.hist.log))
		}
		time.Sleep(31 * time.Second)
		put(t, s, "k", "x") // in the newest snapshot, which the last two were dropped in
		time.Sleep(31 * time.Second)
		put(t, s, "k", "y")
		put(t, s, "k", "z")
		if n := len(s.hist.log); n > 1 {
			t.Fatalf("history of %d commits is still there", n)
		}
		if n := len(s.hist.last); n > 1 {
			t.Fatalf("%d keys are still remembered", n)
		}
		time.Sleep(10 * time.Minute)
		put(t, s, "k", "end")
		if e := s.oracle.open.next; e != &s.oracle.open {
			t.Fatalf("epoch %d is still open", e.tick)
		}
		must(t, s.Close())
	})
}

func TestHistoryIsBounded(t *testing.T) {
	s := OpenMemory(Options{}).(*memoryStore)
	defer s.Close()
	s.hist.max = 100
	old := begin(t, s, ReadWrite)
	getIn(t, old, "k")
	for i := range 90 {
		put(t, s, fmt.Sprint(i), "")
	}
	same(t, "within the bound", getIn(t, old, "k"), "-")
	young := begin(t, s, ReadWrite)
	getIn(t, young, "k")
	for i := range 50 {
		put(t, s, fmt.Sprint(i), "")
	}
	_, err := old.Get([]byte("k"))
	wantErr(t, err, ErrExpired)
	if s.hist.size > 101 {
		t.Fatalf("%d keys remembered", s.hist.size)
	}
	must(t, young.Put(Pair{Key: []byte("k")}))
	commit(t, young)
}

func TestReadsAreTrackedOnce(t *testing.T) {
	s := OpenMemory(Options{})
	defer s.Close()
	tx := begin(t, s, ReadWrite).(*txn)
	for range 10_000 {
		getIn(t, tx, "k")
	}
	if len(tx.reads) > 100 {
		t.Fatalf("%d reads of one key remembered", len(tx.reads))
	}
	reader := begin(t, s, ReadOnly).(*txn)
	getIn(t, reader, "k")
	_, _, err := reader.Scan(nil, Page{})
	must(t, err)
	if len(reader.reads)+len(reader.ranges) > 0 {
		t.Fatal("a ReadOnly transaction tracks")
	}
}

func TestOptionsTellAllFaults(t *testing.T) {
	_, err := OpenBadger(Options{WatchRetain: -1, Watched: [][]byte{make([]byte, MaxKey+1)}})
	for _, want := range []string{"no directory", "0 bytes long, not 32", "negative", "watched prefix"} {
		if err == nil || !contains(err.Error(), want) {
			t.Errorf("error %v does not tell %q", err, want)
		}
	}
}
