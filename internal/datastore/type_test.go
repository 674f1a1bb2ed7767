package datastore

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/store"
)

// person is a type that no store has heard of (C42).
type person struct {
	ID    string
	Team  string
	Roles []string
}

// jsonCodec loses what is not UTF-8; quoted keeps it.
type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(v *T) ([]byte, error) { return json.Marshal(v) }
func (jsonCodec[T]) Decode(b []byte) (*T, error) { v := new(T); return v, json.Unmarshal(b, v) }

type quoted struct{}

func (quoted) Encode(p *person) ([]byte, error) {
	return fmt.Appendf(nil, "%q %q %q", p.ID, p.Team, p.Roles), nil
}

func (quoted) Decode(b []byte) (*person, error) {
	p := new(person)
	rest := strings.TrimSuffix(string(b), "]")
	var fields []string
	for rest = strings.TrimLeft(rest, " ["); rest != ""; rest = strings.TrimLeft(rest, " [") {
		q, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, err
		}
		rest = rest[len(q):]
		f, err := strconv.Unquote(q)
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	p.ID, p.Team, p.Roles = fields[0], fields[1], fields[2:]
	return p, nil
}

func people() *Type[person] {
	return New("person", quoted{},
		Index[person]{Field: "team", Of: func(p *person) []string { return []string{p.Team} }},
		Index[person]{Field: "role", Of: func(p *person) []string { return p.Roles }})
}

func stores(t *testing.T, fn func(t *testing.T, s store.Store)) {
	t.Run("memory", func(t *testing.T) {
		s := store.OpenMemory(store.Options{})
		defer s.Close()
		fn(t, s)
	})
	t.Run("badger", func(t *testing.T) {
		s := openBadger(t, t.TempDir())
		defer s.Close()
		fn(t, s)
	})
}

func openBadger(t testing.TB, dir string) *store.Badger {
	t.Helper()
	s, err := store.OpenBadger(store.Options{Dir: dir, EncryptionKey: dsv.SecretOf(bytes.Repeat([]byte{1}, 32))})
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func update(t testing.TB, s store.Store, fn func(tx store.Txn)) {
	t.Helper()
	tx, err := s.Begin(store.ReadWrite)
	must(t, err)
	fn(tx)
	_, err = tx.Commit(context.Background())
	must(t, err)
}

func view(t testing.TB, s store.Store, fn func(tx store.Txn)) {
	t.Helper()
	tx, err := s.Begin(store.ReadOnly)
	must(t, err)
	fn(tx)
	must(t, tx.Abort())
}

func idsOf(list []*person) (out []string) {
	for _, p := range list {
		out = append(out, p.ID)
	}
	return out
}

func by(t testing.TB, tx store.Txn, field, value string) []string {
	t.Helper()
	list, next, err := people().By(tx, field, value, store.Page{})
	must(t, err)
	if next != nil {
		t.Fatal("no limit, but a next page")
	}
	return idsOf(list)
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func TestItemsAndIndexes(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		typ := people()
		update(t, s, func(tx store.Txn) {
			for _, p := range []person{
				{"ann", "a", []string{"dev", "ops"}}, {"bob", "a:b", []string{"dev"}}, {"c:c", "a", nil},
				{"", "a%", []string{"x:y", "x:y", ""}}, {"i:person:team:a:zed", "", nil},
			} {
				must(t, typ.Put(tx, p.ID, &p))
			}
			must(t, tx.Put(store.Pair{Key: []byte("e")}, store.Pair{Key: []byte("c")}, store.Pair{Key: []byte("dpersona:x")}))
			same(t, "own transaction", by(t, tx, "team", "a"), []string{"ann", "c:c"})
		})
		view(t, s, func(tx store.Txn) {
			same(t, "a is not a:b", by(t, tx, "team", "a"), []string{"ann", "c:c"})
			same(t, "a:b", by(t, tx, "team", "a:b"), []string{"bob"})
			same(t, "a%", by(t, tx, "team", "a%"), []string{""})
			same(t, "empty value", by(t, tx, "team", ""), []string{"i:person:team:a:zed"})
			same(t, "many values", by(t, tx, "role", "dev"), []string{"ann", "bob"})
			same(t, "separator", by(t, tx, "role", "x:y"), []string{""})
			same(t, "none", by(t, tx, "role", "x"), []string(nil))
			p, err := typ.Get(tx, "ann")
			must(t, err)
			same(t, "ann", *p, person{"ann", "a", []string{"dev", "ops"}})
			_, err = typ.Get(tx, "dan")
			if !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
			list, next, err := typ.List(tx, store.Page{Limit: 3})
			must(t, err)
			same(t, "first page", idsOf(list), []string{"", "ann", "bob"})
			list, next, err = typ.List(tx, store.Page{Limit: 3, After: next})
			must(t, err)
			same(t, "second page", idsOf(list), []string{"c:c", "i:person:team:a:zed"})
			same(t, "end", next, []byte(nil))
			list, next, err = typ.By(tx, "team", "a", store.Page{Limit: 1})
			must(t, err)
			same(t, "first by", idsOf(list), []string{"ann"})
			list, next, err = typ.By(tx, "team", "a", store.Page{Limit: 1, After: next})
			must(t, err)
			same(t, "second by", idsOf(list), []string{"c:c"})
			same(t, "end", next, []byte(nil))
		})
		update(t, s, func(tx store.Txn) {
			must(t, typ.Put(tx, "ann", &person{"ann", "b", []string{"ops", "cto"}}))
			must(t, typ.Delete(tx, "bob"))
			if err := typ.Delete(tx, "bob"); !errors.Is(err, store.ErrNotFound) {
				t.Fatal(err)
			}
		})
		view(t, s, func(tx store.Txn) {
			same(t, "stale row gone", by(t, tx, "team", "a"), []string{"c:c"})
			same(t, "new row", by(t, tx, "team", "b"), []string{"ann"})
			same(t, "kept row", by(t, tx, "role", "ops"), []string{"ann"})
			same(t, "deleted", by(t, tx, "role", "dev"), []string(nil))
			r, err := typ.Check(tx)
			must(t, err)
			same(t, "check", r, Report{Items: 4, Rows: 4 + 2 + 2})
		})
	})
}

func TestCheckFinds(t *testing.T) {
	s := store.OpenMemory(store.Options{})
	defer s.Close()
	typ := people()
	update(t, s, func(tx store.Txn) {
		for i := range 3 {
			id := fmt.Sprint(i)
			must(t, typ.Put(tx, id, &person{id, "t", []string{"r"}}))
		}
		_, err := tx.Delete(indexKey("person", "team", "t", "0"), itemKey("person", "1"))
		must(t, err)
		must(t, tx.Put(store.Pair{Key: indexKey("person", "team", "other", "2")}, store.Pair{Key: []byte("di:person:bad")}))
	})
	view(t, s, func(tx store.Txn) {
		r, err := typ.Check(tx)
		must(t, err)
		same(t, "check", r, Report{Items: 2, Rows: 7, Orphans: 4, Missing: 1})
		if _, _, err := typ.By(tx, "role", "r", store.Page{}); !errors.Is(err, ErrOrphan) {
			t.Fatalf("By over an orphan: %v", err)
		}
	})
	other := New("persons", jsonCodec[person]{})
	update(t, s, func(tx store.Txn) {
		must(t, other.Put(tx, "x", &person{}))
		must(t, typ.Clear(tx))
	})
	view(t, s, func(tx store.Txn) {
		n, err := tx.Count(nil)
		must(t, err)
		same(t, "rows after Clear, of another type", n, 1)
	})
}

func TestLossyCodecLeavesNoRows(t *testing.T) {
	s := store.OpenMemory(store.Options{})
	defer s.Close()
	typ := New("lossy", jsonCodec[person]{}, Index[person]{Field: "team", Of: func(p *person) []string { return []string{p.Team} }})
	update(t, s, func(tx store.Txn) { must(t, typ.Put(tx, "x", &person{Team: "\xff"})) })
	update(t, s, func(tx store.Txn) { must(t, typ.Put(tx, "x", &person{Team: "\xfe!"})) })
	view(t, s, func(tx store.Txn) {
		r, err := typ.Check(tx)
		must(t, err)
		same(t, "check", r, Report{Items: 1, Rows: 1})
	})
	update(t, s, func(tx store.Txn) { must(t, typ.Delete(tx, "x")) })
	view(t, s, func(tx store.Txn) {
		n, err := tx.Count(nil)
		must(t, err)
		same(t, "rows left", n, 0)
	})
}

func TestNewPanics(t *testing.T) {
	ix := func(fields ...string) (out []Index[person]) {
		for _, f := range fields {
			out = append(out, Index[person]{Field: f})
		}
		return out
	}
	for name, fn := range map[string]func(){
		"type i":      func() { New("i", jsonCodec[person]{}, ix()...) },
		"empty type":  func() { New("", jsonCodec[person]{}, ix()...) },
		"separator":   func() { New("a:b", jsonCodec[person]{}, ix()...) },
		"field":       func() { New("a", jsonCodec[person]{}, ix("a:b")...) },
		"field twice": func() { New("a", jsonCodec[person]{}, ix("f", "f")...) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
	}
}

func randomPerson(rnd *rand.Rand, id string) *person {
	p := &person{ID: id, Team: ids[rnd.IntN(len(ids))]}
	for range rnd.IntN(3) {
		p.Roles = append(p.Roles, ids[rnd.IntN(len(ids))])
	}
	return p
}

// C10: 10^5 random operations against a map, some of them aborted.
func TestRandomAgainstModel(t *testing.T) {
	s := store.OpenMemory(store.Options{})
	defer s.Close()
	typ := people()
	rnd := rand.New(rand.NewPCG(1, 2))
	model := map[string]*person{}
	for range 1000 {
		tx, err := s.Begin(store.ReadWrite)
		must(t, err)
		next := map[string]*person{}
		for k, v := range model {
			next[k] = v
		}
		for range 100 {
			id := fmt.Sprint(rnd.IntN(60), ids[rnd.IntN(3)])
			if rnd.IntN(3) == 0 {
				err := typ.Delete(tx, id)
				if (next[id] == nil) != errors.Is(err, store.ErrNotFound) {
					t.Fatalf("delete of %v: %v", next[id], err)
				}
				delete(next, id)
				continue
			}
			next[id] = randomPerson(rnd, id)
			must(t, typ.Put(tx, id, next[id]))
		}
		if rnd.IntN(5) == 0 {
			must(t, tx.Abort())
			continue
		}
		_, err = tx.Commit(context.Background())
		must(t, err)
		model = next
	}
	view(t, s, func(tx store.Txn) {
		r, err := typ.Check(tx)
		must(t, err)
		if r.Orphans != 0 || r.Missing != 0 || r.Items != len(model) {
			t.Fatalf("%+v, %d items", r, len(model))
		}
		for _, team := range ids {
			var want []string
			for id, p := range model {
				if p.Team == team {
					want = append(want, id)
				}
			}
			sort.Strings(want)
			same(t, "team "+team, by(t, tx, "team", team), want)
		}
	})
}

const crashDir = "DATASTORE_CRASH_DIR"

// TestMain is also the process that TestCrash kills: it writes without end and
// tells each acknowledged commit.
func TestMain(m *testing.M) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := store.OpenBadger(store.Options{Dir: dir, EncryptionKey: dsv.SecretOf(bytes.Repeat([]byte{1}, 32))})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), 0))
	for {
		tx, _ := s.Begin(store.ReadWrite)
		for range 20 {
			id := fmt.Sprint(rnd.IntN(200))
			if rnd.IntN(3) == 0 {
				_ = people().Delete(tx, id)
			} else if err := people().Put(tx, id, randomPerson(rnd, id)); err != nil {
				fmt.Println(err)
			}
		}
		if _, err := tx.Commit(context.Background()); err != nil {
			fmt.Println(err)
		}
		fmt.Println("ack")
	}
}

// C10 with crashes: kill -9 in the middle of the workload, several times.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n < 100*(round+1) && lines.Scan(); n++ {
			if line := lines.Text(); line != "ack" {
				t.Errorf("child: %s", line)
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		s := openBadger(t, dir)
		view(t, s, func(tx store.Txn) {
			r, err := people().Check(tx)
			must(t, err)
			if r.Orphans != 0 || r.Missing != 0 || r.Items == 0 {
				t.Fatalf("after crash %d: %+v", round, r)
			}
		})
		must(t, s.Close())
	}
}

func BenchmarkPut(b *testing.B) {
	s := store.OpenMemory(store.Options{})
	defer s.Close()
	typ := people()
	p := person{"id", "team", []string{"a", "b"}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		update(b, s, func(tx store.Txn) {
			p.Team = strings.Repeat("t", i%3+1)
			must(b, typ.Put(tx, p.ID, &p))
		})
	}
}
