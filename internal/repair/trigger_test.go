package repair

import (
	"testing"

	"github.com/dsvault/dsv"
)

// The trigger and the acknowledgements, in figures.
func TestTrigger(t *testing.T) {
	q5, q7, q3 := dsv.Quorum{K: 3, N: 5, W: 4}, dsv.Quorum{K: 3, N: 7, W: 5}, dsv.Quorum{K: 2, N: 3, W: 3}
	for _, c := range []struct {
		q                        dsv.Quorum
		buffer, holes, reachable int
		want                     bool
		acks                     int
	}{
		{q5, 1, 0, 5, false, 5},
		{q5, 1, 1, 5, true, 4}, // 4 <= 3 + 1
		{q5, 1, 1, 4, true, 4},
		{q5, 1, 1, 3, false, 4}, // fewer than w can be reached
		{q5, 1, 2, 5, true, 4},
		{q5, 0, 1, 5, false, 4}, // 4 > 3
		{q5, 0, 2, 5, true, 4},
		{q5, 1, 5, 5, true, 4},
		{q7, 1, 1, 7, false, 6}, // 6 > 4
		{q7, 1, 2, 7, false, 5},
		{q7, 1, 3, 7, true, 5}, // 4 <= 4
		{q7, 2, 2, 7, true, 5},
		{q7, 2, 1, 7, false, 6},
		{q7, 3, 1, 7, true, 6}, // 6 acknowledgements: nobody merely away loses a good shard for fewer
		{q3, 1, 1, 3, true, 3},
		{q3, 1, 1, 2, false, 3},
	} {
		if got := calledFor(c.q, c.buffer, c.holes, c.reachable); got != c.want {
			t.Errorf("n %d, k %d, w %d, buffer %d, %d holes, %d reachable: %v, want %v", c.q.N, c.q.K, c.q.W, c.buffer, c.holes, c.reachable, got, c.want)
		}
		if got := acksFor(c.q, c.holes); got != c.acks {
			t.Errorf("n %d, w %d, %d holes: %d acknowledgements, want %d", c.q.N, c.q.W, c.holes, got, c.acks)
		}
	}
}
