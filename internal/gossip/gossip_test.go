package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

var key = dsv.SecretOf(bytes.Repeat([]byte{7}, 32))

type group struct {
	t    *testing.T
	net  *Memory
	ids  []dsv.NodeID
	live map[dsv.NodeID]*Gossip
	key  func(dsv.NodeID) dsv.Secret
	log  *slog.Logger
}

func newGroup(t *testing.T, n int) *group {
	g := &group{t: t, net: NewMemory(), live: map[dsv.NodeID]*Gossip{}, key: func(dsv.NodeID) dsv.Secret { return key }}
	for i := range n {
		g.ids = append(g.ids, dsv.NodeID(fmt.Sprint("n", i+1)))
	}
	return g
}

func (g *group) start(id dsv.NodeID, s State) {
	g.t.Helper()
	var join []string
	for _, x := range g.ids {
		if x != id {
			join = append(join, string(x)+":7946")
		}
	}
	x, err := New(Config{Self: id, Bind: string(id) + ":7946", Key: g.key(id), Join: join, Network: g.net, Logger: g.log})
	if err != nil {
		g.t.Fatal(err)
	}
	x.SetLocal(s)
	if err := x.Start(context.Background()); err != nil {
		g.t.Fatal(err)
	}
	g.live[id] = x
}

func (g *group) close() {
	for _, x := range g.live {
		x.Close()
	}
	g.net.Drain()
}

// within waits in the bubble's time until every pair of live nodes satisfies ok.
func (g *group) within(limit time.Duration, what string, ok func(at dsv.NodeID, about Member) bool) {
	g.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		missing := ""
		for at, x := range g.live {
			for _, about := range g.ids {
				if m, _ := x.Member(about); about != at && !ok(at, m) {
					missing = fmt.Sprintf("%s sees %s as %v, counter %d, sealed %v", at, about, m.Status, m.Counter, m.Sealed)
				}
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			g.t.Errorf("not within %v: %s: %s", limit, what, missing)
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func bubble(t *testing.T, n int, f func(t *testing.T, g *group)) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, n)
		defer g.close()
		f(t, g)
	})
}

func path(t testing.TB, ns, k string) dsv.Path {
	p, err := dsv.ParsePath(ns, k)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func stateOf(t testing.TB, id dsv.NodeID, offset int64) State {
	s := State{
		Node: id, API: string(id) + ":8200", Peer: string(id) + ":8201", Incarnation: dsv.NewIncarnation(), Software: "dsv test",
	}
	for p := range dsv.Partition(12) {
		s.Positions = append(s.Positions, PartitionState{p, offset + int64(p), offset &^ 255, [32]byte{byte(p), byte(offset)}})
	}
	for i := range int64(20) {
		s.Heads = append(s.Heads, Head{
			Path: path(t, "team/"+string(id), fmt.Sprint("KEY_", i)), Version: uint64(i), Live: i%3 > 0, ValidFrom: 100 + i, ValidTo: i % 3,
			Partition: 3, Offset: offset + i,
		})
	}
	s.Heads = newest(s.Heads)
	return s
}

// knows reports whether others know a state: the counter is not compared.
func knows(m Member, want State) bool {
	want.Counter = m.Counter
	return reflect.DeepEqual(m.State, want)
}

// known is the difference.
func known(m Member, want State) string {
	got := m.State
	got.Counter = 0
	return cmp.Diff(want, got, cmp.AllowUnexported(dsv.Path{}, dsv.Namespace{}, dsv.Key{}))
}

func TestConverge(t *testing.T) {
	bubble(t, 5, func(t *testing.T, g *group) {
		states := map[dsv.NodeID]State{}
		for _, id := range g.ids {
			states[id] = stateOf(t, id, 1000)
			g.start(id, states[id])
		}
		all := func(_ dsv.NodeID, m Member) bool { return m.Status == Alive && knows(m, states[m.Node]) }
		g.within(15*time.Second, "first states", all)
		for _, x := range g.live {
			for _, m := range x.Members() {
				if d := known(m, states[m.Node]); d != "" {
					t.Fatal(d)
				}
			}
		}

		next := states["n2"]
		next.Positions = append([]PartitionState(nil), next.Positions...)
		next.Positions[4].Offset, next.Positions[4].DigestOffset, next.Positions[4].Digest = 2000, 1792, [32]byte{9}
		next.Heads = append([]Head(nil), next.Heads...)
		next.Heads[7].Offset, next.Heads[7].ValidTo, next.Heads[7].Live = 5000, 999, false
		next.Heads = newest(next.Heads)
		next.Sealed = true
		states["n2"] = next
		g.live["n2"].SetLocal(next)
		g.within(3*time.Second, "a change", all)

		back := next // neither offsets nor heads go back
		back.Positions, back.Heads = stateOf(t, "n2", 10).Positions, stateOf(t, "n2", 10).Heads
		g.live["n2"].SetLocal(back)
		time.Sleep(30 * time.Second)
		g.within(0, "no change", all)
		for id, x := range g.live {
			if s := x.Stats(); s.Garbage != 0 {
				t.Errorf("%s: %+v", id, s)
			}
		}
	})
}

func TestLeaveDieAndReturn(t *testing.T) {
	bubble(t, 5, func(t *testing.T, g *group) {
		for _, id := range g.ids {
			g.start(id, stateOf(t, id, 1000))
		}
		alive := func(_ dsv.NodeID, m Member) bool { return m.Status == Alive }
		g.within(15*time.Second, "all alive", alive)

		g.live["n4"].Leave(time.Second)
		g.live["n4"].Close()
		g.live["n5"].Close() // as in a crash
		delete(g.live, "n4")
		delete(g.live, "n5")
		g.within(40*time.Second, "left and dead", func(_ dsv.NodeID, m Member) bool {
			return m.Status == map[dsv.NodeID]Status{"n1": Alive, "n2": Alive, "n3": Alive, "n4": Left, "n5": Dead}[m.Node]
		})
		if m, _ := g.live["n1"].Member("n5"); len(m.Positions) != 12 || m.API == "" {
			t.Errorf("the dead one's last state is gone: %+v", m)
		}

		fresh := stateOf(t, "n5", 5) // a new process, far behind: the old one's offsets must not stand
		fresh.Heads = nil
		g.start("n5", fresh)
		g.start("n4", stateOf(t, "n4", 2000))
		g.within(20*time.Second, "back again", alive)
		g.within(10*time.Second, "the new process's state", func(_ dsv.NodeID, m Member) bool {
			return m.Node != "n5" || knows(m, fresh)
		})
	})
}

// A node that was cut off for so long that both sides gave the other up is
// found again after the heal.
func TestCutAndHeal(t *testing.T) {
	bubble(t, 5, func(t *testing.T, g *group) {
		for _, id := range g.ids {
			g.start(id, stateOf(t, id, 1000))
		}
		alive := func(_ dsv.NodeID, m Member) bool { return m.Status == Alive }
		g.within(15*time.Second, "all alive", alive)
		for _, id := range g.ids[1:] {
			g.net.CutBoth("n1", string(id))
		}
		g.within(2*time.Minute, "given up on both sides", func(at dsv.NodeID, m Member) bool {
			if at == "n1" || m.Node == "n1" {
				return m.Status == Dead
			}
			return m.Status == Alive
		})
		time.Sleep(3 * time.Minute)
		for _, id := range g.ids[1:] {
			g.net.HealBoth("n1", string(id))
		}
		g.within(20*time.Second, "together again", alive)
	})
}

func TestSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 2)
		defer g.close()
		x, err := New(Config{Self: "n1", Bind: "n1:7946", Key: key, Network: g.net})
		if err != nil {
			t.Fatal(err)
		}
		x.present("n2", "", meta{})
		if m, ok := x.Member("n2"); !ok || m.Status != Alive {
			t.Errorf("%v", m.Status)
		}
		time.Sleep(x.patience() + 1)
		if m, _ := x.Member("n2"); m.Status != Suspect {
			t.Errorf("%v", m.Status)
		}
		x.heard("n2")
		if m, _ := x.Member("n2"); m.Status != Alive {
			t.Errorf("%v", m.Status)
		}
		if m, ok := x.Member("n3"); ok || m.Status != Unknown {
			t.Errorf("%v", m.Status)
		}
		x.Close()
	})
}

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestWrongKeyNeverJoins(t *testing.T) {
	bubble(t, 3, func(t *testing.T, g *group) {
		var log lines
		g.log = slog.New(slog.NewTextHandler(&log, nil))
		g.key = func(id dsv.NodeID) dsv.Secret {
			if id == "n3" {
				return dsv.SecretOf(bytes.Repeat([]byte{8}, 32))
			}
			return key
		}
		for _, id := range g.ids {
			g.start(id, stateOf(t, id, 1000))
		}
		time.Sleep(2 * time.Minute)
		g.within(0, "n3 stays outside", func(at dsv.NodeID, m Member) bool {
			if at == "n3" || m.Node == "n3" {
				return m.Status == Unknown
			}
			return m.Status == Alive
		})
		log.mu.Lock()
		defer log.mu.Unlock()
		s := log.b.String()
		if n := strings.Count(s, "\n"); n == 0 || n > 3*150 {
			t.Errorf("%d log lines in two minutes", n)
		}
		if strings.Contains(s, "\\a\\a\\a") || strings.Contains(s, "BwcHBwcH") {
			t.Error("the log tells the key")
		}
	})
}

func TestOnChange(t *testing.T) {
	bubble(t, 3, func(t *testing.T, g *group) {
		g.start("n1", stateOf(t, "n1", 1000))
		var mu sync.Mutex
		seen := map[dsv.NodeID]Member{}
		n1 := g.live["n1"]
		n1.OnChange(func(m Member) {
			mu.Lock()
			defer mu.Unlock()
			seen[m.Node] = m
			n1.Members() // may be called from here
		})
		s2, s3 := stateOf(t, "n2", 1000), stateOf(t, "n3", 1000)
		g.start("n2", s2)
		g.start("n3", s3)
		g.within(10*time.Second, "alive", func(_ dsv.NodeID, m Member) bool { return m.Status == Alive })
		s3.Sealed = true
		g.live["n3"].SetLocal(s3)
		g.live["n2"].Leave(time.Second)
		g.live["n2"].Close()
		delete(g.live, "n2")
		time.Sleep(15 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if m := seen["n2"]; m.Status != Left {
			t.Errorf("n2: %v", m.Status)
		}
		if m := seen["n3"]; !m.Sealed || m.Status != Alive || known(m, s3) != "" {
			t.Errorf("n3: %v %s", m.Status, known(m, s3))
		}
		if len(seen) != 2 {
			t.Errorf("told of %d nodes", len(seen))
		}
	})
}

// The same over UDP and TCP on the loopback.
func TestRealNetwork(t *testing.T) {
	changed := make(chan struct{}, 1)
	var nodes []*Gossip
	var states []State
	var join []string
	for i := range 3 {
		id := dsv.NodeID(fmt.Sprint("n", i+1))
		x, err := New(Config{
			Self: id, Bind: "127.0.0.1:0", Key: key, Join: join,
			GossipInterval: 10 * time.Millisecond, BroadcastEvery: 10 * time.Millisecond, RejoinEvery: 50 * time.Millisecond, ProbeInterval: 100 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		x.OnChange(func(Member) { poke(changed) })
		states = append(states, stateOf(t, id, int64(i)))
		x.SetLocal(states[i])
		if err := x.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		nodes = append(nodes, x)
		join = append(join, x.Addr())
	}
	waitFor := func(ok func() bool) {
		t.Helper()
		for limit := time.After(20 * time.Second); !ok(); {
			select {
			case <-changed:
			case <-limit:
				t.Fatal("not in 20 s")
			}
		}
	}
	waitFor(func() bool {
		for _, x := range nodes {
			for i, s := range states {
				if m, _ := x.Member(s.Node); x != nodes[i] && (m.Status != Alive || !knows(m, s)) {
					return false
				}
			}
		}
		return true
	})
	nodes[2].Leave(5 * time.Second)
	nodes[2].Close()
	waitFor(func() bool { m, _ := nodes[0].Member("n3"); return m.Status == Left })
}

func TestConfigFaults(t *testing.T) {
	_, err := New(Config{Self: "N 1", Bind: "localhost:1", Advertise: "x", Key: dsv.SecretOf([]byte("short")), Join: []string{"a:b"}, ProbeTimeout: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"self:", "bind: host \"localhost\"", "advertise:", "key: has 5 bytes", "join:", "cadence"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if _, err := New(Config{Self: "n1", Bind: ":7946", Key: key}); err == nil {
		t.Error("a bind without a host was accepted")
	}
	x, err := New(Config{Self: "n1", Bind: "127.0.0.1:0", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	x.Close()
	if err := x.Start(t.Context()); err == nil {
		t.Error("started after Close")
	}
}
