package node

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/dsvault/dsv"
)

// Bounds that Check holds a Config to.
const (
	maxPartitions  = 1024
	maxMembers     = 255
	maxKeepers     = 16
	minTimeout     = 100 * time.Millisecond
	maxTimeout     = 9 * time.Second
	maxInFlight    = 1 << 20
	maxScanRate    = 100_000
	minStagedBytes = dsv.MaxBatchBytes
)

// Check fills in what follows from other fields (listen and advertise
// addresses from this node's members row, api_identity from identity, join
// from members) and then reports every fault at once, as one KindInvalid
// error. It touches no disk and no network.
func (c *Config) Check() error {
	f := &Faults{}
	c.check(f)
	return f.Err("config", "")
}

func (c *Config) check(f *Faults) {
	c.fill()
	checkName(f, "cluster.name", c.Cluster.Name, 63)
	checkName(f, "cluster.id", c.Cluster.ID, 64)
	required(f, "node.data_dir", c.Node.DataDir)
	c.checkMembers(f)
	CheckQuorum(f, c.Quorum, len(c.Members))
	c.checkListeners(f)
	c.checkAPI(f)
	CheckLog(f, c.Log)
	c.checkKeepers(f)
	checkFiles(f, "identity", c.Identity)
	if c.APIIdentity != c.Identity {
		checkFiles(f, "api_identity", c.APIIdentity)
	}
	required(f, "keys.log", c.Keys.Log)
	required(f, "keys.gossip", c.Keys.Gossip)
	if c.Keys.Log != "" && c.Keys.Log == c.Keys.Gossip {
		f.Add("keys.gossip", "is the file of keys.log: the two keys must differ")
	}
	c.checkRepair(f)
	c.checkLimits(f)
	checkTelemetry(f, c.Telemetry)
}

// Self is this node's members row, and whether there is one.
func (c *Config) Self() (Member, bool) {
	for _, m := range c.Members {
		if m.ID == c.Node.ID {
			return m, true
		}
	}
	return Member{}, false
}

func (c *Config) fill() {
	if c.APIIdentity == (Files{}) {
		c.APIIdentity = c.Identity
	}
	self, _ := c.Self()
	fillAddress(&c.API.Listen, &c.API.Advertise, self.API, "")
	fillAddress(&c.Peer.Listen, &c.Peer.Advertise, self.Peer, "")
	fillAddress(&c.Gossip.Listen, &c.Gossip.Advertise, self.Gossip, "0.0.0.0")
	if len(c.Gossip.Join) == 0 {
		for _, m := range c.Members {
			if m.ID != c.Node.ID && m.Gossip != "" {
				c.Gossip.Join = append(c.Gossip.Join, m.Gossip)
			}
		}
	}
}

func fillAddress(listen, advertise *string, row, every string) {
	if *advertise == "" {
		*advertise = row
	}
	if _, port, err := net.SplitHostPort(row); *listen == "" && err == nil {
		*listen = net.JoinHostPort(every, port)
	}
}

func (c *Config) checkMembers(f *Faults) {
	_, err := dsv.ParseNodeID(string(c.Node.ID))
	_, member := c.Self()
	switch {
	case c.Node.ID == "":
		f.Add("node.id", "is missing: name this node's row in members")
	case err != nil:
		f.Add("node.id", "%s", dsv.AsError(err).Detail)
	case !member:
		f.Add("node.id", "%q is not in members: add its row or use an id that is there", c.Node.ID)
	}
	if len(c.Members) == 0 {
		f.Add("members", "is missing: list every node with id, peer, gossip and api")
	}
	if len(c.Members) > maxMembers {
		f.Add("members", "has %d rows: at most %d", len(c.Members), maxMembers)
	}
	ids, addresses := map[dsv.NodeID]string{}, map[string]string{}
	for i, m := range c.Members {
		at := fmt.Sprintf("members[%d]", i)
		checkID(f, at+".id", m.ID, ids)
		checkDial(f, at+".peer", m.Peer, addresses)
		checkDial(f, at+".gossip", m.Gossip, addresses)
		checkDial(f, at+".api", m.API, addresses)
	}
}

func checkID(f *Faults, path string, id dsv.NodeID, seen map[dsv.NodeID]string) {
	_, err := dsv.ParseNodeID(string(id))
	switch {
	case id == "":
		f.Add(path, "is missing")
	case err != nil:
		f.Add(path, "%s", dsv.AsError(err).Detail)
	case seen[id] != "":
		f.Add(path, "%q is also %s: ids must differ", id, seen[id])
	default:
		seen[id] = path
	}
}

// CheckQuorum records under quorum.n, quorum.k and quorum.w what is wrong with
// q in a cluster of so many members.
func CheckQuorum(f *Faults, q QuorumConfig, members int) {
	for _, x := range []struct {
		path string
		v    int
	}{{"quorum.n", q.N}, {"quorum.k", q.K}, {"quorum.w", q.W}} {
		if x.v == 0 {
			f.Add(x.path, "is missing: there is no default quorum; n: 5, k: 3, w: 4 suits five nodes")
		}
	}
	if f.Has("quorum.n") || f.Has("quorum.k") || f.Has("quorum.w") {
		return
	}
	switch {
	case q.N < 0 || q.N > 255:
		f.Add("quorum.n", "%d must be 3 to 255", q.N)
	case q.N > members:
		f.Add("quorum.n", "%d must be at most the number of members (%d)", q.N, members)
	}
	if q.K < 2 {
		f.Add("quorum.k", "%d must be at least 2: one node alone must tell nothing", q.K)
	}
	switch {
	case q.W <= q.K:
		f.Add("quorum.w", "%d must be greater than k (%d): a write must survive the loss of one holder", q.W, q.K)
	case q.W > q.N:
		f.Add("quorum.w", "%d must be at most n (%d)", q.W, q.N)
	case q.K+q.W <= q.N:
		f.Add("quorum.w", "%d plus k (%d) must be greater than n (%d): any k holders must include one that has the newest write", q.W, q.K, q.N)
	}
}

func (c *Config) checkListeners(f *Faults) {
	self, member := c.Self()
	ports := []struct{ at, listen, advertise, row string }{
		{"api", c.API.Listen, c.API.Advertise, self.API},
		{"peer", c.Peer.Listen, c.Peer.Advertise, self.Peer},
		{"gossip", c.Gossip.Listen, c.Gossip.Advertise, self.Gossip},
	}
	for i, p := range ports {
		if p.listen == "" && p.advertise == "" {
			continue // the members row is at fault
		}
		checkListen(f, p.at+".listen", p.listen)
		checkDial(f, p.at+".advertise", p.advertise, nil)
		if member && p.row != "" && p.advertise != p.row {
			f.Add(p.at+".advertise", "%q differs from this node's members row (%q): make them equal", p.advertise, p.row)
		}
		for _, o := range ports[:i] {
			if overlap(p.listen, o.listen) {
				f.Add(p.at+".listen", "%q is taken by %s.listen (%q): use another port", p.listen, o.at, o.listen)
			}
		}
	}
	if host, _, err := net.SplitHostPort(c.Gossip.Listen); err == nil {
		if _, err := netip.ParseAddr(host); err != nil {
			f.Add("gossip.listen", "host %q must be an IP address: use 0.0.0.0 for every interface", host)
		}
	}
	for i, j := range c.Gossip.Join {
		if !slices.ContainsFunc(c.Members, func(m Member) bool { return m.Gossip == j }) { // those are judged there
			checkDial(f, fmt.Sprintf("gossip.join[%d]", i), j, nil)
		}
	}
}

func (c *Config) checkAPI(f *Faults) {
	if n := c.API.MaxValueBytes; n < 1 || n > dsv.MaxValue {
		f.Add("api.max_value_bytes", "%s must be 1B to 1MiB", n)
	}
	between(f, "api.request_timeout", c.API.RequestTimeout, minTimeout, maxTimeout)
	between(f, "api.max_in_flight", c.API.MaxInFlight, 1, maxInFlight)
}

// CheckLog records under log.brokers and log.partitions what is wrong with l.
func CheckLog(f *Faults, l LogConfig) {
	if len(l.Brokers) == 0 {
		f.Add("log.brokers", "is missing: list host:port of one or more brokers")
	}
	for i, b := range l.Brokers {
		checkDial(f, fmt.Sprintf("log.brokers[%d]", i), b, nil)
	}
	between(f, "log.partitions", l.Partitions, 1, maxPartitions)
}

func (c *Config) checkKeepers(f *Faults) {
	n := len(c.Keepers.Targets)
	switch {
	case n == 0:
		f.Add("keepers.targets", "is missing: list id and address of each keeper, three of them at best")
	case n < 2 || n > maxKeepers:
		f.Add("keepers.targets", "has %d rows: use 2 to %d", n, maxKeepers)
	}
	switch t := c.Keepers.Threshold; {
	case t < 2:
		f.Add("keepers.threshold", "%d must be at least 2: one keeper alone must know nothing", t)
	case n > 0 && t > n:
		f.Add("keepers.threshold", "%d must be at most the number of targets (%d)", t, n)
	}
	ids, addresses := map[dsv.NodeID]string{}, map[string]string{}
	for i, t := range c.Keepers.Targets {
		at := fmt.Sprintf("keepers.targets[%d]", i)
		checkID(f, at+".id", t.ID, ids)
		checkDial(f, at+".address", t.Address, addresses)
	}
}

func (c *Config) checkRepair(f *Faults) {
	most := max(c.Quorum.N-c.Quorum.K, 0)
	if f.Has("quorum.n") || f.Has("quorum.k") {
		most = 255 // the quorum is the fault to mend first
	}
	if b := c.Repair.TriggerBuffer; b < 0 || b > most {
		f.Add("repair.trigger_buffer", "%d must be 0 to n - k (%d)", b, most)
	}
	between(f, "repair.deadline", c.Repair.Deadline, 0, maxTimeout)
	between(f, "repair.scan_rate", c.Repair.ScanRate, 1, maxScanRate)
}

func (c *Config) checkLimits(f *Faults) {
	if n := c.Limits.StagedBytes; n < minStagedBytes {
		f.Add("limits.staged_bytes", "%s must be at least %s, one whole batch", n, Size(minStagedBytes))
	}
	if n := c.Limits.FreeFloorBytes; n < 0 {
		f.Add("limits.free_floor_bytes", "%s must not be negative", n)
	}
	if n := c.Limits.BallastBytes; n < 0 {
		f.Add("limits.ballast_bytes", "%s must not be negative", n)
	}
}
