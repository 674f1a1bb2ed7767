package keeper

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
)

// contenders runs several processes of node n1 with new directories at once.
// Each may be cut short. It returns the checks of those that got a key, and
// how many of them made it.
func contenders(w *world, r *rand.Rand, n int, cut func() time.Duration) (checks []Check, fresh int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		c := w.custodian("n1")
		start, limit := randomBelow(r, 20*time.Millisecond), cut()
		all.Go(func() {
			time.Sleep(start)
			ctx, cancel := context.WithTimeout(w.t.Context(), limit)
			defer cancel()
			root, got, err := c.Obtain(ctx, ObtainOptions{NewDirectory: true})
			if err != nil {
				return
			}
			defer root.Wipe()
			mu.Lock()
			defer mu.Unlock()
			checks = append(checks, root.Check())
			if got.Fresh {
				fresh++
			}
		})
	}
	all.Wait()
	return checks, fresh
}

// settle waits until nothing is under way any more.
func (w *world) settle() { time.Sleep(time.Hour) }

func (w *world) slow(seed uint64, most time.Duration) {
	r := rand.New(rand.NewPCG(seed, 3))
	var mu sync.Mutex
	w.latency = func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		switch r.IntN(60) {
		case 0, 1, 2:
			return randomBelow(r, 20*most) // now and then a long pause
		case 3:
			return randomBelow(r, 30*time.Second) // or one that outlasts every patience
		}
		return randomBelow(r, most)
	}
}

// Two bootstraps of one node at once: exactly one makes the key, both have it.
func TestTwoBootstrapsOneWinner(t *testing.T) {
	for seed := range uint64(200) {
		bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t)
			if seed%4 > 0 {
				w.slow(seed, time.Millisecond<<(2*(seed%4)))
			}
			checks, fresh := contenders(w, r, 2, func() time.Duration { return time.Hour })
			w.settle()
			if len(checks) != 2 || checks[0] != checks[1] || fresh != 1 {
				t.Fatalf("seed %d: %d made a key of %v", seed, fresh, checks)
			}
			for _, k := range w.k {
				if s, err := decodeShare(k.share("n1")); err != nil || s.check != checks[0].Value {
					t.Errorf("seed %d: keeper %s: %v", seed, k.id, err)
				}
			}
		})
	}
}

// Up to four processes, cut short at any moment: whoever got a key got the
// same one, at most one made it, and the next start finds it or, if nobody had
// one, makes it.
func TestBootstrapsCutShortNeverMakeTwoKeys(t *testing.T) {
	for seed := range uint64(150) {
		bubble(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			w := newWorld(t)
			w.slow(seed, 30*time.Millisecond)
			var seen []Check
			made := 0
			for wave := range 3 {
				checks, fresh := contenders(w, r, 1+r.IntN(4), func() time.Duration {
					if wave == 2 {
						return time.Hour
					}
					return randomBelow(r, 15*time.Second)/time.Duration(1+r.IntN(20)) + time.Millisecond
				})
				seen = append(seen, checks...)
				made += fresh
			}
			w.settle()
			for _, c := range seen {
				if c != seen[0] {
					t.Fatalf("seed %d: two keys: %v", seed, seen)
				}
			}
			if made > 1 || len(seen) == 0 {
				t.Fatalf("seed %d: %d made a key, %d have one", seed, made, len(seen))
			}
		})
	}
}

// What a bootstrap cut short left behind, and what the next one makes of it.
func TestUnfinishedBootstrap(t *testing.T) {
	s, err := newSet("c1", "n1", 4, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer s.wipe()
	for have := range 4 { // keepers that have their share of generation 4
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			for i, k := range w.k {
				if _, err := k.shelf.claim("n1", 4, claimID{1}); err != nil {
					t.Fatal(err)
				}
				if i < have {
					if _, err := k.shelf.put("n1", 4, &claimID{1}, s.encoded(i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			start := time.Now()
			root, got := w.obtain(w.custodian("n1"), ObtainOptions{NewDirectory: true})
			if have < 2 { // nobody can have had a key
				if time.Since(start) < 3*DefaultAttemptTimeout {
					t.Errorf("%d shares: no patience", have)
				}
				if !got.Fresh || root.Generation() != 5 {
					t.Errorf("%d shares: %+v", have, got)
				}
				return
			}
			if got.Fresh || got.Check != s.checkFile() {
				t.Errorf("%d shares: %+v", have, got)
			}
			for i, k := range w.k {
				if !bytes.Equal(k.share("n1"), s.encoded(i)) {
					t.Errorf("%d shares: keeper %s was not given the very bytes", have, k.id)
				}
			}
		})
	}
}

// at lets f act, once, just before the first request with method reaches a
// keeper.
func (w *world) at(method string, f func()) {
	var once sync.Once
	w.wrap = func(_ dsv.NodeID, h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == method {
				once.Do(f)
			}
			h.ServeHTTP(rw, r)
		})
	}
	for i := range w.k {
		w.restart(i)
	}
}

// Another process outbids between our claim and our shares: ours are taken
// nowhere.
func TestOutbidBeforeThePut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.at(http.MethodPut, func() {
			for _, k := range w.k {
				if _, err := k.shelf.claim("n1", 2, claimID{9}); err != nil {
					t.Error(err)
				}
			}
		})
		// The other one comes to nothing, so that ours makes generation 3 later.
		root, got := w.obtain(w.custodian("n1"), ObtainOptions{NewDirectory: true})
		if !got.Fresh || root.Generation() != 3 {
			t.Errorf("%+v", got)
		}
	})
}

// Another process puts its shares between our first look and our claim: the
// answers to the claim show them.
func TestAnotherKeyShowsAtTheClaim(t *testing.T) {
	for have := 1; have <= 3; have++ {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			s, err := newSet("c1", "n1", 1, 2, 3)
			if err != nil {
				t.Fatal(err)
			}
			defer s.wipe()
			w.at(http.MethodPost, func() {
				for i, k := range w.k[:have] {
					if _, err := k.shelf.put("n1", 1, &claimID{1}, s.encoded(i)); err != nil {
						t.Error(err)
					}
				}
			})
			for _, k := range w.k { // it has claimed, and is slow
				if _, err := k.shelf.claim("n1", 1, claimID{1}); err != nil {
					t.Fatal(err)
				}
			}
			_, got := w.obtain(w.custodian("n1"), ObtainOptions{NewDirectory: true})
			if have == 1 {
				if !got.Fresh || got.Check.Generation != 2 {
					t.Errorf("%d shares: %+v", have, got)
				}
				return
			}
			if got.Fresh || got.Check != s.checkFile() {
				t.Errorf("%d shares: %+v", have, got)
			}
		})
	}
}

// A keeper that lost its promise does not take a share under it.
func TestRestartBetweenClaimAndPut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.at(http.MethodPut, func() {
			for _, k := range w.k {
				k.shelf.mu.Lock()
				clear(k.shelf.slots)
				k.shelf.mu.Unlock()
			}
		})
		root, got := w.obtain(w.custodian("n1"), ObtainOptions{NewDirectory: true})
		if !got.Fresh {
			t.Errorf("%+v", got)
		}
		for _, k := range w.k {
			if s, err := decodeShare(k.share("n1")); err != nil || s.check != root.Check().Value {
				t.Errorf("keeper %s: %v", k.id, err)
			}
		}
	})
}

// A claim holds off what was claimed before it, and is lost with the memory.
func TestClaims(t *testing.T) {
	sh := newShelf(2)
	defer sh.close()
	body := []byte("share")
	must := func(what string, got, want error) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	a, b := claimID{1}, claimID{2}
	_, err := sh.put("n1", 1, &a, body)
	must("put without its claim", err, errConflict)
	_, err = sh.claim("n1", 1, a)
	must("claim", err, nil)
	_, err = sh.claim("n1", 1, a)
	must("claim again", err, nil)
	_, err = sh.claim("n1", 1, b)
	must("claim of another", err, errConflict)
	_, err = sh.put("n1", 1, &b, body)
	must("put under another claim", err, errConflict)
	_, err = sh.put("n1", 2, &a, body)
	must("put of another generation", err, errConflict)
	_, err = sh.claim("n1", 2, b)
	must("higher claim", err, nil)
	_, err = sh.put("n1", 1, &a, body)
	must("put under a claim that was outbid", err, errConflict)
	_, err = sh.claim("n1", 1, a)
	must("lower claim", err, errConflict)
	_, err = sh.put("n1", 1, nil, body)
	must("put of a live generation", err, nil)
	ans, err := sh.claim("n1", 2, b)
	must("claim again tells what is held", err, nil)
	if !bytes.Equal(ans.body, body) || ans.generation != 1 || ans.claimed != 2 {
		t.Errorf("%+v", ans)
	}
	_, err = sh.put("n1", 2, &b, []byte("other"))
	must("put under the claim", err, nil)
	_, err = sh.claim("n1", 2, claimID{3})
	must("claim of a held generation", err, errConflict)
}
