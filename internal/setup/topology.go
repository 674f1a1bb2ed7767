package setup

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/node"
)

// Ports where a topology names none.
const (
	DefaultAPIPort    = 8400 // peer and gossip are the next two
	DefaultKeeperPort = 8410
)

// Topology says what a cluster is made of. Its YAML form is the file of
// `dsvctl init --file`.
type Topology struct {
	// Name of the cluster: 1 to 63 of [a-z0-9-].
	Cluster string `yaml:"cluster"`
	// Cluster id. Left out at first: init draws it.
	ID string `yaml:"id,omitempty"`
	// Shards per version, threshold and write quorum. Default with five nodes or more: n 5, k 3, w 4; fewer have none.
	Quorum node.QuorumConfig `yaml:"quorum"`
	// Partitions of the log. Default 12.
	Partitions int `yaml:"partitions"`
	// host:port of the Kafka brokers.
	Brokers []string `yaml:"brokers"`
	// Speak TLS to the brokers. Default true.
	BrokerTLS bool `yaml:"broker_tls"`
	// The nodes.
	Nodes []Node `yaml:"nodes"`
	// The keepers of the root keys. All nodes use the same ones.
	Keepers []Keeper `yaml:"keepers"`
	// Shares that rebuild a root key. Default 2.
	Threshold int `yaml:"threshold"`
}

// Node is one node of a topology.
type Node struct {
	// 1 to 64 of [a-z0-9-].
	ID dsv.NodeID `yaml:"id"`
	// Name or address at which the others and clients reach it.
	Host string `yaml:"host"`
	// More names and addresses for its certificate.
	Names []string `yaml:"names,omitempty"`
	// Ports of the HTTP API, between nodes, and of gossip. Default 8400, 8401, 8402.
	Ports Ports `yaml:"ports"`
	// Directory of the store, relative to the node's folder. Default data.
	DataDir string `yaml:"data_dir"`
}

// Ports are the three ports of a node.
type Ports struct {
	API    int `yaml:"api"`
	Peer   int `yaml:"peer"`
	Gossip int `yaml:"gossip"`
}

// Keeper is one keeper of a topology.
type Keeper struct {
	// 1 to 64 of [a-z0-9-].
	ID dsv.NodeID `yaml:"id"`
	// Name or address at which the nodes reach it.
	Host string `yaml:"host"`
	// Default 8410.
	Port int `yaml:"port"`
}

// LoadTopology reads a topology from YAML and checks it: every fault at once,
// with path and line, as a KindInvalid error.
func LoadTopology(path string) (Topology, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Topology{}, &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: "topology", Path: path, Detail: "cannot be read", Err: err}
	}
	f := &node.Faults{}
	t := Topology{BrokerTLS: true}
	f.DecodeYAML(text, &t)
	if !f.Unread() {
		t.check(f)
	}
	if err := f.Err("topology", path); err != nil {
		return Topology{}, err
	}
	return t, nil
}

// Check fills in defaults and reports every fault at once, as a KindInvalid
// error.
func (t *Topology) Check() error {
	f := &node.Faults{}
	t.check(f)
	return f.Err("topology", "")
}

func (t *Topology) check(f *node.Faults) {
	t.fill()
	for i, n := range t.Nodes {
		at := fmt.Sprintf("nodes[%d]", i)
		checkHost(f, at+".host", n.Host)
		for j, name := range n.Names {
			checkHost(f, fmt.Sprintf("%s.names[%d]", at, j), name)
		}
		checkPort(f, at+".ports.api", n.Ports.API)
		checkPort(f, at+".ports.peer", n.Ports.Peer)
		checkPort(f, at+".ports.gossip", n.Ports.Gossip)
	}
	for i, k := range t.Keepers {
		at := fmt.Sprintf("keepers[%d]", i)
		checkHost(f, at+".host", k.Host)
		checkPort(f, at+".port", k.Port)
	}
	if len(t.Nodes) == 0 {
		f.Add("nodes", "is missing: list id and host of every node")
		node.CheckQuorum(f, t.Quorum, 0)
		return
	}
	t.checkAsConfig(f)
}

// checkAsConfig holds t to the rules of the node configuration that will be
// written, and tells its faults under the names of the topology.
func (t *Topology) checkAsConfig(f *node.Faults) {
	id := t.ID
	if id == "" {
		id = "to-be-drawn"
	}
	c := node.DefaultConfig()
	t.configure(&c, id, t.Nodes[0])
	err := c.Check()
	if err == nil {
		return
	}
	for _, x := range dsv.AsError(err).Faults {
		at, ok := inTopology(x.Name)
		row, _, _ := strings.Cut(at, ".")
		if ok && !f.Has(row+".host") { // the address is made from it
			detail, _ := inTopology(x.Detail)
			f.Add(at, "%s", detail)
		}
	}
}

// names turns the keys of a configuration, alone or inside a sentence, into
// those of a topology.
var names = []struct {
	config   *regexp.Regexp
	topology string
}{
	{regexp.MustCompile(`\bmembers\[(\d+)\]\.(api|peer|gossip)\b`), "nodes[$1].ports.$2"},
	{regexp.MustCompile(`\bmembers\[(\d+)\]`), "nodes[$1]"},
	{regexp.MustCompile(`\bkeepers\.targets\[(\d+)\]\.address\b`), "keepers[$1].port"},
	{regexp.MustCompile(`\bkeepers\.targets\b`), "keepers"},
	{regexp.MustCompile(`\bkeepers\.threshold\b`), "threshold"},
	{regexp.MustCompile(`^cluster\.name$`), "cluster"},
	{regexp.MustCompile(`^cluster\.id$`), "id"},
	{regexp.MustCompile(`^log\.(brokers|partitions)\b`), "$1"},
	{regexp.MustCompile(`^quorum\b`), "quorum"},
	{regexp.MustCompile(`\bnumber of members\b`), "number of nodes"},
	{regexp.MustCompile(`\bnumber of targets\b`), "number of keepers"},
}

// inTopology is s in the topology's words, and whether it has any: a key that
// follows from others has none.
func inTopology(s string) (string, bool) {
	found := false
	for _, n := range names {
		found = found || n.config.MatchString(s)
		s = n.config.ReplaceAllString(s, n.topology)
	}
	return s, found
}

func (t *Topology) fill() {
	d := node.DefaultConfig()
	if t.Partitions == 0 {
		t.Partitions = d.Log.Partitions
	}
	if t.Threshold == 0 {
		t.Threshold = d.Keepers.Threshold
	}
	if t.Quorum == (node.QuorumConfig{}) && len(t.Nodes) >= 5 {
		t.Quorum = node.QuorumConfig{N: 5, K: 3, W: 4}
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Ports.API == 0 {
			n.Ports.API = DefaultAPIPort
		}
		if n.Ports.Peer == 0 {
			n.Ports.Peer = n.Ports.API + 1
		}
		if n.Ports.Gossip == 0 {
			n.Ports.Gossip = n.Ports.API + 2
		}
		if n.DataDir == "" {
			n.DataDir = "data"
		}
	}
	for i := range t.Keepers {
		if t.Keepers[i].Port == 0 {
			t.Keepers[i].Port = DefaultKeeperPort
		}
	}
}

func checkHost(f *node.Faults, path, host string) {
	switch {
	case host == "":
		f.Add(path, "is missing: use a name or an address")
	case !node.IsHost(host):
		f.Add(path, "%q must be a name or an address, without a port", host)
	}
}

func checkPort(f *node.Faults, path string, port int) {
	if port < 1 || port > 65535 {
		f.Add(path, "%d must be 1 to 65535", port)
	}
}

// members are the ids of the nodes, sorted: the members of CONFIG.
func (t *Topology) members() []dsv.NodeID {
	var ids []dsv.NodeID
	for _, n := range t.Nodes {
		ids = append(ids, n.ID)
	}
	slices.Sort(ids)
	return ids
}

// configure writes into c what the topology says of one node, all paths
// relative to its folder.
func (t *Topology) configure(c *node.Config, clusterID string, n Node) {
	c.Cluster = node.ClusterConfig{Name: t.Cluster, ID: clusterID}
	c.Node = node.SelfConfig{ID: n.ID, DataDir: n.DataDir}
	c.Quorum = t.Quorum
	c.Log = node.LogConfig{Brokers: t.Brokers, Partitions: t.Partitions, TLS: t.BrokerTLS}
	c.Keepers.Threshold = t.Threshold
	for _, k := range t.Keepers {
		c.Keepers.Targets = append(c.Keepers.Targets, node.KeeperTarget{ID: k.ID, Address: address(k.Host, k.Port)})
	}
	for _, m := range t.Nodes {
		c.Members = append(c.Members, node.Member{ID: m.ID, Peer: address(m.Host, m.Ports.Peer),
			Gossip: address(m.Host, m.Ports.Gossip), API: address(m.Host, m.Ports.API)})
	}
	c.Identity = node.Files{CA: caFile, Cert: certFile, Key: keyFile}
	c.Keys = node.KeyFiles{Log: logKeyFile, Gossip: gossipKeyFile}
}

// NodeConfig is the configuration of a node with all defaults, its paths
// relative to a folder of its own; KindInvalid for a node that is not in t.
func (t *Topology) NodeConfig(id dsv.NodeID) (node.Config, error) {
	for _, n := range t.Nodes {
		if n.ID == id {
			c := node.DefaultConfig()
			t.configure(&c, t.ID, n)
			return c, nil
		}
	}
	return node.Config{}, dsv.Invalid("nodes", "has no "+string(id))
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
