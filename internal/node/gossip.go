package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/api"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/gossip"
)

// gossipEvery is how often this node tells its state.
const gossipEvery = time.Second

func (n *Node) startGossip(ctx context.Context) error {
	gc := gossip.Config{Self: n.cfg.Node.ID, Bind: n.cfg.Gossip.Listen, Advertise: n.cfg.Gossip.Advertise, Key: n.gossipKey,
		Join: n.cfg.Gossip.Join, Logger: n.log, Network: n.world.Gossip}
	g, err := gossip.New(gc)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	n.gossip = g
	g.SetLocal(n.gossipState())
	if err := g.Start(ctx); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// gossipLoop tells this node's state and looks at the others' digests.
func (n *Node) gossipLoop(ctx context.Context) {
	t := time.NewTicker(gossipEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		n.gossip.SetLocal(n.gossipState())
		n.compareDigests()
	}
}

func (n *Node) gossipState() gossip.State {
	sealed, _ := n.state()
	s := gossip.State{Node: n.cfg.Node.ID, API: n.cfg.API.Advertise, Peer: n.cfg.Peer.Advertise, Incarnation: n.inc,
		Sealed: sealed, Software: Software()}
	o := n.opened.Load()
	if o == nil {
		return s
	}
	st := o.rep.Stats()
	for _, p := range st.Partitions {
		s.Positions = append(s.Positions, gossip.PartitionState{Partition: p.Partition, Offset: p.Head.Offset, DigestOffset: p.DigestAt, Digest: p.Digest})
	}
	for _, h := range o.rep.Heads() {
		s.Heads = append(s.Heads, gossip.Head{Path: h.Path, Version: h.Version, Live: h.Live, ValidFrom: h.ValidFrom, ValidTo: h.ValidTo,
			Offset: h.Offset, Partition: h.Partition})
	}
	return s
}

// compareDigests raises an alarm when two nodes have different state digests
// at one position: their machines differ.
func (n *Node) compareDigests() {
	o := n.opened.Load()
	if o == nil {
		return
	}
	own := map[dsv.Partition]map[int64][32]byte{}
	for _, p := range o.rep.Stats().Partitions {
		own[p.Partition] = o.rep.Digests(p.Partition)
	}
	for _, m := range n.gossip.Members() {
		if m.State.Node == n.cfg.Node.ID {
			continue
		}
		for _, p := range m.State.Positions {
			if d, ok := own[p.Partition][p.DigestOffset]; ok && p.Digest != [32]byte{} && d != p.Digest {
				n.alarms.raise(fmt.Sprintf("partition %d: the state digest at offset %d differs between %s and %s", p.Partition, p.DigestOffset, n.cfg.Node.ID, m.State.Node))
			}
		}
	}
}

// alarms are findings that stay until the process ends.
type alarms struct {
	mu   sync.Mutex
	list []string
}

// maxAlarms bounds the list; the first ones tell the cause.
const maxAlarms = 32

func (a *alarms) raise(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.list, s) && len(a.list) < maxAlarms {
		a.list = append(a.list, s)
	}
}

func (a *alarms) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

// hints answers the coordinator from what gossip says.
type hints struct{ n *Node }

func (h hints) Head(path dsv.Path) (version uint64, live bool, from, to time.Time, offset int64, ok bool) {
	for _, m := range h.n.gossip.Members() {
		for _, x := range m.State.Heads {
			if x.Path == path && (!ok || x.Offset > offset) {
				version, live, offset, ok = x.Version, x.Live, x.Offset, true
				from, to = time.UnixMicro(x.ValidFrom).UTC(), time.Time{}
				if x.ValidTo > 0 {
					to = time.UnixMicro(x.ValidTo).UTC()
				}
			}
		}
	}
	return version, live, from, to, offset, ok
}

// probe tells Status about the rest of the node.
type probe struct{ n *Node }

func (p probe) Software() string { return Software() }
func (p probe) Addr() string     { return p.n.cfg.API.Advertise }
func (p probe) Alarms() []string { return p.n.alarms.all() }

func (p probe) Members() []coordinator.MemberStatus {
	seen := map[dsv.NodeID]gossip.Member{}
	for _, m := range p.n.gossip.Members() {
		seen[m.State.Node] = m
	}
	var out []coordinator.MemberStatus
	for _, c := range p.n.cfg.Members {
		if c.ID == p.n.cfg.Node.ID {
			continue
		}
		out = append(out, p.member(c, seen))
	}
	return out
}

func (p probe) member(c Member, seen map[dsv.NodeID]gossip.Member) coordinator.MemberStatus {
	s := coordinator.MemberStatus{Node: c.ID, Addr: c.API, State: "unknown", Lag: -1, Shards: -1, Holes: -1}
	s.RTT, _ = p.n.pool.RTT(c.ID)
	m, ok := seen[c.ID]
	if !ok {
		return s
	}
	s.State, s.LastSeen = m.Status.String(), m.LastSeen
	s.Sealed, s.Software = m.State.Sealed, m.State.Software
	var lag int64
	o := p.n.opened.Load()
	for _, ps := range m.State.Positions {
		s.Position += ps.Offset + 1
		if o != nil {
			lag += max(0, o.rep.Applied(ps.Partition)-ps.Offset)
		}
	}
	if len(m.State.Positions) > 0 {
		s.Lag = lag
	}
	return s
}

func (p probe) Keepers() []coordinator.KeeperStatus {
	var out []coordinator.KeeperStatus
	for _, k := range p.n.custodian.Status() {
		out = append(out, coordinator.KeeperStatus{Keeper: k.ID, Addr: k.Addr, Reachable: k.Reachable, Holds: k.Holds,
			Generation: k.Generation, LastSeen: k.LastSeen, Problem: k.Problem})
	}
	return out
}

// checks are the named checks of /readyz beside the seal.
func (n *Node) checks(context.Context) []api.Check {
	o := n.opened.Load()
	if o == nil {
		return nil
	}
	ok := func(name string, err error) api.Check {
		if err != nil {
			return api.Check{Name: name, Reason: err.Error()}
		}
		return api.Check{Name: name, OK: true}
	}
	var silent error
	for p := range n.cfg.Log.Partitions {
		if o.log.Silent(dsv.Partition(p)) {
			silent = fmt.Errorf("the log does not answer")
		}
	}
	up := 0
	for _, m := range n.cfg.Members {
		if n.peers.Reachable(m.ID) {
			up++
		}
	}
	var quorum error
	if up < n.cfg.Quorum.W {
		quorum = fmt.Errorf("%d members can be reached and writes need %d", up, n.cfg.Quorum.W)
	}
	var diverged error
	if a := n.alarms.all(); len(a) > 0 {
		diverged = fmt.Errorf("%s", strings.Join(a, "; "))
	}
	return []api.Check{ok("storage", o.rep.Err()), ok("log", silent), ok("joined", o.rep.Ready()), ok("quorum", quorum), ok("digest", diverged)}
}
