package commitlog_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
)

// A stretch (an hour if DSV_TEST_LONG is set) of a cluster of five on a virtual network, with delays, cuts, broken
// connections, leader moves and stops of the brokers: every record that was
// acknowledged is read by all, at its offset, and all read the same.
func TestSimulated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		minutes := 6
		if os.Getenv("DSV_TEST_LONG") != "" {
			minutes = 60
		}
		begin := time.Now()
		network := commitlog.NewVirtualNetwork()
		b, err := commitlog.StartBroker(commitlog.BrokerConfig{Memory: true, Brokers: 3, Network: network})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(); network.Close() })
		w := &world{t: t, cfg: newConfig(b.Addrs()), broker: b}
		w.cfg.Dial = network.DialFrom("init")
		if err := commitlog.Init(t.Context(), w.cfg); err != nil {
			t.Fatal(err)
		}
		var ns []*node
		for i := range 5 {
			name := fmt.Sprint("n", i)
			network.SetDelay(name, time.Duration(i)*time.Millisecond)
			ns = append(ns, w.start(func(c *commitlog.Config) { c.Dial = network.DialFrom(name) }))
		}
		acked := simulate(t, w, network, ns, minutes*12)
		compare(t, ns, acked)
		if d := time.Since(begin); d < time.Duration(minutes)*time.Minute {
			t.Errorf("only %v passed", d)
		}
	})
}

// simulate appends once every five seconds and returns what was acknowledged.
func simulate(t *testing.T, w *world, network *commitlog.VirtualNetwork, ns []*node, rounds int) map[dsv.Partition]map[int64]string {
	rng := rand.New(rand.NewPCG(1, 2))
	acked := map[dsv.Partition]map[int64]string{}
	for p := range dsv.Partition(partitions) {
		acked[p] = map[int64]string{}
	}
	silent := 0
	for k := range rounds {
		i := rng.IntN(len(ns))
		victim := fmt.Sprint("n", rng.IntN(len(ns)))
		switch k % 24 {
		case 3:
			network.Cut(victim)
			time.AfterFunc(time.Duration(rng.IntN(4000))*time.Millisecond, func() { network.Heal(victim) })
		case 7:
			network.Reset(victim)
		case 11:
			if err := w.broker.MoveLeaders(w.cfg); err != nil {
				t.Fatal(err)
			}
		case 15:
			w.broker.Pause()
			time.AfterFunc(3*time.Second, w.broker.Resume)
		case 19:
			w.broker.DropProduceAcks(1)
		}
		p, body := dsv.Partition(rng.IntN(partitions)), fmt.Sprint(k)
		off, err := ns[i].try(p, body)
		switch {
		case err == nil:
			acked[p][off] = body
		case errors.Is(err, commitlog.ErrSilent):
			silent++
		default:
			t.Errorf("append: %v", err)
		}
		time.Sleep(5 * time.Second)
	}
	if silent > rounds/8 {
		t.Errorf("%d of %d appends met silence", silent, rounds)
	}
	return acked
}

// compare checks that all have read the same, and all that was acknowledged.
func compare(t *testing.T, ns []*node, acked map[dsv.Partition]map[int64]string) {
	for p, want := range acked {
		end, err := ns[0].EndOffset(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		first := ns[0].waitCount(p, int(end))
		for off, body := range want {
			if string(first[off].Body) != body {
				t.Errorf("partition %d offset %d is %q, acknowledged %q", p, off, first[off].Body, body)
			}
		}
		for _, n := range ns {
			rs := n.waitCount(p, int(end))
			for k, r := range rs {
				if r.Offset != int64(k) || string(r.Body) != string(first[k].Body) || r.AppendTime != first[k].AppendTime {
					t.Fatalf("partition %d record %d differs: %+v, %+v", p, k, r, first[k])
				}
			}
			if len(n.diverged) > 0 {
				t.Errorf("diverged: %v", n.diverged)
			}
		}
	}
}

// bubble runs f inside a bubble with one Log on one broker on a virtual network.
func bubble(t *testing.T, f func(t *testing.T, w *world, a *node, network *commitlog.VirtualNetwork)) {
	synctest.Test(t, func(t *testing.T) {
		network := commitlog.NewVirtualNetwork()
		b, err := commitlog.StartBroker(commitlog.BrokerConfig{Memory: true, Network: network})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(); network.Close() })
		w := &world{t: t, cfg: newConfig(b.Addrs()), broker: b}
		w.cfg.Dial = network.DialFrom("n")
		if err := commitlog.Init(t.Context(), w.cfg); err != nil {
			t.Fatal(err)
		}
		a := w.start()
		f(t, w, a, network)
	})
}

// In virtual time the figures of silence are exact.
func TestSilenceExact(t *testing.T) {
	bubble(t, func(t *testing.T, _ *world, a *node, network *commitlog.VirtualNetwork) {
		for _, away := range []time.Duration{700 * time.Millisecond, 2 * time.Second, 30 * time.Second, 10 * time.Minute} {
			a.append(0, "x")
			if !a.Good() || a.Silent(0) {
				t.Errorf("good %v, silent %v", a.Good(), a.Silent(0))
			}
			network.Cut("n")
			time.Sleep(away)
			if got, want := a.Silent(0), away > time.Second; got != want {
				t.Errorf("after %v without an answer: silent %v", away, got)
			}
			if a.Good() {
				t.Error("good")
			}
			network.Heal("n")
			time.Sleep(time.Second)
			if a.Silent(0) {
				t.Errorf("still silent a second after an outage of %v", away)
			}
		}
	})
}

// A lone record, and the two of a lone operation, never linger, and two that are
// handed over together go out together; many at once linger for a millisecond at
// most and share requests.
func TestLinger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, a *node, network *commitlog.VirtualNetwork) {
		for p := range dsv.Partition(partitions) {
			a.append(p, "first") // until then the client has one request under way at most
		}
		begin := time.Now()
		a.append(0, "lone")
		if d := time.Since(begin); d != 0 {
			t.Errorf("a lone record took %v", d)
		}
		before, _ := w.broker.Produced()
		begin = time.Now()
		offsets := make(chan int64, 2)
		tell := func(offset int64, _ error) { offsets <- offset }
		if err := a.AppendAll(0, commitlog.Entry{Body: []byte("1"), Done: tell}, commitlog.Entry{Body: []byte("2"), Done: tell}); err != nil {
			t.Fatal(err)
		}
		if one, two := <-offsets, <-offsets; two != one+1 || time.Since(begin) != 0 {
			t.Errorf("two at once: offsets %d and %d after %v", one, two, time.Since(begin))
		}
		if after, _ := w.broker.Produced(); after != before+1 {
			t.Errorf("two at once took %d requests", after-before)
		}
		const way = 3 * time.Millisecond
		network.SetDelay("n", way)
		burst := func(count int) time.Duration {
			begin := time.Now()
			var wg sync.WaitGroup
			for k := range count {
				wg.Add(1)
				if err := a.Append(dsv.Partition(k%partitions), nil, func(int64, error) { wg.Done() }); err != nil {
					t.Fatal(err)
				}
			}
			wg.Wait()
			return time.Since(begin)
		}
		if d := burst(2); d != 2*way {
			t.Errorf("two records took %v, a round trip is %v", d, 2*way)
		}
		before, _ = w.broker.Produced()
		if d := burst(100); d > 2*way+time.Millisecond {
			t.Errorf("a hundred records took %v, a round trip is %v", d, 2*way)
		}
		if after, _ := w.broker.Produced(); after-before > 3 {
			t.Errorf("a hundred records took %d requests", after-before)
		}
		network.SetDelay("n", 300*time.Microsecond)
		before, _ = w.broker.Produced()
		for range 50 {
			if err := a.Append(0, nil, func(int64, error) {}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
		if after, _ := w.broker.Produced(); after-before > 15 {
			t.Errorf("fifty records in 5 ms took %d requests", after-before)
		}
	})
}

// Records that are trimmed while a reader is cut off from them stop it.
func TestDivergedTrimmed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world, a *node, network *commitlog.VirtualNetwork) {
		b := w.start(func(c *commitlog.Config) { c.Dial = network.DialFrom("other") })
		a.append(0, "0")
		b.waitCount(0, 1)
		network.Cut("other")
		for range 5 {
			a.append(0, "x")
		}
		a.waitCount(0, 6)
		if err := w.broker.TrimLog(w.cfg, 0, 4); err != nil {
			t.Fatal(err)
		}
		network.Reset("other") // the answer under way is lost
		network.Heal("other")
		b.waitDiverged(0, "records lost")
		b.stands(w, 0, 1)
		if rs := b.get(0); len(rs) != 1 {
			t.Errorf("read on behind the gap: %+v", rs)
		}
		a.append(0, "y") // who had read them goes on
		a.waitCount(0, 7)
	})
}
