package coordinator

import (
	"context"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/dsvault/dsv"
)

// Probe is what Status asks of the rest of the node.
type Probe interface {
	// Members as gossip and the peer connections see them, this node left out.
	Members() []MemberStatus
	Keepers() []KeeperStatus
	// Alarms are divergences and other findings that are not the coordinator's.
	Alarms() []string
	Software() string
	Addr() string
}

// States of a cluster.
const (
	StateHealthy     = "healthy"
	StateDegraded    = "degraded"    // it serves everything, but can lose less than it should
	StateReadOnly    = "read-only"   // fewer than w members, or no log
	StateUnavailable = "unavailable" // fewer than k members
)

// Status is the cluster as this node sees it. Any caller with a valid token
// may ask.
func (c *Coordinator) Status(ctx context.Context, _ *Session) (Status, error) {
	st := Status{Node: c.rep.Node(), Quorum: c.rep.Quorum(), Cluster: c.rep.ClusterID()}
	rs := c.rep.Stats()
	self := MemberStatus{Node: c.rep.Node(), State: "alive", Shards: rs.Shards, Holes: rs.Holes, Staged: rs.Staged}
	logUp := true
	ends := c.logEnds(ctx)
	for _, p := range rs.Partitions {
		ps := PartitionStatus{Partition: p.Partition, Applied: p.Head.Offset, End: -1, T: micros(p.Head.T), Diverged: p.Diverged}
		if end, ok := ends[p.Partition]; ok {
			ps.End = end
			self.Lag += max(0, end-1-p.Head.Offset)
		}
		if n, err := c.rep.Pending(p.Partition); err == nil {
			ps.Pending = n
		}
		if p.DigestAt > 0 {
			ps.Digest = fmt.Sprintf("%d:%s", p.DigestAt, hex.EncodeToString(p.Digest[:8]))
		}
		if p.Diverged != "" {
			st.Alarms = append(st.Alarms, fmt.Sprintf("partition %d stopped: %s", p.Partition, p.Diverged))
		}
		logUp = logUp && !c.rep.Log().Silent(p.Partition)
		self.Position += p.Head.Offset + 1
		st.Log.Void += p.Head.Void
		st.Partitions = append(st.Partitions, ps)
	}
	if rs.Damaged > 0 {
		st.Alarms = append(st.Alarms, fmt.Sprintf("%d damaged shard rows were read on this node since its start", rs.Damaged))
	}
	c.addLog(&st, logUp)
	c.addMembers(ctx, &st, self)
	c.judgeState(&st, logUp)
	return st, ctx.Err()
}

// endsFor bounds the question for the log's ends.
const endsFor = 300 * time.Millisecond

// logEnds asks the log for the end of each partition; what does not answer in
// time is left out.
func (c *Coordinator) logEnds(ctx context.Context) map[dsv.Partition]int64 {
	ctx, cancel := context.WithTimeout(ctx, endsFor)
	defer cancel()
	ends := map[dsv.Partition]int64{}
	for p := range dsv.Partition(c.rep.Partitions()) {
		if c.rep.Log().Silent(p) {
			continue
		}
		end, err := c.rep.Log().EndOffset(ctx, p)
		if err != nil {
			break
		}
		ends[p] = end
	}
	return ends
}

func (c *Coordinator) addLog(st *Status, up bool) {
	ls := c.rep.Log().Stats()
	st.Log.Available, st.Log.Good, st.Log.OldestWait = up, ls.Good, ls.Oldest
	for _, b := range ls.Brokers {
		st.Log.Brokers = append(st.Log.Brokers, b.Addr)
	}
}

func (c *Coordinator) addMembers(ctx context.Context, st *Status, self MemberStatus) {
	var rest []MemberStatus
	if c.cfg.Probe != nil {
		st.Software = c.cfg.Probe.Software()
		self.Software, self.Addr = st.Software, c.cfg.Probe.Addr()
		rest = c.cfg.Probe.Members()
		st.Keepers = c.cfg.Probe.Keepers()
		st.Alarms = append(st.Alarms, c.cfg.Probe.Alarms()...)
	}
	c.askMembers(ctx, rest, self.Position)
	st.Members = append([]MemberStatus{self}, rest...)
	for _, m := range st.Members {
		if m.Node == self.Node || !m.Sealed && c.peers.Reachable(m.Node) {
			st.Reachable++
		}
	}
	st.Margin = st.Reachable - st.Quorum.K
}

// askMembers asks every other member about its copy; who does not answer in
// time keeps what gossip says, with shards and holes unknown.
func (c *Coordinator) askMembers(ctx context.Context, members []MemberStatus, applied int64) {
	ctx, cancel := context.WithTimeout(ctx, endsFor)
	defer cancel()
	var wg sync.WaitGroup
	for i := range members {
		m := &members[i]
		wg.Go(func() {
			info, err := c.peers.Info(ctx, m.Node)
			switch {
			case err == nil:
				m.Shards, m.Holes, m.Staged, m.Position = info.Shards, info.Holes, info.Staged, info.Position
				m.Lag, m.Sealed = max(0, applied-info.Position), false
			case dsv.CodeOf(err) == dsv.CodeSealed:
				m.Sealed = true
			}
		})
	}
	wg.Wait()
}

func (c *Coordinator) judgeState(st *Status, logUp bool) {
	why := func(state, reason string, args ...any) {
		if order[state] > order[st.State] {
			st.State = state
		}
		st.Why = append(st.Why, fmt.Sprintf(reason, args...))
	}
	st.State = StateHealthy
	for _, m := range st.Members {
		switch {
		case m.Node != st.Node && !c.peers.Reachable(m.Node):
			why(StateDegraded, "%s does not answer (%s)", m.Node, m.State)
		case m.Sealed:
			why(StateDegraded, "%s is sealed", m.Node)
		case m.Holes > 0:
			why(StateDegraded, "%s has %d holes", m.Node, m.Holes)
		}
	}
	for _, k := range st.Keepers {
		if !k.Reachable || !k.Holds {
			why(StateDegraded, "keeper %s: %s", k.Keeper, orElse(k.Problem, "holds no share of this node"))
		}
	}
	if st.Reachable < st.Quorum.W {
		why(StateReadOnly, "%d members answer and writes need %d", st.Reachable, st.Quorum.W)
	}
	if !logUp {
		why(StateReadOnly, "the ordered log does not answer")
	}
	if st.Reachable < st.Quorum.K {
		why(StateUnavailable, "%d members answer and reads need %d", st.Reachable, st.Quorum.K)
	}
	for _, a := range st.Alarms {
		why(StateDegraded, "%s", a)
	}
}

var order = map[string]int{StateHealthy: 0, StateDegraded: 1, StateReadOnly: 2, StateUnavailable: 3}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
