package integration

import (
	"fmt"
	"testing"

	"github.com/dsvault/dsv/client"
)

// TestStatusThroughLossAndReturn: every node that runs says how much is lost
// and how much more may be, and is right about what is still served.
func TestStatusThroughLossAndReturn(t *testing.T) {
	w := quiet(t)
	w.healthy(t)
	p := pathOf(t, "status", "KEY")
	if _, err := w.at[0].Put(t.Context(), p, secret("before"), nil); err != nil {
		t.Fatal(err)
	}
	states := map[int]string{5: client.Healthy, 4: client.Degraded, 3: client.ReadOnly, 2: client.Unavailable, 1: client.Unavailable}
	writes := 0
	see := func(up int) {
		t.Helper()
		for i := range up {
			var s client.Status
			until(t, fmt.Sprintf("%s sees %d nodes", nodeNo(i), up), func() (err error) {
				s, err = w.at[i].Status(t.Context())
				if err == nil && (s.Reachable != up || s.State != states[up]) {
					err = fmt.Errorf("%s, %d nodes answer: %q", s.State, s.Reachable, s.Why)
				}
				return err
			})
			if s.Margin != up-3 || s.K != 3 || s.N != 5 || s.W != 4 || len(s.Members) != 5 || up < 5 && len(s.Why) == 0 {
				t.Errorf("%s with %d nodes up: margin %d, k %d, n %d, w %d, %d members, why %q", nodeNo(i), up, s.Margin, s.K, s.N, s.W, len(s.Members), s.Why)
			}
			// What the word says must be so.
			_, err := w.at[i].Get(t.Context(), p, nil)
			if serves := err == nil; serves != (up >= 3) {
				t.Errorf("%s says %s, and a read gives %v", nodeNo(i), s.State, err)
			}
			writes++
			_, err = w.at[i].Put(t.Context(), p, secret(fmt.Sprint("write ", writes)), nil)
			if serves := err == nil; serves != (up >= 4) {
				t.Errorf("%s says %s, and a write gives %v", nodeNo(i), s.State, err)
			}
		}
	}
	see(5)
	for up := 4; up >= 1; up-- {
		if err := w.Node(up).Kill(); err != nil {
			t.Fatal(err)
		}
		see(up)
	}
	for up := 2; up <= 4; up++ {
		if err := w.Node(up - 1).Start(); err != nil {
			t.Fatal(err)
		}
		w.ready(t, up-1)
		states[4] = client.Degraded
		see(up)
	}
	if err := w.Node(4).Start(); err != nil {
		t.Fatal(err)
	}
	w.healthy(t) // holes of writes it missed are refilled by itself
	see(5)
	if err := w.StopLog(); err != nil {
		t.Fatal(err)
	}
	for i := range w.Nodes() {
		if s := w.awaitState(t, i, client.ReadOnly); s.Log.Available || s.Margin != 2 {
			t.Errorf("%s without a log: available %v, margin %d", nodeNo(i), s.Log.Available, s.Margin)
		}
	}
	if err := w.StartLog(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.healthy(t)
}
