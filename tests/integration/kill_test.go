package integration

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestKillAnyTwoNodesDuringWrites: kill -9 of two of five nodes while 16
// clients write. Never may an acknowledged version be missing or hold another
// value on any node, and never may a write that got 503 be there. A 504 is
// settled by its operation's id.
func TestKillAnyTwoNodesDuringWrites(t *testing.T) {
	pairs := [][2]int{{0, 1}, {2, 4}, {3, 1}, {4, 0}, {1, 2}, {0, 3}, {2, 3}, {1, 4}, {3, 4}, {0, 2}}
	for _, pair := range pairs[:min(*pairsFlag, len(pairs))] {
		t.Run(fmt.Sprintf("n%d and n%d", pair[0]+1, pair[1]+1), func(t *testing.T) { testKillTwo(t, pair) })
	}
}

func testKillTwo(t *testing.T, pair [2]int) {
	w := shared(t)
	var l ledger
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := l.load(ctx, t, w, 16, fmt.Sprintf("kill/%d-%d", pair[0], pair[1]), 12)
	atLeast := func(f fate, n int, what string) {
		t.Helper()
		until(t, what, func() error {
			if got := l.count(f); got < n {
				return fmt.Errorf("%d of %d", got, n)
			}
			return nil
		})
	}
	atLeast(done, 150, "writes")
	if err := w.Node(pair[0]).Kill(); err != nil {
		t.Fatal(err)
	}
	atLeast(done, l.count(done)+50, "writes with one node gone")
	if err := w.Node(pair[1]).Kill(); err != nil {
		t.Fatal(err)
	}
	atLeast(noEffect, l.count(noEffect)+100, "refusals with two nodes gone")
	gone := l.count(done)
	for _, i := range pair {
		if err := w.Node(i).Start(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	atLeast(done, gone+50, "writes after the return")
	t.Logf("writes again %v after the start of the two", time.Since(began).Round(time.Millisecond))
	cancel()
	wait()
	w.mend(t)
	t.Logf("%d acknowledged, %d refused without effect, %d of unknown outcome (504), %d broken off", l.count(done), l.count(noEffect), l.count(unknown), l.count(broken))
	l.check(t, w)
}
