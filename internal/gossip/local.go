package gossip

import (
	"iter"
	"net"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dsvault/dsv"
)

const (
	maxRoundPositions = 64 // changed items told per round; the rest follows
	maxRoundHeads     = 16
	repeats           = 2 // rounds that tell of a change, for a packet may be lost
)

// pendingItems are changes of the own state and how often each is still to be
// told.
type pendingItems struct {
	positions map[dsv.Partition]int
	heads     map[dsv.Path]int
}

func newPending() pendingItems {
	return pendingItems{positions: map[dsv.Partition]int{}, heads: map[dsv.Path]int{}}
}

// SetLocal says what this node is to spread about itself from now on. Node is
// taken from the configuration and Counter is counted here. Offsets only grow
// within an incarnation: a smaller one is ignored. Of more than MaxHeads heads
// the ones valid latest are taken; addresses and software are cut to their
// limits. Call it before Start and whenever something changed; it does not
// block, and changes are gathered for BroadcastEvery.
func (g *Gossip) SetLocal(s State) {
	next := meta{incarnation: s.Incarnation, sealed: s.Sealed, api: tidy(s.API, MaxAddress), peer: tidy(s.Peer, MaxAddress), software: tidy(s.Software, MaxSoftware)}
	heads := newest(slices.Clone(s.Heads))
	heads = heads[:min(len(heads), MaxHeads)]
	g.mu.Lock()
	defer g.mu.Unlock()
	if next.incarnation != g.self.incarnation {
		g.own, g.pending = newItems(), newPending()
	}
	changed := false
	for _, p := range s.Positions {
		if g.own.merge(message{positions: []PartitionState{p}}) {
			g.pending.positions[p.Partition] = repeats
			changed = true
		}
	}
	for _, h := range heads {
		if g.own.merge(message{heads: []Head{h}}) {
			g.pending.heads[h.Path] = repeats
			changed = true
		}
	}
	if changed {
		g.own.counter++
	}
	if next != g.self {
		g.self = next
		poke(g.metaWake)
	}
}

// tidy makes a text fit the wire: printable ASCII, cut to a limit.
func tidy(s string, limit int) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b[:min(len(b), limit)])
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// broadcastLoop tells every living node of the changes, a round at a time.
func (g *Gossip) broadcastLoop() {
	t := time.NewTicker(g.cfg.BroadcastEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			g.tell(g.round())
		case <-g.ctx.Done():
			return
		}
	}
}

func (g *Gossip) tell(packets [][]byte) {
	ml, to := g.audience()
	for _, a := range to {
		for _, p := range packets {
			if err := ml.SendToAddress(a, p); err != nil && g.ctx.Err() == nil {
				g.cfg.Logger.Debug("gossip: send", "to", a.Name, "err", err)
			}
		}
	}
}

// audience is who is told: the nodes alive.
func (g *Gossip) audience() (*memberlist.Memberlist, []memberlist.Address) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var to []memberlist.Address
	for id, m := range g.members {
		if m.status == Alive {
			to = append(to, memberlist.Address{Addr: m.addr, Name: string(id)})
		}
	}
	return g.ml, to
}

// round packs some of the pending items into packets.
func (g *Gossip) round() (packets [][]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	base := message{node: g.cfg.Self, incarnation: g.self.incarnation, counter: g.own.counter, leaving: g.own.leaving}
	m, size := base, base.baseSize()
	room := func(n int) { // for an item of n bytes, in the next packet if need be
		if size += n; size > maxPacket {
			packets = append(packets, m.append(nil))
			m, size = base, base.baseSize()+n
		}
	}
	for part := range due(g.pending.positions, maxRoundPositions) {
		room(positionSize)
		m.positions = append(m.positions, g.own.positions[part])
	}
	for path := range due(g.pending.heads, maxRoundHeads) {
		if h, ok := g.own.heads[path]; ok { // else newer ones took its place
			room(h.size())
			m.heads = append(m.heads, h)
		}
	}
	if len(m.positions)+len(m.heads) > 0 {
		packets = append(packets, m.append(nil))
	}
	return packets
}

// due takes at most limit of the pending things, any.
func due[K comparable](pending map[K]int, limit int) iter.Seq[K] {
	return func(yield func(K) bool) {
		n := 0
		for k, left := range pending {
			if n++; n > limit {
				return
			}
			if pending[k] = left - 1; left <= 1 {
				delete(pending, k)
			}
			if !yield(k) {
				return
			}
		}
	}
}

// metaLoop spreads a change of the metadata.
func (g *Gossip) metaLoop() {
	for {
		select {
		case <-g.metaWake:
			if err := g.list().UpdateNode(g.cfg.ProbeTimeout); err != nil && g.ctx.Err() == nil {
				g.cfg.Logger.Debug("gossip: update", "err", err)
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// joinLoop asks the addresses to join at whenever somebody is missing: at
// first, and after a cut that made both sides give the other up.
func (g *Gossip) joinLoop() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-g.ctx.Done():
			return
		}
		if g.countNodes()-1 < len(g.cfg.Join) {
			g.join()
		}
		t.Reset(g.cfg.RejoinEvery)
	}
}

func (g *Gossip) join() {
	own := g.Addr()
	for _, addr := range g.cfg.Join {
		if g.ctx.Err() != nil {
			return
		}
		target, err := g.target(addr)
		if err == nil && target != own {
			_, err = g.list().Join([]string{target})
		}
		if err != nil && g.ctx.Err() == nil {
			g.cfg.Logger.Debug("gossip: join", "addr", addr, "err", err)
		}
	}
}

// target is an address to join at as an IP address and port.
func (g *Gossip) target(addr string) (string, error) {
	if g.cfg.Network != nil {
		return g.cfg.Network.address(addr), nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	ip, err := resolve(g.ctx, host)
	return net.JoinHostPort(ip, port), err
}

// countNodes is how many nodes are alive, this one among them.
func (g *Gossip) countNodes() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 1
	for _, m := range g.members {
		if m.status == Alive {
			n++
		}
	}
	return n
}
