package replica_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/core"
)

// counting counts the transactions that may write.
type counting struct {
	store.Store
	n atomic.Int64
}

func (s *counting) Begin(m store.Mode) (store.Txn, error) {
	if m != store.ReadOnly {
		s.n.Add(1)
	}
	return s.Store.Begin(m)
}

// soon is time enough for a record to be read and applied, and less than a
// PREPARE is held.
const soon = 20 * time.Millisecond

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

// A PREPARE waits for its COMMIT, and both are one transaction.
func TestPrepareWaitsForItsCommit(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		n.Stop()
		s := &counting{Store: n.Store}
		n.Store = s
		n.Start()
		n.Ready()
		h := c.Begin("app", create("K", "v")).Stage(0, 1, 2, 3, 4)
		off := h.Prepare()
		pass(soon)
		if got := n.Rep.Applied(0); got >= off {
			t.Fatalf("the PREPARE at %d did not wait: %d is applied", off, got)
		}
		before := s.n.Load()
		off = h.Commit()
		pass(soon)
		if got := n.Rep.Applied(0); got < off {
			t.Fatalf("the COMMIT at %d waits: %d is applied", off, got)
		}
		if n := s.n.Load() - before; n != 1 {
			t.Errorf("PREPARE and COMMIT took %d transactions", n)
		}
		if st := h.Status(0); st.State != meta.TxCommitted {
			t.Errorf("the transaction is %v", st.State)
		}
	})
}

// Nothing follows a PREPARE: it is applied all the same, not late.
func TestPrepareWaitsNotForever(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		h := c.Begin("app", create("K", "v")).Stage(0, 1, 2, 3, 4)
		off := h.Prepare()
		pass(200 * time.Millisecond)
		for i, n := range c.Nodes {
			if got := n.Rep.Applied(0); got < off {
				t.Errorf("node %d has applied %d, not the PREPARE at %d", i, got, off)
			}
		}
		if st := h.Status(0); st.State != meta.TxPending {
			t.Errorf("the transaction is %v", st.State)
		}
	})
}

// Who waits for a PREPARE has it at once.
func TestExpectedPrepareDoesNotWait(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		rep := c.Nodes[0].Rep
		h := c.Begin("app", create("K", "v"))
		_, stop := rep.Follow(h.Tx)
		defer stop()
		rep.ExpectPrepare(h.Tx)
		off := h.Prepare()
		pass(soon)
		if got := rep.Applied(0); got < off {
			t.Errorf("%d is applied, not the PREPARE at %d", got, off)
		}
		if got := c.Nodes[1].Rep.Applied(0); got >= off {
			t.Errorf("node 1, where nobody waits, has applied %d", got)
		}
	})
}

// What stands before a record that decides goes with it; what stands behind it
// waits on. A barrier therefore never waits for a PREPARE.
func TestRecordsLeaveInOrder(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		rep := c.Nodes[0].Rep
		first := c.Begin("app", create("K", "v"))
		first.Prepare()
		tick := c.Tick(0)
		behind := c.Begin("app", create("L", "v")).Prepare()
		pass(soon)
		if got := rep.Applied(0); got != tick {
			t.Errorf("%d is applied, not the TICK at %d with the PREPARE at %d behind it waiting", got, tick, behind)
		}
		if st := first.Status(0); st.State != meta.TxPending {
			t.Errorf("the transaction before the TICK is %v", st.State)
		}
		began := time.Now()
		if _, err := rep.Barrier(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > soon {
			t.Errorf("a barrier took %v", took)
		}
		if got := rep.Applied(0); got < behind {
			t.Errorf("%d is applied behind a barrier, not the PREPARE at %d", got, behind)
		}
	})
}
