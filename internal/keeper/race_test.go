package keeper

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
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

func (w *world) slow(r *rand.Rand, most time.Duration) {
	var mu sync.Mutex
	w.latency = func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(20) == 0 {
			return randomBelow(r, 20*most) // now and then a long pause
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
				w.slow(r, time.Millisecond<<(2*(seed%4)))
			}
			checks, fresh := contenders(w, r, 2, func() time.Duration { return time.Hour })
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
			w.slow(r, 30*time.Millisecond)
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
			root, got := w.obtain(w.custodian("n1"), ObtainOptions{NewDirectory: true})
			if have < 2 { // nobody can have had a key
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
