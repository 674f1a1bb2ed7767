package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"sync"
)

func TestC11TransactionsLife(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("k"), Value: []byte("1")}))
		same(t, "own write", getIn(t, tx, "k"), "1")
		same(t, "others before commit", get(t, s, "k"), "-")
		it, err := tx.Get([]byte("k"))
		must(t, err)
		same(t, "own revision", it.Revision, uint64(0))
		rev := commit(t, tx)
		same(t, "others after commit", get(t, s, "k"), "1")
		same(t, "revision", s.Revision(), rev)
		for name, err := range used(tx) {
			if !errors.Is(err, ErrEnded) {
				t.Errorf("%s after Commit: %v", name, err)
			}
		}

		tx = begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("k"), Value: []byte("2")}))
		must(t, tx.Abort())
		same(t, "after abort", get(t, s, "k"), "1")
		same(t, "revision after abort", s.Revision(), rev)
		for name, err := range used(tx) {
			if !errors.Is(err, ErrEnded) {
				t.Errorf("%s after Abort: %v", name, err)
			}
		}

		tx = begin(t, s, ReadOnly)
		wantErr(t, tx.Put(Pair{Key: []byte("k")}), ErrReadOnly)
		_, err = tx.Delete([]byte("k"))
		wantErr(t, err, ErrReadOnly)
		_, err = tx.DeletePrefix(nil)
		wantErr(t, err, ErrReadOnly)
		same(t, "commit of a reader", commit(t, tx), rev)

		tx = begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("k"), Value: []byte("3")}))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err = tx.Commit(ctx)
		wantErr(t, err, context.Canceled)
		same(t, "after cancelled commit", get(t, s, "k"), "1")

		tx = begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("k"), Value: []byte("4")}))
		must(t, s.Close())
		must(t, s.Close())
		_, err = tx.Commit(context.Background())
		wantErr(t, err, ErrClosed)
		_, err = s.Begin(ReadOnly)
		wantErr(t, err, ErrClosed)
	})
}

func used(tx Txn) map[string]error {
	errs := map[string]error{}
	_, errs["Get"] = tx.Get([]byte("k"))
	errs["Put"] = tx.Put(Pair{Key: []byte("k")})
	_, _, errs["Scan"] = tx.Scan(nil, Page{})
	_, errs["Delete"] = tx.Delete([]byte("k"))
	_, errs["DeletePrefix"] = tx.DeletePrefix(nil)
	_, errs["Count"] = tx.Count(nil)
	_, errs["Commit"] = tx.Commit(context.Background())
	errs["Abort"] = tx.Abort()
	return errs
}

func TestC12NoLostUpdate(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		put(t, s, "n", "\x00\x00")
		a, b := begin(t, s, ReadWrite), begin(t, s, ReadWrite)
		for _, tx := range []Txn{a, b} {
			getIn(t, tx, "n")
			must(t, tx.Put(Pair{Key: []byte("n"), Value: []byte("\x00\x00")}))
		}
		commit(t, a)
		_, err := b.Commit(context.Background())
		wantErr(t, err, ErrConflict)

		const workers, each = 8, 40
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for n := 0; n < each; {
					tx, _ := s.Begin(ReadWrite)
					it, err := tx.Get([]byte("n"))
					if err != nil {
						t.Error(err)
						return
					}
					v := int(it.Value[0])<<8 + int(it.Value[1]) + 1
					_ = tx.Put(Pair{Key: []byte("n"), Value: []byte{byte(v >> 8), byte(v)}})
					_, err = tx.Commit(context.Background())
					if err == nil {
						n++
					} else if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		v := get(t, s, "n")
		same(t, "increments", int(v[0])<<8+int(v[1]), workers*each)
	})
}

func TestC13NoWriteSkew(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		put(t, s, "x", "1", "y", "1")
		a, b := begin(t, s, ReadWrite), begin(t, s, ReadWrite)
		for i, tx := range []Txn{a, b} {
			getIn(t, tx, "x")
			getIn(t, tx, "y")
			must(t, tx.Put(Pair{Key: []byte{"xy"[i]}, Value: []byte("0")}))
		}
		commit(t, b)
		_, err := a.Commit(context.Background())
		wantErr(t, err, ErrConflict)
		same(t, "x", get(t, s, "x"), "1")
	})
}

func TestC14NoPhantom(t *testing.T) {
	type step = func(tx Txn) error
	scan := func(prefix string, p Page) step {
		return func(tx Txn) error { _, _, err := tx.Scan([]byte(prefix), p); return err }
	}
	count := func(tx Txn) error { _, err := tx.Count([]byte("p:")); return err }
	erase := func(tx Txn) error { _, err := tx.DeletePrefix([]byte("p:")); return err }
	get := func(tx Txn) error { _, err := tx.Get([]byte("p:new")); _ = err; return nil }
	remove := func(tx Txn) error { _, err := tx.Delete([]byte("p:new")); return err }
	for name, c := range map[string]struct {
		read     step
		insert   string
		conflict bool
	}{
		"scan":                {scan("p:", Page{}), "p:new", true},
		"scan outside":        {scan("p:", Page{}), "p;", false},
		"scan below":          {scan("p:", Page{}), "p", false},
		"page":                {scan("p:", Page{Limit: 2}), "p:1a", true},
		"page, next seen":     {scan("p:", Page{Limit: 2}), "p:3", true},
		"page, beyond":        {scan("p:", Page{Limit: 2}), "p:4", false},
		"page, after":         {scan("p:", Page{After: []byte("p:2")}), "p:1a", false},
		"reverse":             {scan("p:", Page{Limit: 2, Reverse: true}), "p:4a", true},
		"reverse, beyond":     {scan("p:", Page{Limit: 2, Reverse: true}), "p:2", false},
		"reverse, above":      {scan("p:", Page{Limit: 2, Reverse: true}), "p:z", true},
		"empty range":         {scan("p:9", Page{}), "p:91", true},
		"count":               {count, "p:new", true},
		"delete prefix":       {erase, "p:new", true},
		"get missing":         {get, "p:new", true},
		"delete missing":      {remove, "p:new", true},
		"whole space":         {scan("", Page{}), "zz", true},
		"whole space, change": {scan("", Page{}), "p:1", true},
	} {
		t.Run(name, func(t *testing.T) {
			stores(t, func(t *testing.T, open opener) {
				s := open(t, Options{})
				put(t, s, "p:1", "1", "p:2", "1", "p:3", "1", "p:4", "1", "p:5", "1")
				tx := begin(t, s, ReadWrite)
				must(t, c.read(tx))
				must(t, tx.Put(Pair{Key: []byte("result")}))
				put(t, s, c.insert, "new")
				_, err := tx.Commit(context.Background())
				if c.conflict {
					wantErr(t, err, ErrConflict)
				} else {
					must(t, err)
				}
			})
		})
	}
}

func TestC15Conditions(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		r1 := put(t, s, "k", "1")
		r2 := put(t, s, "k", "2", "gone", "x")
		if r2 <= r1 {
			t.Fatalf("revisions %d, %d", r1, r2)
		}
		try := func(late bool, p Pair) error {
			tx := begin(t, s, ReadWrite)
			if late { // holds in the snapshot, not any more at commit
				if err := tx.Put(p); err != nil {
					return err
				}
				put(t, s, "k", "3")
				_, err := begin(t, s, ReadWrite).Delete([]byte("none"))
				must(t, err)
				_, err = tx.Commit(context.Background())
				return err
			}
			if err := tx.Put(p); err != nil {
				return err
			}
			_, err := tx.Commit(context.Background())
			return err
		}
		key := []byte("k")
		wrong := func(err error, current uint64) {
			t.Helper()
			var re *RevisionError
			if !errors.As(err, &re) || !errors.Is(err, ErrConflict) {
				t.Fatalf("error %v", err)
			}
			same(t, "error", *re, RevisionError{Key: key, Current: current})
		}
		wrong(try(false, Pair{Key: key, If: Condition{Absent: true}}), r2)
		wrong(try(false, Pair{Key: key, If: Condition{Revision: r1}}), r2)
		wrong(try(false, Pair{Key: key, If: Condition{Revision: r1}, Delete: true}), r2)
		must(t, try(false, Pair{Key: key, Value: []byte("4"), If: Condition{Revision: r2}}))
		r4 := s.Revision()
		err := try(true, Pair{Key: key, If: Condition{Revision: r4}})
		wrong(err, s.Revision())
		r5 := s.Revision()
		err = try(true, Pair{Key: key, If: Condition{Revision: r5}, Delete: true})
		wrong(err, s.Revision())
		must(t, try(false, Pair{Key: key, If: Condition{Revision: s.Revision()}, Delete: true}))
		same(t, "deleted", get(t, s, "k"), "-")
		wrong(try(false, Pair{Key: key, If: Condition{Revision: r5}}), 0)
		wrong(try(true, Pair{Key: key, If: Condition{Absent: true}}), s.Revision())

		// A key that changed and is absent again satisfies Absent.
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("new"), Value: []byte("mine"), If: Condition{Absent: true}}))
		put(t, s, "new", "x")
		del := begin(t, s, ReadWrite)
		_, err = del.Delete([]byte("new"))
		must(t, err)
		commit(t, del)
		commit(t, tx)
		same(t, "new", get(t, s, "new"), "mine")

		// A later write of the same transaction keeps the condition.
		tx = begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("two"), If: Condition{Absent: true}}))
		must(t, tx.Put(Pair{Key: []byte("two"), Value: []byte("b")}))
		r := put(t, s, "two", "x")
		_, err = tx.Commit(context.Background())
		key = []byte("two")
		wrong(err, r)
	})
}

func TestC15OneOfManyWins(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		const workers = 16
		for i := range 20 {
			key := []byte(fmt.Sprint("k", i))
			var wg sync.WaitGroup
			revs, lost := make([]uint64, workers), make([]uint64, workers)
			for w := range workers {
				wg.Go(func() {
					tx, _ := s.Begin(ReadWrite)
					err := tx.Put(Pair{Key: key, Value: []byte{byte(w)}, If: Condition{Absent: true}})
					if err == nil {
						revs[w], err = tx.Commit(context.Background())
					}
					var re *RevisionError
					if errors.As(err, &re) {
						lost[w] = re.Current
					} else if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			tx := begin(t, s, ReadOnly)
			it, err := tx.Get(key)
			must(t, err)
			must(t, tx.Abort())
			for w := range workers {
				won := byte(w) == it.Value[0]
				if won && revs[w] != it.Revision || !won && (revs[w] != 0 || lost[w] != it.Revision) {
					t.Fatalf("worker %d: committed %d, lost to %d, key is at %d", w, revs[w], lost[w], it.Revision)
				}
			}
		}
	})
}
