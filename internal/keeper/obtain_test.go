package keeper

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
)

func TestDayZeroThenRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.custodian("n1")
		if c.Reason() == "" || c.Margin() >= 0 {
			t.Error("not sealed before Obtain")
		}
		root, got := w.obtain(c, ObtainOptions{NewDirectory: true})
		if !got.Fresh || root.Generation() != 1 || got.Have != 3 || got.Count != 3 || c.Reason() != "" || c.Margin() != 1 {
			t.Fatalf("%+v %q margin %d", got, c.Reason(), c.Margin())
		}
		key := root.Derive("a")
		if key.Len() != 32 || key.Equal(root.Derive("b")) || !key.Equal(root.Derive("a")) {
			t.Error("derived keys")
		}
		seen := map[string]bool{}
		for _, k := range w.k {
			s, err := decodeShare(k.share("n1"))
			if err != nil || s.node != "n1" || s.cluster != "c1" || s.threshold != 2 || s.count != 3 {
				t.Fatalf("keeper %s: %v", k.id, err)
			}
			seen[string(s.y)] = true
		}
		if len(seen) != 3 {
			t.Error("keepers share a share")
		}
		for name, opt := range map[string]ObtainOptions{
			"old directory": {}, "known": w.old(got.Check), "new directory": {NewDirectory: true},
			"new directory, known": {NewDirectory: true, Known: &got.Check},
		} {
			root, again := w.obtain(w.custodian("n1"), opt)
			if again.Fresh || again.Check != got.Check || !root.Derive("a").Equal(key) {
				t.Errorf("%s: another key", name)
			}
		}
		// Another node has another key and sees nothing of this one.
		other, got2 := w.obtain(w.custodian("n2"), ObtainOptions{NewDirectory: true})
		if !got2.Fresh || other.Derive("a").Equal(key) {
			t.Error("two nodes share a key")
		}
	})
}

func TestAnyThresholdOfKeepersIsEnough(t *testing.T) {
	for down := range 3 {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			check, key, _ := w.dayZero()
			w.k[down].stop()
			c := w.custodian("n1")
			start := time.Now()
			root, got := w.obtain(c, w.old(check))
			if !root.Derive("test").Equal(key) || got.Fresh {
				t.Error("another key")
			}
			if d := time.Since(start); d > time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestOldDirectoryStaysSealed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		check, key, shares := w.dayZero()
		for i := range w.k {
			w.restart(i) // all memory is gone
		}
		for _, opt := range []ObtainOptions{w.old(check), {}, {NewDirectory: true, Known: &check}} {
			err := w.sealed(w.custodian("n1"), opt, 3*time.Minute)
			for _, part := range []string{"0 of 2", "keeper k1 holds no share", "keeper k3 holds no share"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %v", part, err)
				}
			}
		}
		for _, k := range w.k {
			if a, _ := k.shelf.get("n1"); a.held || a.claimed > 0 {
				t.Errorf("keeper %s was written to", k.id)
			}
		}
		// One share is not enough; the second opens it.
		w.k[1].plant(t, "n1", 1, shares[1])
		c := w.custodian("n1")
		w.sealed(c, w.old(check), 3*time.Minute)
		if !strings.Contains(c.Reason(), "1 of 2") {
			t.Error(c.Reason())
		}
		w.k[2].plant(t, "n1", 1, shares[2])
		root, _ := w.obtain(c, w.old(check))
		if !root.Derive("test").Equal(key) {
			t.Error("another key")
		}
	})
}

func TestSealedNodeOpensWhenKeepersReturn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		check, key, shares := w.dayZero()
		for _, k := range w.k {
			k.stop()
		}
		c := w.custodian("n1")
		type result struct {
			root *Root
			err  error
		}
		done := make(chan result, 1)
		go func() {
			root, _, err := c.Obtain(t.Context(), w.old(check))
			done <- result{root, err}
		}()
		time.Sleep(3 * time.Minute)
		if !strings.Contains(c.Reason(), "connection refused") {
			t.Error(c.Reason())
		}
		for i := range 2 {
			w.k[i] = w.start(t, w.k[i].id)
			w.k[i].plant(t, "n1", 1, shares[i])
		}
		start := time.Now()
		r := <-done
		if r.err != nil || !r.root.Derive("test").Equal(key) || time.Since(start) > DefaultPollEvery+time.Second {
			t.Errorf("%v after %v", r.err, time.Since(start))
		}
		r.root.Wipe()
	})
}

func TestNewDirectoryWaitsForASilentKeeper(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.k[2].stop()
		c := w.custodian("n1")
		w.sealed(c, ObtainOptions{NewDirectory: true}, 3*time.Minute)
		if !strings.Contains(c.Reason(), "every keeper") || !strings.Contains(c.Reason(), "k3 does not answer") {
			t.Error(c.Reason())
		}
		for _, k := range w.k[:2] {
			if a, _ := k.shelf.get("n1"); a.held || a.claimed > 0 {
				t.Errorf("keeper %s was written to", k.id)
			}
		}
		w.k[2] = w.start(t, "k3")
		if _, got := w.obtain(c, ObtainOptions{NewDirectory: true}); !got.Fresh {
			t.Error("not new")
		}
	})
}

// The third keeper answers every question but takes nothing: the new key must
// not be handed out while it has not confirmed.
func TestNewKeyWaitsForAllToConfirm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		refuse := true
		w.k[2].shelf.persist = func(dsv.NodeID, uint64, []byte) error {
			if refuse {
				return fmt.Errorf("disk full")
			}
			return nil
		}
		c := w.custodian("n1")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		done := make(chan error, 1)
		var root *Root
		go func() {
			var err error
			root, _, err = c.Obtain(ctx, ObtainOptions{NewDirectory: true})
			done <- err
		}()
		time.Sleep(time.Minute)
		select {
		case err := <-done:
			t.Fatalf("handed out with two of three: %v", err)
		default:
		}
		if w.k[0].share("n1") == nil || !strings.Contains(c.Reason(), "confirmed") {
			t.Error(c.Reason())
		}
		w.k[2].shelf.mu.Lock()
		refuse = false
		w.k[2].shelf.mu.Unlock()
		if err := <-done; err != nil || w.k[2].share("n1") == nil {
			t.Fatal(err)
		}
		root.Wipe()
	})
}

func TestWrongSharesAreLeftOutAndNamed(t *testing.T) {
	flip := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	lie := func(b []byte, change func(*share)) []byte {
		s, err := decodeShare(b)
		if err != nil {
			t.Fatal(err)
		}
		change(&s)
		return s.encode() // the last digest is right
	}
	headLie := func(b []byte, change func(*share)) []byte {
		return lie(b, func(s *share) { // so is the one of its index
			change(s)
			sum := digestOf(s.xs[s.index], s.y)
			s.digests = s.digests[:s.index*sumSize] + string(sum[:]) + s.digests[(s.index+1)*sumSize:]
		})
	}
	foreign := func(node dsv.NodeID, cluster string, generation uint64) []byte {
		s, err := newSet(cluster, node, generation, 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		defer s.wipe()
		return s.encoded(0)
	}
	tests := []struct {
		name       string
		generation uint64
		make       func(shares [][]byte) []byte
		problem    string
	}{
		{"damaged", 1, func(s [][]byte) []byte { return flip(s[0], 70) }, "damaged"},
		{"cut off", 1, func(s [][]byte) []byte { return s[0][:50] }, "damaged"},
		{"garbage", 1, func([][]byte) []byte { return []byte("x") }, "damaged"},
		{"lying y", 1, func(s [][]byte) []byte { return lie(s[0], func(s *share) { s.y[3] ^= 1 }) }, "damaged"},
		{"lying index", 1, func(s [][]byte) []byte { return lie(s[0], func(s *share) { s.index = 1 }) }, "damaged"},
		{"lying y and digest", 1, func(s [][]byte) []byte { return headLie(s[0], func(s *share) { s.y[3] ^= 1 }) }, "another split"},
		{"lying x and digest", 1, func(s [][]byte) []byte {
			return headLie(s[0], func(s *share) { x := []byte(s.xs); x[2] ^= 0x55; s.xs = string(x) })
		}, "another split"},
		{"lying check value", 1, func(s [][]byte) []byte { return headLie(s[0], func(s *share) { s.check[0] ^= 1 }) }, "another root key"},
		{"lying threshold", 1, func(s [][]byte) []byte { return headLie(s[0], func(s *share) { s.threshold = 3 }) }, "another split"},
		{"another keeper's share", 1, func(s [][]byte) []byte { return s[1] }, "same share as keeper"},
		{"another node's share", 1, func([][]byte) []byte { return foreign("n2", "c1", 1) }, "another node (n2)"},
		{"another cluster's share", 1, func([][]byte) []byte { return foreign("n1", "c2", 1) }, "another cluster"},
		{"another root key", 1, func([][]byte) []byte { return foreign("n1", "c1", 1) }, "another root key"},
		{"higher generation", 2, func([][]byte) []byte { return foreign("n1", "c1", 2) }, "generation 2"},
		{"generation beside the share", 9, func(s [][]byte) []byte { return s[0] }, "says generation 9"},
	}
	for _, tt := range tests {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, known %v", tt.name, known), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t)
					check, key, shares := w.dayZero()
					bad := tt.make(clone(shares))
					w.k[0].plant(t, "n1", tt.generation, bad)
					opt := ObtainOptions{}
					if known {
						opt = w.old(check)
					}
					// Two right ones and a wrong one: the key, and the culprit by name.
					c := w.custodian("n1")
					root, _ := w.obtain(c, opt)
					if !root.Derive("test").Equal(key) {
						t.Fatal("a wrong key")
					}
					stop := w.run(c, &memVault{})
					time.Sleep(time.Minute)
					culprit, other := dsv.NodeID("k1"), dsv.NodeID("k2")
					if strings.HasPrefix(tt.problem, "same share") && problem(c, "k1") == "" {
						culprit, other = other, culprit // nothing tells which of the two it belongs to
					}
					wantProblem(t, c, culprit, tt.problem)
					wantProblem(t, c, other, "")
					wantProblem(t, c, "k3", "")
					if !bytes.Equal(w.k[0].share("n1"), bad) {
						t.Error("the keeper's share was overwritten")
					}
					if c.Margin() != 0 {
						t.Errorf("margin %d", c.Margin())
					}
					stop()

					// One right one and the wrong one: sealed, never a wrong key, not
					// even for a new directory.
					w.k[2].stop()
					w.sealed(w.custodian("n1"), opt, 3*time.Minute)
					w.sealed(w.custodian("n1"), ObtainOptions{NewDirectory: true}, 3*time.Minute)
					// The same when the third answers, and is empty: nobody makes a new
					// key over something that cannot be read.
					if look(answer{held: true, generation: tt.generation, body: bad}, nil, &c.cfg, nil).problem != "" {
						w.k[2] = w.start(t, "k3")
						w.sealed(w.custodian("n1"), ObtainOptions{NewDirectory: true}, 3*time.Minute)
					}
				})
			})
		}
	}
}

// Keepers that are fewer than the threshold, but all that answer, offer a root
// key of their own with a threshold they can reach.
func TestFewKeepersCannotOfferAKeyOfTheirOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		for _, id := range []dsv.NodeID{"k4", "k5"} {
			w.k = append(w.k, w.start(t, id))
		}
		for i := range 2 {
			s, err := newSet("c1", "n1", 7, 2, 2+i)
			if err != nil {
				t.Fatal(err)
			}
			defer s.wipe()
			w.k[0].plant(t, "n1", 7, s.encoded(0))
			w.k[1].plant(t, "n1", 7, s.encoded(1))
			c, err := New(CustodianConfig{Cluster: "c1", Node: "n1", Threshold: 3, Dial: w.dial, Insecure: true,
				Keepers: []Target{{"k1", "k1"}, {"k2", "k2"}, {"k3", "k3"}, {"k4", "k4"}, {"k5", "k5"}}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			w.sealed(c, ObtainOptions{NewDirectory: true}, time.Minute)
			wantProblem(t, c, "k1", "threshold of 3")
			// Who remembers the key takes it: the threshold was raised since.
			root, _ := w.obtain(c, ObtainOptions{Known: &Check{7, s.check}})
			root.Wipe()
		}
	})
}
