package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The conformance suite: every test runs on every implementation. The names
// C1 … C23 are those of the checklist the store was built to.

type opener func(t *testing.T, opt Options) Store

func stores(t *testing.T, fn func(t *testing.T, open opener)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		fn(t, func(t *testing.T, opt Options) Store { return closing(t, OpenMemory(opt)) })
	})
	t.Run("badger", func(t *testing.T) {
		fn(t, func(t *testing.T, opt Options) Store { return closing(t, openTest(t, t.TempDir(), opt)) })
	})
	t.Run("badger-small", func(t *testing.T) { // transactions go through the redo row early
		fn(t, func(t *testing.T, opt Options) Store {
			opt.memTable = 1 << 20
			return closing(t, openTest(t, t.TempDir(), opt))
		})
	})
}

func closing(t *testing.T, s Store) Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func testKey() dsv.Secret { return dsv.SecretOf(bytes.Repeat([]byte{7}, 32)) }

func openTest(t testing.TB, dir string, opt Options) *Badger {
	t.Helper()
	opt.Dir, opt.EncryptionKey = dir, testKey()
	s, err := OpenBadger(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t testing.TB, s Store, m Mode) Txn {
	t.Helper()
	tx, err := s.Begin(m)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func commit(t testing.TB, tx Txn) uint64 {
	t.Helper()
	rev, err := tx.Commit(context.Background())
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return rev
}

// put commits "key", "value", ... pairs.
func put(t testing.TB, s Store, kv ...string) uint64 {
	t.Helper()
	tx := begin(t, s, ReadWrite)
	for i := 0; i < len(kv); i += 2 {
		must(t, tx.Put(Pair{Key: []byte(kv[i]), Value: []byte(kv[i+1])}))
	}
	return commit(t, tx)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// get reads in a snapshot of its own; "-" is not found.
func get(t testing.TB, s Store, key string) string {
	t.Helper()
	tx := begin(t, s, ReadOnly)
	defer tx.Abort()
	return getIn(t, tx, key)
}

func getIn(t testing.TB, tx Txn, key string) string {
	t.Helper()
	it, err := tx.Get([]byte(key))
	if errors.Is(err, ErrNotFound) {
		return "-"
	}
	must(t, err)
	if string(it.Key) != key || it.Value == nil {
		t.Fatalf("Get(%q) returned key %q, value %v", key, it.Key, it.Value)
	}
	return string(it.Value)
}

func keysIn(t testing.TB, tx Txn, prefix string, page Page) (keys []string, more bool) {
	t.Helper()
	items, more, err := tx.Scan([]byte(prefix), page)
	must(t, err)
	for _, it := range items {
		keys = append(keys, string(it.Key))
		if (it.Value == nil) != page.KeysOnly {
			t.Fatalf("item %q: value %v with KeysOnly %v", it.Key, it.Value, page.KeysOnly)
		}
	}
	return keys, more
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(modelItem{})); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func TestC1PutIsAtomic(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		put(t, s, "there", "1")
		bad := map[string]Pair{
			"empty key":    {Value: []byte("x")},
			"large key":    {Key: make([]byte, MaxKey+1)},
			"large value":  {Key: []byte("c"), Value: make([]byte, MaxValue+1)},
			"absent":       {Key: []byte("there"), If: Condition{Absent: true}},
			"revision":     {Key: []byte("c"), If: Condition{Revision: 99}},
			"own, absent":  {Key: []byte("a"), If: Condition{Absent: true}},
			"del revision": {Key: []byte("there"), Delete: true, If: Condition{Revision: 1}},
		}
		for name, b := range bad {
			tx := begin(t, s, ReadWrite)
			must(t, tx.Put(Pair{Key: []byte("z"), Value: []byte("z0")}))
			err := tx.Put(Pair{Key: []byte("a"), Value: []byte("1")}, Pair{Key: []byte("z"), Value: []byte("z1")}, b,
				Pair{Key: []byte("d"), Value: []byte("1")})
			if err == nil {
				t.Fatalf("%s: no error", name)
			}
			keys, _ := keysIn(t, tx, "", Page{})
			same(t, name, keys, []string{"there", "z"})
			same(t, name, getIn(t, tx, "z"), "z0")
			must(t, tx.Abort())
		}
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("k"), Value: []byte("1")}, Pair{Key: []byte("k"), Value: []byte("2")}))
		commit(t, tx)
		same(t, "same key twice: last wins", get(t, s, "k"), "2")
	})
}

func TestC2NotFoundAndEmpty(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		put(t, s, "empty", "")
		same(t, "empty value", get(t, s, "empty"), "")
		same(t, "missing", get(t, s, "missing"), "-")
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: []byte("nil")}))
		same(t, "own empty value", getIn(t, tx, "nil"), "")
		commit(t, tx)
		same(t, "nil value", get(t, s, "nil"), "")

		tx = begin(t, s, ReadWrite)
		_, err := tx.Get(nil)
		wantErr(t, err, ErrEmptyKey)
		wantErr(t, tx.Put(Pair{}), ErrEmptyKey)
		_, err = tx.Delete([]byte("empty"), nil)
		wantErr(t, err, ErrEmptyKey)
		for _, p := range [][]byte{nil, {}} {
			n, err := tx.Count(p)
			must(t, err)
			same(t, "whole space", n, 2)
			items, more, err := tx.Scan(p, Page{})
			must(t, err)
			if len(items) != 2 || more {
				t.Fatalf("Scan(nil) = %v, %v", items, more)
			}
		}
		must(t, tx.Abort())
	})
}

func TestC3BinarySafe(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		long := strings.Repeat("\xff", MaxKey)
		big := strings.Repeat("v\x00\xff", MaxValue/3)
		kv := []string{
			"\x00", "a", "\x00\x00", "b", "\xff", "c", "\xff\xff", "d", ":", "e", "a:", "\x00", "\xc3\x28", "\xff\xfe",
			"!badger!x", "f", "e", "g", "s", "h", "k", "i", "stick", "j", long, "l", "big", big,
		}
		put(t, s, kv...)
		for i := 0; i < len(kv); i += 2 {
			if get(t, s, kv[i]) != kv[i+1] {
				t.Fatalf("key %.20q came back different", kv[i])
			}
		}
		tx := begin(t, s, ReadOnly)
		n, err := tx.Count(nil)
		must(t, err)
		same(t, "count", n, len(kv)/2)
		_, err = tx.Get(make([]byte, 1<<20))
		wantErr(t, err, ErrNotFound)
		must(t, tx.Abort())

		tx = begin(t, s, ReadWrite)
		wantErr(t, tx.Put(Pair{Key: make([]byte, MaxKey+1)}), ErrTooLarge)
		wantErr(t, tx.Put(Pair{Key: []byte("k"), Value: make([]byte, MaxValue+1)}), ErrTooLarge)
		must(t, tx.Put(Pair{Key: []byte("max"), Value: make([]byte, MaxValue)}))
		must(t, tx.Put(Pair{Key: []byte("max2"), Value: make([]byte, MaxValue)}))
		must(t, tx.Put(Pair{Key: []byte("max3"), Value: make([]byte, MaxValue)}))
		wantErr(t, tx.Put(Pair{Key: []byte("max4"), Value: make([]byte, MaxValue)}), ErrTxnTooBig)
		commit(t, tx)
		same(t, "max value", len(get(t, s, "max2")), MaxValue)
	})
}

func TestC4PrefixOrderAndPages(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		all := []string{"a", "a\x00", "a:", "a:1", "a:2", "aa", "a\xff", "a\xff\xff", "a\xff\xff1", "b", "b:1"}
		for i := range all { // committed out of order
			put(t, s, all[(i*7)%len(all)], "v")
		}
		tx := begin(t, s, ReadOnly)
		put(t, s, "a:3", "later", "a:2", "changed") // pages stay those of the snapshot
		for _, c := range []struct {
			prefix string
			page   Page
			want   []string
			more   bool
		}{
			{"", Page{}, []string{"a", "a\x00", "a:", "a:1", "a:2", "aa", "a\xff", "a\xff\xff", "a\xff\xff1", "b", "b:1"}, false},
			{"a:", Page{}, []string{"a:", "a:1", "a:2"}, false},
			{"a\xff", Page{}, []string{"a\xff", "a\xff\xff", "a\xff\xff1"}, false},
			{"a\xff\xff", Page{}, []string{"a\xff\xff", "a\xff\xff1"}, false},
			{"\xff", Page{}, nil, false},
			{"a", Page{Limit: 2}, []string{"a", "a\x00"}, true},
			{"a", Page{Limit: 2, After: []byte("a\x00")}, []string{"a:", "a:1"}, true},
			{"a", Page{Limit: 9}, []string{"a", "a\x00", "a:", "a:1", "a:2", "aa", "a\xff", "a\xff\xff", "a\xff\xff1"}, false},
			{"a", Page{From: []byte("a:1"), To: []byte("aa"), KeysOnly: true}, []string{"a:1", "a:2"}, false},
			{"a", Page{From: []byte("a:1"), After: []byte("a:1")}, []string{"a:2", "aa", "a\xff", "a\xff\xff", "a\xff\xff1"}, false},
			{"a:", Page{From: []byte("0"), To: []byte("z")}, []string{"a:", "a:1", "a:2"}, false},
			{"a:", Page{From: []byte("b")}, nil, false},
			{"a:", Page{Reverse: true, Limit: 2}, []string{"a:2", "a:1"}, true},
			{"a:", Page{Reverse: true, Limit: 2, To: []byte("a:1")}, []string{"a:"}, false},
			{"", Page{Reverse: true, Limit: 3}, []string{"b:1", "b", "a\xff\xff1"}, true},
			{"a", Page{Reverse: true, Limit: 1, After: []byte("a\xff")}, []string{"a\xff\xff1"}, true},
		} {
			got, more := keysIn(t, tx, c.prefix, c.page)
			same(t, fmt.Sprintf("prefix %q page %+v", c.prefix, c.page), got, c.want)
			same(t, "more", more, c.more)
		}
		must(t, tx.Abort())
	})
}

func TestC5Delete(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		put(t, s, "p:1", "1", "p:2", "2", "p;", "3", "q", "4")
		tx := begin(t, s, ReadWrite)
		n, err := tx.Delete([]byte("q"), []byte("none"), []byte("q"))
		must(t, err)
		same(t, "deleted", n, 1)
		must(t, tx.Put(Pair{Key: []byte("p:3")}, Pair{Key: []byte("own")}))
		n, err = tx.Delete([]byte("own"))
		must(t, err)
		same(t, "own deleted", n, 1)
		n, err = tx.DeletePrefix([]byte("p:"))
		must(t, err)
		same(t, "prefix deleted", n, 3)
		commit(t, tx)
		tx = begin(t, s, ReadOnly)
		keys, _ := keysIn(t, tx, "", Page{})
		same(t, "left", keys, []string{"p;"})
		must(t, tx.Abort())

		tx = begin(t, s, ReadWrite)
		n, err = tx.DeletePrefix([]byte("none"))
		must(t, err)
		same(t, "none deleted", n, 0)
		n, err = tx.DeletePrefix(nil)
		must(t, err)
		same(t, "all deleted", n, 1)
		before := commit(t, tx)
		same(t, "revision", s.Revision(), before)
	})
}

func TestC6Count(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		for i := range 300 {
			put(t, s, fmt.Sprintf("c:%03d", i), "v")
		}
		tx := begin(t, s, ReadWrite)
		put(t, s, "c:new", "v")
		must(t, tx.Put(Pair{Key: []byte("c:000")}, Pair{Key: []byte("c:own")}))
		_, err := tx.Delete([]byte("c:001"), []byte("c:002"))
		must(t, err)
		n, err := tx.Count([]byte("c:"))
		must(t, err)
		same(t, "count", n, 299)
		keys, _ := keysIn(t, tx, "c:", Page{})
		same(t, "len(Scan)", len(keys), n)
		must(t, tx.Abort())
	})
}

func TestC7BuffersAreCopied(t *testing.T) {
	stores(t, func(t *testing.T, open opener) {
		s := open(t, Options{})
		k, v := []byte("key"), []byte("value")
		tx := begin(t, s, ReadWrite)
		must(t, tx.Put(Pair{Key: k, Value: v}))
		scribble := func(bs ...[]byte) {
			for _, b := range bs {
				for i := range b {
					b[i] = '#'
				}
				_ = append(b, "###"...)
			}
		}
		scribble(k, v)
		check := func(tx Txn) {
			for range 2 {
				it, err := tx.Get([]byte("key"))
				must(t, err)
				same(t, "value", string(it.Value), "value")
				scribble(it.Key, it.Value)
				items, _, err := tx.Scan(nil, Page{})
				must(t, err)
				same(t, "scanned", string(items[0].Key)+string(items[0].Value), "keyvalue")
				scribble(items[0].Key, items[0].Value)
			}
		}
		check(tx)
		commit(t, tx)
		tx = begin(t, s, ReadOnly)
		check(tx)
		must(t, tx.Abort())

		tx = begin(t, s, ReadWrite)
		d := []byte("key")
		_, err := tx.Delete(d)
		must(t, err)
		scribble(d)
		commit(t, tx)
		same(t, "deleted", get(t, s, "key"), "-")
	})
}
