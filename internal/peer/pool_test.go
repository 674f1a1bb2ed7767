package peer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

func TestCallsBothWays(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", withTLS), func(t *testing.T) {
			bubble(t, withTLS, nil, []dsv.NodeID{"n1", "n2", "n3"}, func(t *testing.T, c *cluster) {
				var wg sync.WaitGroup
				for _, a := range c.ids {
					for _, b := range c.ids {
						for i := range 60 {
							if a != b {
								wg.Go(func() { echo(t, c.pool(a), b, fmt.Sprint(a, b, i, strings.Repeat("x", i*50))) })
							}
						}
					}
				}
				wg.Wait()
				got, err := c.pool("n3").Call(t.Context(), "n1", kindFrom, nil)
				if err != nil || string(got) != "n3" {
					t.Errorf("n1 takes n3 for %q, %v", got, err)
				}
				if _, ok := c.pool("n1").RTT("n3"); !ok {
					t.Error("no round trip measured")
				}
			})
		})
	}
}

func echo(t *testing.T, p *Pool, to dsv.NodeID, msg string) {
	t.Helper()
	if got, err := p.Call(t.Context(), to, kindEcho, []byte(msg)); err != nil || string(got) != msg {
		t.Errorf("echo %.20q: %.20q, %v", msg, got, err)
	}
}

func TestErrorsTravel(t *testing.T) {
	bubble(t, false, nil, pair, func(t *testing.T, c *cluster) {
		_, want := testHandler(t.Context(), "n1", kindFail, nil)
		_, err := c.pool("n1").Call(t.Context(), "n2", kindFail, nil)
		e, ok := errors.AsType[*dsv.Error](err)
		if !ok {
			t.Fatalf("%T %v", err, err)
		}
		w := *dsv.AsError(want)
		w.Err = nil // the cause stays at home
		if d := cmp.Diff(w, *e); d != "" {
			t.Error(d)
		}
		_, err = c.pool("n2").Call(t.Context(), "n1", kindPlain, nil)
		if dsv.KindOf(err) != dsv.KindInternal || strings.Contains(err.Error(), "closed") {
			t.Errorf("plain error: %v", err)
		}
		_, err = c.pool("n2").Call(t.Context(), "n1", 0, nil)
		if e := dsv.AsError(err); e.Kind != dsv.KindInvalid || e.Field != "kind" {
			t.Errorf("unknown kind: %v", err)
		}
	})
}

func TestFrameSizes(t *testing.T) {
	bubble(t, true, nil, pair, func(t *testing.T, c *cluster) {
		big := make([]byte, DefaultMaxFrame-frameOverhead-requestHead)
		_, _ = rand.Read(big)
		got, err := c.pool("n1").Call(t.Context(), "n2", kindEcho, big)
		if err != nil || !bytes.Equal(got, big) {
			t.Errorf("largest frame: %d bytes, %v", len(got), err)
		}
		if _, err := c.pool("n1").Call(t.Context(), "n2", kindEcho, append(big, 0)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("one byte more: %v", err)
		}
		if _, err := c.pool("n1").Call(t.Context(), "n2", kindHuge, nil); dsv.KindOf(err) != dsv.KindInternal {
			t.Errorf("huge answer: %v", err)
		}
		if _, err := c.pool("n1").Call(t.Context(), "n2", kindEcho, nil); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if n := c.pool("n1").Stats().Connects; n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestNotConnectedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, "n1", "n2", "n3")
		c.start("n2")
		defer c.close()
		start := time.Now()
		for _, to := range []dsv.NodeID{"n1", "n2", "n3", "stranger"} {
			if _, err := c.pool("n2").Call(t.Context(), to, kindEcho, nil); !errors.Is(err, ErrNotConnected) {
				t.Errorf("%s: %v", to, err)
			}
			called := 0
			c.pool("n2").Go(to, kindEcho, nil, func(_ []byte, err error) {
				if called++; !errors.Is(err, ErrNotConnected) {
					t.Errorf("%s: %v", to, err)
				}
			})()
			if called != 1 {
				t.Errorf("%s: done ran %d times", to, called)
			}
			if c.pool("n2").Connected(to) {
				t.Errorf("connected to %s", to)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

func TestReconnectAfterKill(t *testing.T) {
	for _, victim := range pair { // the dialer and the acceptor
		t.Run(string(victim), func(t *testing.T) {
			bubble(t, true, nil, pair, func(t *testing.T, c *cluster) {
				survivor := pair[0]
				if victim == survivor {
					survivor = pair[1]
				}
				failed := make(chan error, 1)
				go func() {
					_, err := c.pool(survivor).Call(t.Context(), victim, kindHang, nil)
					failed <- err
				}()
				synctest.Wait()
				c.kill(victim)
				if err := <-failed; !errors.Is(err, ErrConnLost) {
					t.Errorf("call in flight: %v", err)
				}
				synctest.Wait()
				if c.pool(survivor).Connected(victim) {
					t.Error("still connected to the dead")
				}
				time.Sleep(time.Minute) // the bubble's: back-off reaches its end
				c.start(victim)
				c.settle(2 * time.Second)
				echo(t, c.pool(survivor), victim, "again")
				echo(t, c.pool(victim), survivor, "again")
			})
		})
	}
}

// A cut in any direction is found out by both sides, and the pair comes back
// after the heal.
func TestHungPeer(t *testing.T) {
	for name, cut := range map[string][][2]string{
		"both": {{"n1", "n2"}, {"n2", "n1"}}, "to the acceptor": {{"n1", "n2"}}, "to the dialer": {{"n2", "n1"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, true, nil, pair, func(t *testing.T, c *cluster) {
				time.Sleep(10 * time.Second)
				if n := c.pool("n1").Stats().Connects; n != 1 {
					t.Fatalf("%d connections in a healthy idle pair", n)
				}
				for _, l := range cut {
					c.net.Cut(l[0], l[1])
				}
				start := time.Now()
				var wg sync.WaitGroup
				for i, id := range pair {
					wg.Go(func() {
						if _, err := c.pool(id).Call(t.Context(), pair[1-i], kindHang, nil); !errors.Is(err, ErrConnLost) {
							t.Errorf("%s: %v", id, err)
						}
					})
				}
				wg.Wait()
				if d := time.Since(start); d > pingEvery+hungAfter {
					t.Errorf("noticed after %v", d)
				}
				time.Sleep(time.Minute)
				for _, l := range cut {
					c.net.Heal(l[0], l[1])
				}
				c.settle(5 * time.Second)
				echo(t, c.pool("n1"), "n2", "again")
				echo(t, c.pool("n2"), "n1", "again")
			})
		})
	}
}

// A link that is slow, but moves, is not taken for a hung peer.
func TestSlowLinkIsNoHungPeer(t *testing.T) {
	bubble(t, false, nil, pair, func(t *testing.T, c *cluster) {
		c.net.Delay("n1", "n2", func() time.Duration { return 800 * time.Millisecond })
		c.net.Delay("n2", "n1", func() time.Duration { return 800 * time.Millisecond })
		start := time.Now()
		echo(t, c.pool("n1"), "n2", strings.Repeat("x", 4<<20))
		if d := time.Since(start); d < 2*hungAfter {
			t.Errorf("the link is too fast for this test: %v", d)
		}
		if n := c.pool("n1").Stats().Connects; n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, pair...)
		ended := make(chan time.Duration, 1)
		release := make(chan struct{})
		c.tune = func(cfg *PoolConfig) {
			cfg.Handler = func(ctx context.Context, _ dsv.NodeID, kind byte, _ []byte) ([]byte, error) {
				start := time.Now()
				if kind == kindHang {
					<-ctx.Done()
					ended <- time.Since(start)
				}
				<-release
				return []byte("late"), nil
			}
		}
		c.start(pair...)
		c.settle(time.Second)
		p := c.pool("n1")
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		if _, err := p.Call(ctx, "n2", kindHang, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deadline: %v", err)
		}
		if d := <-ended; d != 700*time.Millisecond {
			t.Errorf("the handler's context ended after %v", d)
		}
		gone, cancelNow := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancelNow)
		if _, err := p.Call(gone, "n2", 0, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancel: %v", err)
		}
		if _, err := p.Call(gone, "n2", 0, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
		p.Go("n2", 0, nil, func([]byte, error) { t.Error("done ran after cancel") })()
		m := p.remote("n2").cur.Load()
		m.mu.Lock()
		if n := len(m.pending); n != 0 {
			t.Errorf("%d calls leaked", n)
		}
		m.mu.Unlock()
		close(release)
		synctest.Wait()
		if n := p.Stats().Late; n != 3 {
			t.Errorf("%d late answers dropped, want 3", n)
		}
		c.close()
	})
}

func TestTooManyAtOnce(t *testing.T) {
	bubble(t, false, func(cfg *PoolConfig) { cfg.MaxInFlight = 4 }, pair, func(t *testing.T, c *cluster) {
		p := c.pool("n1")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = p.Call(ctx, "n2", kindHang, nil) })
		}
		synctest.Wait()
		start := time.Now()
		if _, err := p.Call(t.Context(), "n2", kindEcho, nil); dsv.KindOf(err) != dsv.KindTooMany {
			t.Errorf("the fifth: %v", err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v", d)
		}
		if n := c.pool("n2").Stats().TooMany; n != 1 {
			t.Errorf("%d counted", n)
		}
		echo(t, c.pool("n2"), "n1", "the other direction")
		cancel()
		wg.Wait()
	})
}

func TestFullQueue(t *testing.T) {
	bubble(t, false, func(cfg *PoolConfig) { cfg.MaxFrame = 100_000 }, pair, func(t *testing.T, c *cluster) {
		c.net.CutBoth("n1", "n2") // the writer will block
		busy, other := 0, 0
		for range 20 {
			c.pool("n1").Go("n2", kindEcho, make([]byte, 90_000), func(_ []byte, err error) {
				switch {
				case errors.Is(err, ErrBusy):
					busy++
				default:
					other++
				}
			})
			synctest.Wait()
		}
		if busy < 10 {
			t.Errorf("%d of 20 refused", busy)
		}
		time.Sleep(hungAfter + 2*pingEvery)
		synctest.Wait()
		if busy+other != 20 {
			t.Errorf("%d of 20 answered in the end", busy+other)
		}
	})
}

// What is queued while a write goes on leaves in one write.
func TestFramesAreCoalesced(t *testing.T) {
	bubble(t, true, nil, pair, func(t *testing.T, c *cluster) {
		p := c.pool("n1")
		before := p.Stats()
		const n = 1000 // below MaxInFlight
		answers := make(chan error, n)
		for range n {
			p.Go("n2", kindEcho, []byte("hello"), func(_ []byte, err error) { answers <- err })
		}
		for range n {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		after := p.Stats()
		frames, writes := after.FramesOut-before.FramesOut, after.WritesOut-before.WritesOut
		if frames < n || writes > n/10 {
			t.Errorf("%d frames in %d writes", frames, writes)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, pair...)
		ctx, cancel := context.WithCancel(t.Context())
		p := NewPool(c.config("n1"))
		p.Start(ctx)
		c.start("n2")
		c.settle(time.Second)
		if err := p.WaitConnected(t.Context(), "n2"); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		p.Go("n2", kindHang, nil, func(_ []byte, err error) { failed <- err })
		cancel()
		if err := <-failed; !errors.Is(err, ErrConnLost) {
			t.Errorf("in flight: %v", err)
		}
		p.Close()
		p.Close()
		if _, err := p.Call(t.Context(), "n2", kindEcho, nil); !errors.Is(err, ErrNotConnected) {
			t.Errorf("after: %v", err)
		}
		p.SetAddr("n9", "n9:1")
		c.close()
		NewPool(c.config("n3")).Close() // never started
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := newCluster(t, nil, pair...)
		c.tune = func(cfg *PoolConfig) {
			cfg.Handler = func(context.Context, dsv.NodeID, byte, []byte) ([]byte, error) { <-release; return nil, nil }
		}
		c.start(pair...)
		c.settle(time.Second)
		c.pool("n1").Go("n2", 0, nil, func([]byte, error) {})
		synctest.Wait()
		start := time.Now()
		c.close()
		if d := time.Since(start); d != closeTime {
			t.Errorf("closed after %v", d)
		}
		close(release)
	})
}

func TestSetAddr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, pair...)
		c.start("n2")
		right := c.addrs["n2"]
		c.addrs = map[dsv.NodeID]string{"n1": "n1:1", "n2": "elsewhere:1"}
		c.start("n1")
		time.Sleep(time.Minute)
		if c.pool("n1").Connected("n2") {
			t.Fatal("connected to nowhere")
		}
		start := time.Now()
		c.pool("n1").SetAddr("n2", right)
		c.settle(time.Second)
		if d := time.Since(start); d != 0 {
			t.Errorf("dialled after %v", d)
		}
		c.addrs["n3"] = "n3:1"
		c.ids = append(c.ids, "n3")
		c.start("n3")
		for _, id := range pair {
			c.pool(id).SetAddr("n3", "n3:1")
		}
		c.settle(3 * time.Second)
		c.close()
	})
}
