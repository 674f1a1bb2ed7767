package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
)

// keepersFull waits until every node has seen, from now on, every keeper hold
// its share.
func (w *world) keepersFull(t *testing.T) {
	t.Helper()
	since := time.Now()
	for i, cl := range w.at {
		until(t, fmt.Sprintf("the keepers hold the shares of %s", nodeNo(i)), func() error {
			s, err := cl.Status(t.Context())
			if err != nil {
				return err
			}
			for _, k := range s.Keepers {
				if !k.Reachable || !k.Holds || k.Problem != "" || !k.LastSeen.After(since) {
					return fmt.Errorf("%s: reachable %v, holds %v, seen %v ago, %s", k.Keeper, k.Reachable, k.Holds, time.Since(k.LastSeen.Time), k.Problem)
				}
			}
			return nil
		})
	}
}

// restart kills a keeper and starts it: it remembers nothing.
func (w *world) restartKeeper(t *testing.T, i int) {
	t.Helper()
	if err := w.Keeper(i).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Keeper(i).Start(); err != nil {
		t.Fatal(err)
	}
}

// TestKeepers: a keeper that lost everything is filled again by the nodes; a
// node that cannot collect its shares stays sealed, says so, serves nothing,
// never makes itself a new key over its old directory, and opens by itself as
// soon as it can.
func TestKeepers(t *testing.T) {
	w := quiet(t)
	w.keepersFull(t)
	p := pathOf(t, "keepers", "KEY")
	if _, err := w.at[0].Put(t.Context(), p, secret("v1"), nil); err != nil {
		t.Fatal(err)
	}
	t.Run("one restarted empty is refilled", func(t *testing.T) {
		w.restartKeeper(t, 0)
		w.keepersFull(t)
		// Its share counts: with another one gone a node still opens.
		if err := w.Keeper(1).Kill(); err != nil {
			t.Fatal(err)
		}
		w.restartNode(t, 1)
		w.ensure(t, w.Keeper(1))
		w.keepersFull(t)
	})
	t.Run("all restarted empty are refilled", func(t *testing.T) {
		for i := range w.Keepers() {
			w.restartKeeper(t, i)
		}
		w.keepersFull(t)
		w.restartNode(t, 3)
		w.allAnswer(t, p, 1, "v1")
	})
	t.Run("two of three away: a restarted node is sealed until they are back", func(t *testing.T) { testSealed(t, w, p) })
	t.Run("two of three empty: its shares are lost, and a new directory brings it back", func(t *testing.T) { testLostShares(t, w, p) })
}

func (w *world) restartNode(t *testing.T, i int) {
	t.Helper()
	if err := w.Node(i).Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.Node(i).Start(); err != nil {
		t.Fatal(err)
	}
	w.ready(t, i)
}

// seal takes two of three keepers away and restarts a node.
func (w *world) seal(t *testing.T, node int, away func(i int) error) {
	t.Helper()
	if err := w.Node(node).Kill(); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 2} {
		if err := away(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Node(node).Start(); err != nil {
		t.Fatal(err)
	}
	a := w.asker(t)
	until(t, "the sealed node says what is missing", func() error {
		_, err := w.at[node].Get(t.Context(), pathOf(t, "keepers", "KEY"), nil)
		e := dsv.AsError(err)
		if e == nil || e.Code != dsv.CodeSealed || !strings.Contains(e.Detail, "1 of 2 shares") {
			return fmt.Errorf("it says %v", err)
		}
		t.Logf("the reason given: %s", e.Detail)
		return nil
	})
	w.staysSealed(t, a, node, 2*time.Second)
}

// staysSealed asks for a while: all but the probe of life is refused.
func (w *world) staysSealed(t *testing.T, a *asker, node int, during time.Duration) {
	t.Helper()
	began := time.Now()
	until(t, "it stays sealed", func() error {
		for _, r := range [][2]string{{"GET", "/v1/ns/keepers/secrets/KEY"}, {"PUT", "/v1/ns/keepers/secrets/KEY"}, {"GET", "/v1/cluster"}, {"GET", "/v1/tokens"},
			{"GET", "/v1/ns/keepers/secrets/KEY?consistency=local"}, {"HEAD", "/v1/ns/keepers/secrets/KEY?consistency=local"}} {
			if got := a.do(t, node, r[0], r[1], ""); got.status != 503 || got.Code != dsv.CodeSealed {
				t.Fatalf("%s %s on a sealed node: %d %s", r[0], r[1], got.status, got.body)
			}
		}
		if got := a.do(t, node, "GET", "/livez", ""); got.status != 200 {
			t.Fatalf("/livez of a sealed node: %d", got.status)
		}
		if got := a.do(t, node, "GET", "/readyz", ""); got.status != 503 || !strings.Contains(got.body, "[-]seal") {
			t.Fatalf("/readyz of a sealed node: %d %s", got.status, got.body)
		}
		if d := time.Since(began); d < during {
			return fmt.Errorf("only for %v", d)
		}
		return nil
	})
}

// ready waits until a node serves.
func (w *world) ready(t *testing.T, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := w.WaitReady(ctx, i); err != nil {
		t.Fatal(err)
	}
}

func testSealed(t *testing.T, w *world, p dsv.Path) {
	const sealed = 2
	w.seal(t, sealed, func(i int) error { return w.Keeper(i).Pause() })
	until(t, "the others know that it is sealed", func() error {
		s, err := w.at[0].Status(t.Context())
		if err != nil {
			return err
		}
		for _, m := range s.Members {
			if m.Node == string(w.NodeID(sealed)) && m.Sealed && s.Reachable == 4 {
				return nil
			}
		}
		return fmt.Errorf("%d nodes answer: %q", s.Reachable, s.Why)
	})
	if got, err := w.at[0].Put(t.Context(), p, secret("v2"), nil); err != nil || got.Version != 2 {
		t.Errorf("a write with one of five nodes sealed: %d, %v", got.Version, err)
	}
	for _, i := range []int{0, 2} {
		if err := w.Keeper(i).Resume(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	w.ready(t, sealed)
	t.Logf("open %v after the keepers' return", time.Since(began).Round(time.Millisecond))
	w.whole(t)
	w.keepersFull(t)
	w.allAnswer(t, p, 2, "v2")
}

// testLostShares: two keepers lose their memory while a node is down, and with
// it the node's root key. Nobody may make it a new one over its old directory;
// the other nodes' shares come back, and so does the node once its useless
// directory is gone.
func testLostShares(t *testing.T, w *world, p dsv.Path) {
	const lost = 4
	w.seal(t, lost, func(i int) error { return w.Keeper(i).Kill() })
	for _, i := range []int{0, 2} {
		if err := w.Keeper(i).Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i, cl := range w.at[:lost] {
		until(t, "the shares of the nodes that run are back", func() error {
			s, err := cl.Status(t.Context())
			if err != nil {
				return err
			}
			for _, k := range s.Keepers {
				if !k.Holds {
					return fmt.Errorf("%s misses that of %s", k.Keeper, nodeNo(i))
				}
			}
			return nil
		})
	}
	a := w.asker(t)
	w.staysSealed(t, a, lost, 4*time.Second)
	t.Logf("with all keepers back: %s", a.do(t, lost, "GET", "/v1/cluster", "").Detail)
	w.wipe(t, lost)
	if err := w.Node(lost).Start(); err != nil {
		t.Fatal(err)
	}
	w.ready(t, lost)
	w.whole(t)
	w.keepersFull(t)
	w.allAnswer(t, p, 2, "v2")
}
