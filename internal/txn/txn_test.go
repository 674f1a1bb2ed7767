package txn_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/txn"
	"github.com/dsvault/dsv/tests/core"
)

func bubble(t *testing.T, opt core.Options, f func(*testing.T, *core.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, core.New(t, opt)) })
}

// request is a PUT of one value by the caller who may do everything.
func request(c *core.Cluster, key, value string) *txn.Request {
	p := core.Path("app", key)
	return &txn.Request{NS: p.NS, Caller: "test", Proof: peer.Proof{Token: c.Token}, RequestedAt: time.Now(),
		Ops: []txn.Op{{Kind: metapb.OpKind_PUT, Key: p.Key, Value: dsv.SecretOf([]byte(value))}}}
}

// run runs a request at a node within a limit.
func run(n *core.Node, limit time.Duration, req *txn.Request) (txn.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return n.Runner.Run(ctx, req)
}

// warm makes a node's first write, so that a test sees the second.
func warm(t *testing.T, c *core.Cluster, nodes ...int) {
	t.Helper()
	for _, i := range nodes {
		if _, err := run(c.Nodes[i], 4*time.Second, request(c, "WARM", "v")); err != nil {
			t.Fatal(err)
		}
	}
	c.Settled(time.Minute)
}

// want checks kind, code and phase of an error.
func want(t *testing.T, err error, kind dsv.Kind, code dsv.Code, phase string) {
	t.Helper()
	e := dsv.AsError(err)
	if e == nil || e.Kind != kind || e.Code != code || e.Phase != phase {
		t.Errorf("%+v, want kind %d, code %s, phase %q", e, kind, code, phase)
	}
}

func TestCommit(t *testing.T) {
	bubble(t, core.Options{Nodes: 6}, func(t *testing.T, c *core.Cluster) {
		for i, n := range c.Nodes { // one of them is no holder
			res, err := run(n, 4*time.Second, request(c, "K", "v"))
			if err != nil {
				t.Fatalf("%s: %v", n.ID, err)
			}
			if res.Status.State != meta.TxCommitted || res.Status.Results[0].Version != uint64(i+1) || res.Position.Offset != res.Status.DecidedOffset {
				t.Errorf("%s: %+v", n.ID, res)
			}
			if got := c.Of(res.Tx); got != "PC" {
				t.Errorf("records %s, want PC", got)
			}
		}
		c.Settled(time.Minute)
		c.AllHold(core.Path("app", "K").NS, 6)
	})
}

// A log known to be silent: refused at once, nothing handed over, nothing staged.
func TestSilentLog(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		n := c.Nodes[0]
		c.CutLog(0)
		time.Sleep(1200 * time.Millisecond)
		before := n.Log.Stats().Appended
		for range 3 {
			began := time.Now()
			_, err := run(n, 4*time.Second, request(c, "K", "v"))
			want(t, err, dsv.KindUnavailable, dsv.CodeLogUnavailable, dsv.PhaseOrdering)
			if d := time.Since(began); d > 100*time.Millisecond {
				t.Errorf("it took %v", d)
			}
		}
		if after := n.Log.Stats().Appended; after != before {
			t.Errorf("%d records were handed over", after-before)
		}
		for _, m := range c.Nodes {
			if st := m.Rep.Stats(); st.Staged != 0 {
				t.Errorf("%s: %d staged rows", m.ID, st.Staged)
			}
		}
		c.HealLog(0)
		c.Eventually(3*time.Second, func() error { _, err := run(n, time.Second, request(c, "K", "v")); return err })
	})
}

// The log falls silent under a write, its COMMIT not handed over.
func TestLogFallsSilent(t *testing.T) {
	for name, first := range map[string]bool{"first write of the process": true, "a later one": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				if !first {
					warm(t, c, 0)
					time.Sleep(time.Second) // not known good any more
				}
				c.CutLog(0)
				began := time.Now()
				res, err := run(c.Nodes[0], 4*time.Second, request(c, "K", "v"))
				want(t, err, dsv.KindUnavailable, dsv.CodeLogUnavailable, dsv.PhaseOrdering)
				if d := time.Since(began); d > 1300*time.Millisecond {
					t.Errorf("it took %v", d)
				}
				time.Sleep(100 * time.Millisecond) // no ABORT reaches the log: the shards are revoked
				for _, m := range c.Nodes {
					if st := m.Rep.Stats(); st.Staged != 0 {
						t.Errorf("%s: %d staged rows after the answer", m.ID, st.Staged)
					}
				}
				time.Sleep(5 * time.Second)
				c.HealLog(0)
				c.Settled(time.Minute)
				if !first {
					if s := c.StatusOf(1, res.Tx); s.State == meta.TxCommitted {
						t.Errorf("refused and %v", s.State)
					}
				}
				if _, ok := c.Newest(1, core.Path("app", "K")); ok {
					t.Error("a refused write is there")
				}
			})
		})
	}
}

// A quorum known to be gone is refused at once, before anything is staged.
func TestQuorumKnownToBeGone(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		c.Nodes[3].Stop()
		c.Nodes[4].Stop()
		c.Eventually(10*time.Second, func() error {
			if c.Nodes[0].Peers.Reachable("n4") || c.Nodes[0].Peers.Reachable("n5") {
				return errors.New("connected")
			}
			return nil
		})
		before := c.Nodes[0].Log.Stats().Appended
		began := time.Now()
		_, err := run(c.Nodes[0], 4*time.Second, request(c, "K", "v"))
		want(t, err, dsv.KindUnavailable, dsv.CodeWriteQuorum, dsv.PhaseWriting)
		if d := time.Since(began); d > 100*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if e := dsv.AsError(err); e.Have != 3 || e.Need != 4 || len(e.Silent) != 2 {
			t.Errorf("%+v", e)
		}
		if after := c.Nodes[0].Log.Stats().Appended; after != before {
			t.Errorf("%d records were handed over", after-before)
		}
	})
}

// Two holders hang: 503 in the writing phase, nothing is left of it. Where the
// log was not known to be good, PREPARE went ahead and ABORT follows; else the
// log never hears of it.
func TestDeadlineBeforeCommit(t *testing.T) {
	for records, quiet := range map[string]time.Duration{"": 0, "PA": time.Second} {
		t.Run("records "+records, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				warm(t, c, 0)
				c.AllHold(core.Path("app", "K").NS, 1)
				time.Sleep(quiet)
				goodBy(t, c, quiet == 0)
				c.Cut(0, 3)
				c.Cut(0, 4)
				res, err := run(c.Nodes[0], time.Second, request(c, "K", "v"))
				want(t, err, dsv.KindUnavailable, dsv.CodeWriteQuorum, dsv.PhaseWriting)
				if e := dsv.AsError(err); e.Have != 3 || e.Need != 4 || len(e.Silent) != 2 {
					t.Errorf("%+v", e)
				}
				c.Heal(0, 3) // what was sent arrives now
				c.Heal(0, 4)
				c.Settled(time.Minute)
				if got := c.Of(res.Tx); got != records {
					t.Errorf("records %s, want %s", got, records)
				}
				for i, n := range c.Nodes {
					s := c.StatusOf(i, res.Tx).State
					if records != "" && s != meta.TxAborted || records == "" && s != meta.TxNone && s != meta.TxExpired {
						t.Errorf("%s: %v", n.ID, s)
					}
				}
				c.AllHold(core.Path("app", "K").NS, 1) // a stage that its revoke overtook goes by the clock
			})
		})
	}
}

// goodBy makes node 1's log known to be good, or sees to it that it is not.
func goodBy(t *testing.T, c *core.Cluster, good bool) {
	t.Helper()
	if good {
		if _, err := c.Nodes[0].Rep.Barrier(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Nodes[0].Log.Good(); got != good {
		t.Fatalf("good %v, want %v", got, good)
	}
}

// stuck begins a write of K at node 1 that cannot reach two of the holders, and
// returns its transaction when others have staged it; wait is for its answer.
func stuck(c *core.Cluster, limit time.Duration) (x dsv.TxID, wait func() (txn.Result, error)) {
	c.Cut(0, 3)
	c.Cut(0, 4)
	var res txn.Result
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { res, err = run(c.Nodes[0], limit, request(c, "K", "v")) })
	return seeTx(c, 1, "K"), func() (txn.Result, error) {
		wg.Wait()
		return res, err
	}
}

// While the log is known to be good it hears of a write when the holders have
// acknowledged it: PREPARE and COMMIT together.
func TestPrepareGoesWithCommit(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		goodBy(t, c, true)
		x, wait := stuck(c, 4*time.Second)
		time.Sleep(50 * time.Millisecond)
		if got := c.Of(x); got != "" {
			t.Errorf("records %s before four holders have it", got)
		}
		c.Heal(0, 3)
		c.Heal(0, 4)
		res, err := wait()
		if err != nil || res.Status.State != meta.TxCommitted || res.Tx != x {
			t.Errorf("%+v, %v", res, err)
		}
		if got := c.Of(x); got != "PC" {
			t.Errorf("records %s", got)
		}
		c.Settled(time.Minute)
	})
}

// A coordinator dies when holders have staged and the log has heard nothing: the
// staged rows go by the log's clock, and nothing took effect.
func TestCrashBeforePrepare(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		c.AllHold(core.Path("app", "K").NS, 1)
		goodBy(t, c, true)
		x, wait := stuck(c, 4*time.Second)
		c.Nodes[0].Crash()
		_, _ = wait()
		if got := c.Of(x); got != "" {
			t.Fatalf("records %s: this shows nothing", got)
		}
		if n := c.Nodes[1].Rep.Stats().Staged; n != 1 {
			t.Fatalf("%d staged", n)
		}
		c.SettledBut(time.Minute, 0)
		for i, n := range c.Nodes[1:] {
			if s := c.Final(i+1, x); s.State != meta.TxExpired {
				t.Errorf("%s: %v", n.ID, s.State)
			}
			if _, ok := c.Newest(i+1, core.Path("app", "K")); ok {
				t.Errorf("%s: it is there", n.ID)
			}
			if got := n.Rep.Stats().Shards; got != 1 {
				t.Errorf("%s: %d shards, want that of the first write", n.ID, got)
			}
		}
	})
}

// The log stands still after COMMIT was handed over: 504, and the operation is
// settled the same way on every node.
func TestDeadlineAfterCommit(t *testing.T) {
	for name, lost := range map[string]bool{"the records pass later": false, "the connection breaks": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				warm(t, c, 0)
				time.Sleep(time.Second)
				c.LogNet.SetDelay("n1", 100*time.Millisecond)
				var res txn.Result
				var err error
				var wg sync.WaitGroup
				wg.Go(func() { res, err = run(c.Nodes[0], 4*time.Second, request(c, "K", "v")) })
				time.Sleep(250 * time.Millisecond) // PREPARE is acknowledged at 200 ms, COMMIT arrives at 300 ms
				c.CutLog(0)
				if lost {
					c.LogNet.Reset("n1")
				}
				wg.Wait()
				want(t, err, dsv.KindUnknownOutcome, dsv.CodeOutcomeUnknown, "")
				if e := dsv.AsError(err); e.Operation != res.Tx.String() {
					t.Errorf("operation %q, want %q", e.Operation, res.Tx)
				}
				c.HealLog(0)
				c.Settled(time.Minute)
				first := c.StatusOf(0, res.Tx)
				if !first.State.Final() {
					t.Fatalf("%v", first.State)
				}
				for i, n := range c.Nodes {
					if s := c.StatusOf(i, res.Tx); s.State != first.State || s.DecidedOffset != first.DecidedOffset {
						t.Errorf("%s: %v at %d, n1: %v at %d", n.ID, s.State, s.DecidedOffset, first.State, first.DecidedOffset)
					}
					_, ok := c.Newest(i, core.Path("app", "K"))
					if ok != (first.State == meta.TxCommitted) {
						t.Errorf("%s: live %v, %v", n.ID, ok, first.State)
					}
				}
			})
		})
	}
}

// seeTx waits until a transaction is staged for a key at a node and returns it.
func seeTx(c *core.Cluster, at int, key string, but ...dsv.TxID) (t dsv.TxID) {
	c.T.Helper()
	seen := map[dsv.TxID]bool{}
	for _, b := range but {
		seen[b] = true
	}
	for range 5000 {
		a, err := c.Nodes[at].Rep.Fetch(context.Background(), replica.FetchRequest{Path: core.Path("app", key)})
		c.Must(err)
		for _, x := range a.Staged {
			if !seen[x] {
				return x
			}
		}
		time.Sleep(time.Millisecond)
	}
	c.T.Fatal("nothing is staged")
	return t
}

// steal puts a PREPARE with somebody else's txid into the log first.
func steal(c *core.Cluster, t dsv.TxID) {
	h := c.Begin("app", core.Op{Kind: metapb.OpKind_PUT, Key: "STOLEN", Value: "x"})
	h.Tx = t
	h.Prepare()
}

// A PREPARE that leaves no trace is tried once more under a new txid, not twice.
func TestVoidPrepare(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "twice": 2} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				warm(t, c, 0)
				time.Sleep(time.Second)
				c.LogNet.SetDelay("n1", 50*time.Millisecond)
				var res txn.Result
				var err error
				var wg sync.WaitGroup
				wg.Go(func() { res, err = run(c.Nodes[0], 4*time.Second, request(c, "K", "v")) })
				var stolen []dsv.TxID
				for range times {
					x := seeTx(c, 1, "K", stolen...)
					steal(c, x)
					stolen = append(stolen, x)
				}
				wg.Wait()
				if times == 1 {
					if err != nil || res.Tx == stolen[0] || res.Status.State != meta.TxCommitted || res.Status.Results[0].Version != 1 {
						t.Errorf("%+v, %v", res, err)
					}
				} else {
					want(t, err, dsv.KindUnavailable, dsv.CodeLogUnavailable, dsv.PhaseOrdering)
				}
				for _, x := range stolen {
					c.Final(0, x)
				}
				c.Settled(time.Minute)
				for _, n := range c.Nodes {
					if st := n.Rep.Stats(); st.Shards != int64(3-times) || st.Holes != 0 {
						t.Errorf("%s: %d shards, %d holes", n.ID, st.Shards, st.Holes)
					}
				}
				if got := len(c.Transactions(0, c.Nodes[0])); got != 1+2 {
					t.Errorf("%d PREPAREs", got)
				}
			})
		})
	}
}

// A request that the log will never take is not tried again nor called
// retryable.
func TestPrepareThatIsAlwaysVoid(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		req := request(c, "K", "v")
		req.RequestID = string(make([]byte, meta.MaxRequestID+1))
		_, err := run(c.Nodes[0], 4*time.Second, req)
		want(t, err, dsv.KindInvalid, dsv.CodeInvalid, "")
		if got := len(c.Transactions(0, c.Nodes[0])); got != 2 {
			t.Errorf("%d PREPAREs, want that of the first write and one", got)
		}
		c.Settled(time.Minute)
	})
}

// A void COMMIT of somebody else under this transaction's id moves nothing.
func TestForeignCommit(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		time.Sleep(time.Second) // so that PREPARE goes ahead
		x, wait := stuck(c, 2*time.Second)
		time.Sleep(100 * time.Millisecond)
		for range 3 {
			c.Append(0, &metapb.Record{Version: 1, Body: &metapb.Record_Commit{Commit: &metapb.Commit{Txid: x.Bytes()}}})
		}
		res, err := wait()
		want(t, err, dsv.KindUnavailable, dsv.CodeWriteQuorum, dsv.PhaseWriting)
		c.Heal(0, 3)
		c.Heal(0, 4)
		c.Settled(time.Minute)
		if s := c.Final(1, res.Tx); s.State != meta.TxAborted {
			t.Errorf("%v, want aborted: no COMMIT with 3 acknowledgements is ever handed over", s.State)
		}
		if got := c.Of(x); got != "PCCCA" {
			t.Errorf("records %s", got)
		}
	})
}

// A COMMIT that overtook its PREPARE, as after an outage, is handed over once
// more, and only once.
func TestCommitOvertakesPrepare(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		ghost := c.OpenLog("ghost", c.Nodes[0].Rep.Incarnation())
		early := func(x dsv.TxID) {
			c.AppendAs(ghost, 0, &metapb.Record{Version: 1, Body: &metapb.Record_Commit{Commit: &metapb.Commit{Txid: x.Bytes()}}})
		}
		// The last append was good, so COMMIT does not wait for PREPARE; both are on their way.
		if _, err := run(c.Nodes[0], 4*time.Second, request(c, "GOOD", "v")); err != nil {
			t.Fatal(err)
		}
		c.LogNet.SetDelay("n1", 80*time.Millisecond)
		var res txn.Result
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { res, err = run(c.Nodes[0], 4*time.Second, request(c, "K", "v")) })
		x := seeTx(c, 1, "K")
		time.Sleep(20 * time.Millisecond)
		early(x)
		early(x)
		wg.Wait()
		if err != nil || res.Tx != x || res.Status.Results[0].Version != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		c.LogNet.SetDelay("n1", 0)
		c.Settled(time.Minute)
		c.Eventually(time.Second, func() error {
			if got := c.Of(x); got != "CCPCC" {
				return fmt.Errorf("records %s, want CCPCC: the two of the ghost, PREPARE, COMMIT, COMMIT once more", got)
			}
			return nil
		})
		if v, _ := c.Newest(1, core.Path("app", "K")); v.Number != 1 {
			t.Errorf("version %d", v.Number)
		}
	})
}

// COMMIT goes before PREPARE's own acknowledgement while the log is known to be
// good, and only then.
func TestCommitDoesNotWaitOnAGoodLog(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		c.LogNet.SetDelay("n1", 30*time.Millisecond)
		time.Sleep(time.Second)
		for i, want := range []uint64{1, 2} { // after a quiet time, and at once after that
			before := c.Nodes[0].Log.Stats().Appended
			var err error
			var wg sync.WaitGroup
			wg.Go(func() { _, err = run(c.Nodes[0], 4*time.Second, request(c, "K", "v")) })
			time.Sleep(10 * time.Millisecond)
			if got := c.Nodes[0].Log.Stats().Appended - before; got != want {
				t.Errorf("write %d: %d records handed over before any was acknowledged, want %d", i, got, want)
			}
			if wg.Wait(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Whatever the brokers do to produce requests, an answer is what the log says.
func TestProduceFaults(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		n := c.Nodes[0]
		for i := range 30 {
			if i%2 == 0 {
				c.Broker.FailProduce(1 + i%3)
			} else {
				c.Broker.DropProduceAcks(1 + i%3)
			}
			before, _ := c.Newest(1, core.Path("app", "K"))
			res, err := run(n, 4*time.Second, request(c, "K", "v"))
			c.Settled(time.Minute)
			after, _ := c.Newest(1, core.Path("app", "K"))
			switch {
			case err == nil && (after.Number != before.Number+1 || c.Final(1, res.Tx).State != meta.TxCommitted):
				t.Errorf("round %d: acknowledged version %d, %d before, %d after", i, res.Status.Results[0].Version, before.Number, after.Number)
			case dsv.KindOf(err) == dsv.KindUnavailable && after.Number != before.Number:
				t.Errorf("round %d: refused (%v), and version %d became %d", i, err, before.Number, after.Number)
			case err != nil && dsv.KindOf(err) != dsv.KindUnavailable && dsv.KindOf(err) != dsv.KindUnknownOutcome:
				t.Errorf("round %d: %v", i, err)
			}
		}
	})
}

func TestMinAcks(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		c.Net.Delay(c.Nodes[0].Host, c.Nodes[4].Host, func() time.Duration { return 300 * time.Millisecond })
		began := time.Now()
		if _, err := run(c.Nodes[0], 4*time.Second, request(c, "K", "v")); err != nil || time.Since(began) > 200*time.Millisecond {
			t.Fatalf("w acknowledgements are enough: %v after %v", err, time.Since(began))
		}
		if v, _ := c.Newest(0, core.Path("app", "K")); len(v.Acks) != 4 {
			t.Errorf("%d acknowledgements", len(v.Acks))
		}
		req := request(c, "K", "v")
		req.MinAcks = 5
		if _, err := run(c.Nodes[0], 4*time.Second, req); err != nil {
			t.Fatal(err)
		}
		if v, _ := c.Newest(0, core.Path("app", "K")); len(v.Acks) != 5 || v.Number != 2 {
			t.Errorf("version %d with %d acknowledgements", v.Number, len(v.Acks))
		}
		c.Net.Delay(c.Nodes[0].Host, c.Nodes[4].Host, nil)
		c.Cut(0, 4)
		req = request(c, "K", "v")
		req.MinAcks = 5
		_, err := run(c.Nodes[0], time.Second, req)
		want(t, err, dsv.KindUnavailable, dsv.CodeWriteQuorum, dsv.PhaseWriting)
		if e := dsv.AsError(err); e.Need != 5 || e.Have != 4 {
			t.Errorf("%+v", e)
		}
	})
}

// The gate: nothing commits before it opens, its verdicts are obeyed, and its
// goroutine has ended when Run returns.
func TestGate(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		n := c.Nodes[0]
		var inside atomic.Int32
		gated := func(g txn.Gate) *txn.Request {
			req := request(c, "K", "v")
			req.Gate = func(ctx context.Context, a txn.Attempt) (txn.Verdict, error) {
				inside.Add(1)
				defer inside.Add(-1)
				return g(ctx, a)
			}
			return req
		}
		over := func(name string) {
			t.Helper()
			if inside.Load() != 0 {
				t.Errorf("%s: the gate runs on after the answer", name)
			}
		}
		opened := false
		res, err := run(n, 4*time.Second, gated(func(ctx context.Context, a txn.Attempt) (txn.Verdict, error) {
			select {
			case <-a.Prepared:
			case <-ctx.Done():
			}
			time.Sleep(200 * time.Millisecond)
			if s := c.StatusOf(0, a.Tx); s.State != meta.TxPending {
				t.Errorf("%v before the gate opened", s.State)
			}
			opened = true
			return txn.Verdict{}, nil
		}))
		if err != nil || !opened || res.Status.State != meta.TxCommitted {
			t.Fatalf("%+v, %v", res, err)
		}
		over("open")

		cause := dsv.E(dsv.KindDenied, dsv.CodeDenied, "no")
		res, err = run(n, 4*time.Second, gated(func(context.Context, txn.Attempt) (txn.Verdict, error) { return txn.Verdict{}, cause }))
		if !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
		over("refused")
		if s := c.Final(0, res.Tx); s.State != meta.TxAborted {
			t.Errorf("%v", s.State)
		}

		res, err = run(n, 4*time.Second, gated(func(context.Context, txn.Attempt) (txn.Verdict, error) { return txn.Verdict{Unchanged: 1}, nil }))
		if err != nil || !res.Status.Results[0].Unchanged || res.Status.Results[0].Version != 1 {
			t.Errorf("%+v, %v", res, err)
		}
		over("unchanged")
		if s := c.Final(1, res.Tx); s.State != meta.TxAborted || !s.Unchanged {
			t.Errorf("%+v", s)
		}

		_, err = run(n, 300*time.Millisecond, gated(func(ctx context.Context, a txn.Attempt) (txn.Verdict, error) {
			<-ctx.Done()
			time.Sleep(20 * time.Millisecond) // it still looks at what the caller wipes
			return txn.Verdict{}, ctx.Err()
		}))
		if dsv.KindOf(err) != dsv.KindUnavailable {
			t.Errorf("a gate that never opens: %v", err)
		}
		over("deadline")
		c.Settled(time.Minute)
		if v, _ := c.Newest(0, core.Path("app", "K")); v.Number != 1 {
			t.Errorf("version %d", v.Number)
		}
	})
}

// Unchanged with an idempotency key is answered once it is applied, and kept.
func TestUnchangedIsKept(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		req := func() *txn.Request {
			r := request(c, "WARM", "v")
			r.IdempotencyKey = "once"
			r.Gate = func(context.Context, txn.Attempt) (txn.Verdict, error) { return txn.Verdict{Unchanged: 1}, nil }
			return r
		}
		res, err := run(c.Nodes[0], 4*time.Second, req())
		if err != nil {
			t.Fatal(err)
		}
		if s := c.StatusOf(0, res.Tx); s.State != meta.TxAborted || !s.Unchanged {
			t.Errorf("answered before it was applied: %+v", s)
		}
		again := request(c, "WARM", "v")
		again.IdempotencyKey = "once"
		dup, err := run(c.Nodes[1], 4*time.Second, again)
		if err != nil || dup.Duplicate != res.Tx {
			t.Errorf("%+v, %v; want a duplicate of %v", dup, err, res.Tx)
		}
		dup, err = run(c.Nodes[2], 4*time.Second, req())
		if err != nil || dup.Duplicate != res.Tx {
			t.Errorf("unchanged again: %+v, %v; want a duplicate of %v", dup, err, res.Tx)
		}
	})
}

// Holders that refuse the caller refuse the write: 401 or 403, not 503.
func TestHoldersJudge(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		req := request(c, "K", "v")
		req.Proof.Token = dsv.SecretOf([]byte("dsv.0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
		_, err := run(c.Nodes[0], 4*time.Second, req)
		want(t, err, dsv.KindUnauthenticated, dsv.CodeUnauthenticated, "")
		c.Settled(time.Minute)
		if _, ok := c.Newest(0, core.Path("app", "K")); ok {
			t.Error("it is there")
		}
	})
}

// An acknowledgement under a store id that the coordinator has not read the
// JOIN of yet counts once it has.
func TestAckBeforeItsJoinIsRead(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		c.Nodes[3].Stop()
		c.LogNet.SetDelay("n1", 450*time.Millisecond)
		read := func() bool { return c.Nodes[0].Rep.CurrentStore(0, "n5", c.Nodes[4].Rep.StoreID()) }
		for try := 0; try == 0 || read(); try++ { // it may take longer to connect again than to read the JOIN
			if try == 10 {
				t.Fatal("it has always read the JOIN already: this shows nothing")
			}
			c.Nodes[4].Crash()
			c.Nodes[4].Start()
			c.Eventually(10*time.Second, func() error {
				if !c.Nodes[0].Peers.Reachable("n5") {
					return errors.New("not connected")
				}
				return c.Nodes[4].Rep.Ready()
			})
		}
		if _, err := run(c.Nodes[0], 4*time.Second, request(c, "K", "v")); err != nil {
			t.Errorf("%v", err)
		}
	})
}

// An acknowledgement under a replaced store id does not count: the coordinator
// waits for another one instead of a COMMIT that the log would refuse.
func TestAckOfAReplacedStore(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		warm(t, c, 0)
		c.CutLog(4) // the old process does not hear of it
		id, other := c.Nodes[4].Rep.StoreID(), dsv.NewStoreID()
		off := c.Append(0, &metapb.Record{Version: 1, Body: &metapb.Record_Join{Join: &metapb.Join{Node: "n5", StoreId: other[:], Replaces: id[:]}}})
		c.Nodes[0].Applied(0, off)
		c.Net.Delay(c.Nodes[0].Host, c.Nodes[3].Host, func() time.Duration { return 200 * time.Millisecond })
		if _, err := run(c.Nodes[0], 4*time.Second, request(c, "K", "v")); err != nil {
			t.Errorf("%v", err)
		}
		if v, _ := c.Newest(0, core.Path("app", "K")); len(v.Acks) != 4 {
			t.Errorf("%d acknowledgements", len(v.Acks))
		}
	})
}

// A holder that was away gets its shard afterwards, without a record.
func TestLateFill(t *testing.T) {
	for name, d := range map[string]time.Duration{"slow": time.Second, "cut off": 0} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				warm(t, c, 0)
				n := c.Nodes[4]
				if d > 0 {
					c.Net.Delay(c.Nodes[0].Host, n.Host, func() time.Duration { return d })
				} else {
					c.Cut(0, 4)
				}
				res, err := run(c.Nodes[0], 4*time.Second, request(c, "K", "v"))
				if err != nil {
					t.Fatal(err)
				}
				n.Applied(0, res.Position.Offset)
				if st := n.Rep.Stats(); st.Holes != 1 || st.Shards != 1 {
					t.Errorf("%d shards, %d holes before", st.Shards, st.Holes)
				}
				if d == 0 {
					time.Sleep(4 * time.Second) // the connection is given up
					c.Heal(0, 4)
				}
				c.Eventually(10*time.Second, func() error {
					if st := n.Rep.Stats(); st.Holes != 0 || st.Shards != 2 {
						return errors.New("the hole is there")
					}
					return nil
				})
				if end := c.Tick(0); end != res.Position.Offset+1 {
					t.Errorf("%d records for it", end-res.Position.Offset-1)
				}
			})
		})
	}
}

// The node ends, or its replica does, in the middle of writes: every answer is
// a certain or an unknown one, and nothing breaks.
func TestStopUnderWrites(t *testing.T) {
	for name, stop := range map[string]func(*core.Cluster){
		"close":  func(c *core.Cluster) { c.Nodes[0].Stop() },
		"sealed": func(c *core.Cluster) { c.Nodes[0].Peers.Open(nil) },
		"replaced": func(c *core.Cluster) {
			id, other := c.Nodes[0].Rep.StoreID(), dsv.NewStoreID()
			c.Append(0, &metapb.Record{Version: 1, Body: &metapb.Record_Join{Join: &metapb.Join{Node: "n1", StoreId: other[:], Replaces: id[:]}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				warm(t, c, 0)
				runner := c.Nodes[0].Runner
				var wg sync.WaitGroup
				type outcome struct {
					tx  dsv.TxID
					err error
				}
				out := make(chan outcome, 1000)
				for range 8 {
					wg.Go(func() {
						for range 30 {
							ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
							res, err := runner.Run(ctx, request(c, "K", "v"))
							cancel()
							out <- outcome{res.Tx, err}
							if dsv.KindOf(err) == dsv.KindUnavailable {
								return
							}
							time.Sleep(time.Millisecond)
						}
					})
				}
				time.Sleep(12 * time.Millisecond)
				stop(c)
				wg.Wait()
				close(out)
				c.SettledBut(time.Minute, 0)
				n := 0
				for o := range out {
					switch {
					case o.err == nil:
						n++
						if s := c.StatusOf(1, o.tx); s.State != meta.TxCommitted {
							t.Errorf("acknowledged and %v", s.State)
						}
					case dsv.KindOf(o.err) == dsv.KindUnavailable:
						if s := c.StatusOf(1, o.tx); !o.tx.IsZero() && s.State == meta.TxCommitted {
							t.Errorf("refused (%v) and committed", o.err)
						}
					case dsv.KindOf(o.err) != dsv.KindUnknownOutcome:
						t.Errorf("%v", o.err)
					}
				}
				if n == 0 {
					t.Error("nothing was acknowledged before")
				}
			})
		})
	}
}
