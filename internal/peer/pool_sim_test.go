package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
)

// Five nodes under delays, cuts and crashes: every call ends exactly once, an
// answer is always the answer to its own request, and after the faults every
// pair is connected again.
func TestSimulation(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

func simulate(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	ids := []dsv.NodeID{"n1", "n2", "n3", "n4", "n5"}
	c := newCluster(t, nil, ids...)
	for _, a := range ids {
		for _, b := range ids {
			link := rand.New(rand.NewPCG(seed, rnd.Uint64()))
			c.net.Delay(string(a), string(b), func() time.Duration { return time.Duration(link.IntN(5_000)) * time.Microsecond })
		}
	}
	c.start(ids...)
	c.settle(3 * time.Second)

	stop := make(chan struct{})
	var started, ended, good atomic.Int64
	var wg sync.WaitGroup
	for i, a := range ids {
		load := rand.New(rand.NewPCG(seed, uint64(i)+100))
		wg.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(load.IntN(60)) * time.Millisecond):
				}
				p, b := c.pool(a), ids[load.IntN(len(ids))]
				if p == nil {
					continue
				}
				msg := binary.BigEndian.AppendUint64([]byte(a), n<<8|uint64(i))
				msg = append(msg, make([]byte, load.IntN(20_000))...)
				check := func(got []byte, err error) {
					ended.Add(1)
					if err == nil {
						good.Add(1)
						if string(got) != string(msg) {
							t.Errorf("%s -> %s: another call's answer", a, b)
						}
					}
				}
				started.Add(1)
				if n%2 == 0 {
					p.Go(b, kindEcho, msg, check)
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(load.IntN(30))*time.Millisecond)
				got, err := p.Call(ctx, b, kindEcho, msg)
				check(got, err)
				cancel()
			}
		})
	}

	for range 60 {
		time.Sleep(time.Duration(rnd.IntN(3_000)) * time.Millisecond)
		a, b := ids[rnd.IntN(5)], ids[rnd.IntN(5)]
		switch rnd.IntN(5) {
		case 0:
			c.net.Cut(string(a), string(b))
		case 1:
			c.net.CutBoth(string(a), string(b))
		case 2, 3:
			c.net.HealBoth(string(a), string(b))
		case 4:
			c.kill(a)
			time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
			c.start(a)
		}
	}
	for _, a := range ids {
		for _, b := range ids {
			c.net.Heal(string(a), string(b))
		}
	}
	time.Sleep(hungAfter + 2*pingEvery) // half-open connections are found out
	c.settle(5 * time.Second)
	close(stop)
	wg.Wait()
	for _, a := range ids {
		for _, b := range ids {
			if a != b {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if _, err := c.pool(a).Call(ctx, b, kindFrom, nil); err != nil && !errors.Is(err, ErrNotConnected) {
					t.Errorf("%s -> %s in the end: %v", a, b, err)
				}
				cancel()
			}
		}
	}
	c.close()
	if started.Load() != ended.Load() || good.Load() < started.Load()/3 {
		t.Errorf("%d calls began, %d ended, %d well", started.Load(), ended.Load(), good.Load())
	}
}
