package integration

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// TestOriginalFaults: each of the 16 faults that the DSV of old had, as a case
// that would show it here.
func TestOriginalFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"01 updates or creates at one moment both win one version", testOneWinner},
		{"02 shares of two writes are mixed", testNoMixing},
		{"03 a repair mixes shares with those of a node that was down", testRepairWithoutMixing},
		{"04 a node that missed versions writes over them", testStaleCoordinator},
		{"05 a coordinator without a share does not find the secret", nil}, // with 16
		{"06 a delete that a node missed comes undone", testNoZombie},
		{"07 a delete is acknowledged by too few", testDeleteNeedsQuorum},
		{"08 a write is not read at once elsewhere", testReadYourWrite},
		{"09 hung peers add seconds", testHungPeers},
		{"10 a batch is done by halves", testBatchIsAtomic},
		{"11 two names share one secret", testNamesDoNotCollide},
		{"12 anybody may ask, or reach the shares inside", testNothingIsOpen},
		{"13 the log lets anybody in and believes what it reads", testLogIsClosed},
		{"14 a failed write makes the latest version unreadable", testFailedWritesLeaveReads},
		{"15 a refused write is kept", testRefusedIsNeverKept},
		{"16 a cluster larger than n", testSixNodes},
	} {
		if c.test != nil {
			t.Run(c.name, c.test)
		}
	}
}

// atOnce runs f once per node, as much at one moment as can be.
func (w *world) atOnce(f func(i int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range w.Nodes() {
		wg.Go(func() {
			<-gate
			f(i)
		})
	}
	close(gate)
	wg.Wait()
}

// testOneWinner: never may two updates be told one version, or two creates 201.
func testOneWinner(t *testing.T) {
	w := shared(t)
	for round := range 12 {
		p := pathOf(t, "original/1", fmt.Sprintf("KEY-%d", round))
		value := func(i int) string { return fmt.Sprintf("create-%d-%d", round, i) }
		winner := -1
		var mu sync.Mutex
		w.atOnce(func(i int) {
			_, err := w.at[i].Create(t.Context(), p, secret(value(i)), nil)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && winner >= 0:
				t.Errorf("round %d: two creates got 201", round)
			case err == nil:
				winner = i
			case kindOf(err) != dsv.KindConflict:
				t.Errorf("round %d: a create that lost got %v", round, err)
			}
		})
		if winner < 0 {
			t.Fatalf("round %d: no create got 201", round)
		}
		w.allAnswer(t, p, 1, value(winner))
		told := map[uint64]int{}
		w.atOnce(func(i int) {
			got, err := w.at[i].Update(t.Context(), p, secret(fmt.Sprintf("update-%d-%d", round, i)), nil)
			mu.Lock()
			defer mu.Unlock()
			if other, twice := told[got.Version]; err != nil || twice {
				t.Errorf("round %d: node %d was told version %d (%v), as was node %d", round, i+1, got.Version, err, other+1)
			}
			told[got.Version] = i
		})
		values := w.values(t, p)
		for v, i := range told {
			if values[v] != fmt.Sprintf("update-%d-%d", round, i) {
				t.Errorf("round %d: version %d holds %q, told to node %d", round, v, values[v], i+1)
			}
		}
	}
}

// testNoMixing: nodes write and read one key all at once. Never may a read give
// anything but the value that belongs to the version it names.
func testNoMixing(t *testing.T) {
	w := shared(t)
	p := pathOf(t, "original/2", "KEY")
	if _, err := w.at[0].Create(t.Context(), p, secret("0-0"), nil); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	told := map[uint64]string{1: "0-0"}
	read := map[uint64]string{}
	reads := 0
	w.atOnce(func(i int) {
		for n := range 20 {
			value := fmt.Sprintf("%d-%d", i+1, n)
			got, err := w.at[i].Update(t.Context(), p, secret(value), nil)
			if err != nil {
				t.Errorf("update: %v", err)
				return
			}
			mu.Lock()
			told[got.Version] = value
			mu.Unlock()
			for d := range 3 {
				f, err := w.at[(i+d)%5].Get(t.Context(), p, nil)
				if err != nil {
					t.Errorf("read: %v", err)
					return
				}
				mu.Lock()
				if old, ok := read[f.Version]; ok && old != text(f) {
					t.Errorf("version %d was read as %q and as %q", f.Version, old, text(f))
				}
				read[f.Version] = text(f)
				reads++
				mu.Unlock()
				if f.Version < got.Version {
					t.Errorf("a read behind version %d gave version %d", got.Version, f.Version)
				}
			}
		}
	})
	for v, value := range read {
		if told[v] != value {
			t.Errorf("version %d was read as %q and written as %q", v, value, told[v])
		}
	}
	t.Logf("%d reads between %d writes", reads, len(told))
}

// testStaleCoordinator: a node stands still while others write, and is the
// first to be written through afterwards. It may never write over what it
// missed.
func testStaleCoordinator(t *testing.T) {
	w := shared(t)
	for n := range w.Nodes() {
		p := pathOf(t, "original/4", fmt.Sprintf("KEY-%d", n))
		if _, err := w.at[n].Create(t.Context(), p, secret("v1"), nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Node(n).Pause(); err != nil {
			t.Fatal(err)
		}
		for v := 2; v <= 3; v++ {
			if _, err := w.at[(n+v)%5].Update(t.Context(), p, secret(fmt.Sprint("v", v)), nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Node(n).Resume(); err != nil {
			t.Fatal(err)
		}
		var got client.Written
		until(t, "a write through the node that stood still", func() (err error) { // it may be refused at first, never wrong
			got, err = w.at[n].Update(t.Context(), p, secret("v4"), nil)
			if err != nil && kindOf(err) != dsv.KindUnavailable {
				t.Fatalf("it got %v", err)
			}
			return err
		})
		if got.Version != 4 {
			t.Errorf("%s had missed two versions and wrote version %d", nodeNo(n), got.Version)
		}
		for v, value := range w.values(t, p) {
			if value != fmt.Sprint("v", v) {
				t.Errorf("version %d is %q", v, value)
			}
		}
	}
}
