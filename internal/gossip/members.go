package gossip

import (
	"cmp"
	"slices"
	"time"

	"github.com/dsvault/dsv"
)

// Members are the other nodes that were ever heard of, by name.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Member, 0, len(g.members))
	for id := range g.members {
		out = append(out, g.memberLocked(id))
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// Member is one other node; false if it was never heard of.
func (g *Gossip) Member(id dsv.NodeID) (Member, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members[id] == nil {
		return Member{State: State{Node: id}}, false
	}
	return g.memberLocked(id), true
}

func (g *Gossip) memberLocked(id dsv.NodeID) Member {
	m := g.members[id]
	positions, heads := m.items.sorted()
	status := m.status
	switch {
	case status == Dead && m.items.leaving:
		status = Left
	case status == Alive && time.Since(m.seen) > g.patience():
		status = Suspect
	}
	return Member{
		State: State{
			Node: id, API: m.meta.api, Peer: m.meta.peer, Incarnation: m.meta.incarnation, Sealed: m.meta.sealed,
			Software: m.meta.software, Positions: positions, Heads: heads, Counter: m.items.counter,
		},
		Status: status, LastSeen: m.seen,
	}
}

// patience is two rounds of probes: each interval one node is probed.
func (g *Gossip) patience() time.Duration {
	return 2*time.Duration(len(g.members))*g.cfg.ProbeInterval + g.cfg.ProbeInterval
}

// OnChange sets the one function that is told of changes of others: status,
// metadata and items. It gets the newest Member, so quick changes are told
// once; it runs on one goroutine of this package and may call its methods,
// but not Close. Set it before Start. Suspect is worked out when asked for and
// not told here.
func (g *Gossip) OnChange(f func(Member)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onChange = f
}

func (g *Gossip) notifyLoop() {
	for {
		select {
		case <-g.wake:
		case <-g.ctx.Done():
			return
		}
		g.mu.Lock()
		f := g.onChange
		changed := make([]Member, 0, len(g.dirty))
		for id := range g.dirty {
			changed = append(changed, g.memberLocked(id))
		}
		clear(g.dirty)
		g.mu.Unlock()
		if f == nil {
			continue
		}
		for _, m := range changed {
			f(m)
		}
	}
}

func (g *Gossip) changedLocked(id dsv.NodeID) {
	g.dirty[id] = true
	poke(g.wake)
}

// present takes a node's alive message; its name and metadata are well-formed.
func (g *Gossip) present(id dsv.NodeID, addr string, x meta) {
	if id == g.cfg.Self {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[id]
	if m == nil {
		if len(g.members) >= maxMembers {
			return
		}
		m = &member{items: newItems()}
		g.members[id] = m
	}
	if m.meta.incarnation != x.incarnation {
		m.items = newItems()
	}
	m.meta, m.addr, m.status, m.seen = x, addr, Alive, time.Now()
	g.changedLocked(id)
}

// gone takes that a node is given up; whether it left is for its items to say.
func (g *Gossip) gone(id dsv.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.members[id]; m != nil {
		m.status = Dead
		g.changedLocked(id)
	}
}

func (g *Gossip) heard(id dsv.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.members[id]; m != nil {
		m.seen = time.Now()
	}
}

// learn takes a message about a node.
func (g *Gossip) learn(x message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if x.node == g.cfg.Self {
		return // an exchange tells everybody about everybody
	}
	m := g.members[x.node]
	if m == nil || m.meta.incarnation != x.incarnation {
		g.stale++
		return
	}
	if x.counter > m.items.counter && m.status == Alive {
		m.seen = time.Now()
	}
	if m.items.merge(x) {
		g.changedLocked(x.node)
	}
}

func (g *Gossip) countGarbage(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.garbage += uint64(n)
}
