package replica_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/tests/core"
)

// A barrier is one that was sent after its caller asked: who comes while one
// is under way gets the next, and all who wait for that share it.
func TestBarrierIsNeverTheOneUnderWay(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		c.LogNet.SetDelay(string(n.ID), 20*time.Millisecond)
		before := n.Rep.Applied(0)
		type got struct {
			pos  dsv.Position
			past int64 // the newest offset that was in the log when it asked
		}
		var mu sync.Mutex
		var all []got
		var wg sync.WaitGroup
		ask := func() {
			past := c.Tick(0) // the raw log has no delay
			wg.Go(func() {
				pos, err := n.Rep.Barrier(context.Background(), 0)
				if err != nil {
					t.Error(err)
				}
				if at := n.Rep.Applied(0); at < pos.Offset {
					t.Errorf("applied %d behind the barrier %d", at, pos.Offset)
				}
				mu.Lock()
				all = append(all, got{pos, past})
				mu.Unlock()
			})
		}
		for i := range 60 {
			ask()
			time.Sleep(time.Duration(i%7) * time.Millisecond)
		}
		wg.Wait()
		distinct := map[int64]bool{}
		for _, g := range all {
			if g.pos.Offset <= g.past {
				t.Errorf("a barrier at %d for a caller who came when the log ended at %d", g.pos.Offset, g.past)
			}
			distinct[g.pos.Offset] = true
		}
		if len(distinct) < 2 || len(distinct) > 20 {
			t.Errorf("%d barriers for %d callers", len(distinct), len(all))
		}
		if n.Rep.Applied(0)-before != int64(60+len(distinct)) {
			t.Errorf("%d records", n.Rep.Applied(0)-before)
		}
	})
}

// A silent log ends a barrier's wait, the next one after it is back works.
func TestBarrierOnASilentLog(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		c.CutLog(0)
		began := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := n.Rep.Barrier(context.Background(), 0); !errors.Is(err, replica.ErrLogSilent) {
					t.Errorf("%v, want %v", err, replica.ErrLogSilent)
				}
			})
			time.Sleep(10 * time.Millisecond)
		}
		wg.Wait()
		if d := time.Since(began); d > 1500*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		began = time.Now()
		if _, err := n.Rep.Barrier(context.Background(), 0); !errors.Is(err, replica.ErrLogSilent) || time.Since(began) > 100*time.Millisecond {
			t.Errorf("on a log known to be silent: %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		if _, err := c.Nodes[1].Rep.Barrier(ctx, 0); err != nil {
			t.Errorf("a node that is not cut: %v", err)
		}
		c.HealLog(0)
		c.Eventually(10*time.Second, func() error {
			past := c.Tick(0)
			pos, err := n.Rep.Barrier(context.Background(), 0)
			if err == nil && pos.Offset <= past {
				t.Fatalf("a barrier at %d when the log ended at %d", pos.Offset, past)
			}
			return err
		})
	})
}

// The settings have a revision that moves with every change and with nothing
// else; who waits for it sees the change.
func TestSettingsRevision(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		token, id := c.Grant("reader", auth.Read, "app")
		n.Applied(commitlog.Control, 1)
		rev := n.Rep.Book().Revision()
		if rev != 2 {
			t.Errorf("revision %d after the settings at 0 and 1", rev)
		}
		n.As(token)
		void := []*metapb.Setting{
			{Type: "unknown", Id: "x", Value: []byte("y")},
			{Type: replica.TokenType, Id: "0123456789abcdef"}, // removes nobody
			{Type: replica.TokenType, Id: "0123456789abcdef", Value: []byte("no token")},
			{Type: replica.TokenType, Id: id, Value: make([]byte, replica.MaxSetting+1)},
		}
		for _, s := range void {
			c.Append(commitlog.Control, &metapb.Record{Version: 1, Body: &metapb.Record_Setting{Setting: s}})
		}
		last := c.Tick(commitlog.Control)
		n.Applied(commitlog.Control, last)
		if got := n.Rep.Book().Revision(); got != rev {
			t.Errorf("revision %d after records that change nothing", got)
		}
		c.RevokeToken(id)
		c.Must(n.Rep.WaitApplied(context.Background(), dsv.Position{Partition: commitlog.Control, Offset: last + 1}))
		if got := n.Rep.Book().Revision(); got != uint64(last)+2 {
			t.Errorf("revision %d, want %d", got, last+2)
		}
		if _, err := n.Coord.Authenticate(context.Background(), token); dsv.KindOf(err) != dsv.KindUnauthenticated {
			t.Errorf("a revoked token: %v", err)
		}
		n.Stop()
		n.Start()
		if got := n.Rep.Book().Revision(); got != uint64(last)+2 {
			t.Errorf("revision %d after a restart, want %d", got, last+2)
		}
	})
}

// A setting whose fate is not known in time is not called refused.
func TestPutSettingOutcome(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		set := func() *metapb.Setting {
			return &metapb.Setting{Type: replica.TokenType, Id: "0123456789abcdef", Author: "test"}
		}
		c.Must(n.Rep.PutSetting(context.Background(), set()))
		c.CutLog(0)
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if err := n.Rep.PutSetting(ctx, set()); dsv.KindOf(err) != dsv.KindUnknownOutcome {
			t.Errorf("handed over and not heard of again: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := n.Rep.PutSetting(context.Background(), set()); dsv.KindOf(err) != dsv.KindUnavailable || dsv.CodeOf(err) != dsv.CodeLogUnavailable {
			t.Errorf("on a silent log: %v", err)
		}
	})
}

// After a quiet time the first stage can overtake the record that its
// coordinator took T0 from: the holder waits for that.
func TestFirstStageAfterAQuietTime(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		time.Sleep(3 * time.Minute)
		n := c.Nodes[4]
		n.Stop()
		n.Start()
		n.Ready()
		c.LogNet.SetDelay(string(n.ID), 50*time.Millisecond)
		c.Nodes[0].Applied(0, c.Tick(0)) // two minutes on the clock, which the restarted node does not know
		h := c.Begin("app", create("K", "v"))
		if err := h.TryStage(4); err != nil {
			t.Error(err)
		}
		far := c.BeginAt("app", c.Nodes[0].Rep.EstimateE(0)+200*seconds, create("K", "v"))
		began := time.Now()
		if err := far.TryStage(4); !errors.Is(err, replica.ErrTooEarly) || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
