package setup

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/node"
)

const goodTopology = `cluster: prod
brokers: ["kafka.example.com:9094"]
nodes:
  - {id: n1, host: vault1.example.com}
  - {id: n2, host: vault2.example.com, ports: {api: 9000}}
  - {id: n3, host: 10.0.0.3, names: [vault3.example.com, "10.0.0.4"]}
  - {id: n4, host: vault4.example.com, ports: {api: 1, peer: 7, gossip: 9}, data_dir: /var/lib/dsv}
  - {id: n5, host: vault5.example.com}
keepers:
  - {id: k1, host: keeper1.example.com}
  - {id: k2, host: keeper2.example.com, port: 9100}
  - {id: k3, host: keeper3.example.com}
`

func load(t *testing.T, text string) (Topology, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "topology.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadTopology(path)
}

func TestTopologyDefaults(t *testing.T) {
	top, err := load(t, goodTopology)
	if err != nil {
		t.Fatal(err)
	}
	if top.Quorum != (node.QuorumConfig{N: 5, K: 3, W: 4}) || top.Partitions != 12 || top.Threshold != 2 || !top.BrokerTLS || top.ID != "" {
		t.Errorf("%+v", top)
	}
	want := []Ports{{8400, 8401, 8402}, {9000, 9001, 9002}, {8400, 8401, 8402}, {1, 7, 9}, {8400, 8401, 8402}}
	for i, n := range top.Nodes {
		if n.Ports != want[i] {
			t.Errorf("%s: ports %v, want %v", n.ID, n.Ports, want[i])
		}
	}
	if top.Nodes[0].DataDir != "data" || top.Nodes[3].DataDir != "/var/lib/dsv" || top.Keepers[0].Port != 8410 || top.Keepers[1].Port != 9100 {
		t.Errorf("%+v", top)
	}
}

// TestTopologyFaults: one edit, and all the faults it must give, under the
// names of the topology.
func TestTopologyFaults(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"no name", "cluster: prod\n", "", "cluster: is missing"},
		{"a bad name", "prod", "my_cluster", `cluster: "my_cluster" has a character outside [a-z0-9-]`},
		{"unknown key", "cluster: prod\n", "cluster: prod\nzone: a\n", "zone: is no key here: use cluster, id, quorum, partitions, brokers, broker_tls, nodes, keepers, threshold"},
		{"unknown key of a node", "{id: n1,", "{id: n1, rack: 1,", "nodes[0].rack: is no key here: use id, host, names, ports, data_dir"},
		{"no host", ", host: vault1.example.com", "", `nodes[0].host: is missing: use a name or an address`},
		{"a host with a port", "host: vault1.example.com", "host: \"vault1.example.com:8400\"", `nodes[0].host: "vault1.example.com:8400" must be a name or an address, without a port`},
		{"a bad name of a host", "vault3.example.com", "vault_3!", `nodes[2].names[0]: "vault_3!" must be a name or an address, without a port`},
		{"a node twice", "{id: n2,", "{id: n1,", `nodes[1].id: "n1" is also nodes[0].id: ids must differ`},
		{"one address twice", "host: vault5.example.com", "host: vault1.example.com", `nodes[4].ports.peer: "vault1.example.com:8401" is also nodes[0].ports.peer: addresses must differ|` +
			`nodes[4].ports.gossip: "vault1.example.com:8402" is also nodes[0].ports.gossip: addresses must differ|nodes[4].ports.api: "vault1.example.com:8400" is also nodes[0].ports.api: addresses must differ`},
		{"port too large", "api: 9000", "api: 65535", "nodes[1].ports.peer: 65536 must be 1 to 65535|nodes[1].ports.gossip: 65537 must be 1 to 65535"},
		{"port of words", "api: 9000", "api: http", "nodes[1].ports.api: must be a whole number"},
		{"quorum beyond nodes", "brokers:", "quorum: {n: 6, k: 3, w: 4}\nbrokers:", "quorum.n: 6 must be at most the number of nodes (5)"},
		{"half a quorum", "brokers:", "quorum: {n: 5, k: 3}\nbrokers:", "quorum.w: is missing: there is no default quorum; n: 5, k: 3, w: 4 suits five nodes"},
		{"no brokers", "brokers: [\"kafka.example.com:9094\"]\n", "", "brokers: is missing: list host:port of one or more brokers"},
		{"a bad broker", "kafka.example.com:9094", "kafka.example.com", `brokers[0]: "kafka.example.com" must be host:port`},
		{"partitions", "brokers:", "partitions: 5000\nbrokers:", "partitions: 5000 must be 1 to 1024"},
		{"threshold", "brokers:", "threshold: 4\nbrokers:", "threshold: 4 must be at most the number of keepers (3)"},
		{"a keeper twice", "{id: k2,", "{id: k1,", `keepers[1].id: "k1" is also keepers[0].id: ids must differ`},
		{"keepers at one address", "host: keeper3", "host: keeper1", `keepers[2].port: "keeper1.example.com:8410" is also keepers[0].port: addresses must differ`},
		{"a keeper's port", "port: 9100", "port: -1", "keepers[1].port: -1 must be 1 to 65535"},
		{"not yaml", "nodes:\n", "nodes: {\n", "line 3: did not find expected node content: this is not YAML"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(goodTopology, c.old, c.new, 1)
			if text == goodTopology {
				t.Fatalf("the edit %q changed nothing", c.old)
			}
			_, err := load(t, text)
			if err == nil || dsv.KindOf(err) != dsv.KindInvalid {
				t.Fatalf("got %v", err)
			}
			var got []string
			for _, f := range dsv.AsError(err).Faults {
				got = append(got, strings.TrimPrefix(f.Name+": ", ": ")+f.Detail)
			}
			want := strings.Split(c.want, "|")
			slices.Sort(got)
			slices.Sort(want)
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
	var none Topology
	if err := none.Check(); err == nil || len(dsv.AsError(err).Faults) < 4 {
		t.Errorf("the zero topology: %v", err)
	}
}

func TestParseLists(t *testing.T) {
	nodes, err := ParseNodes("n1=10.0.0.1, n2=vault2.example.com:9000,n3=[fd00::1]:7000")
	want := []Node{{ID: "n1", Host: "10.0.0.1"}, {ID: "n2", Host: "vault2.example.com", Ports: Ports{API: 9000}}, {ID: "n3", Host: "fd00::1", Ports: Ports{API: 7000}}}
	if d := cmp.Diff(want, nodes); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	keepers, err := ParseKeepers("k1=10.0.0.1:99")
	if d := cmp.Diff([]Keeper{{ID: "k1", Host: "10.0.0.1", Port: 99}}, keepers); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if q, err := ParseQuorum("7, 3,5"); err != nil || q != (node.QuorumConfig{N: 7, K: 3, W: 5}) {
		t.Errorf("%+v, %v", q, err)
	}
	if q, err := ParseQuorum(""); err != nil || q != (node.QuorumConfig{}) {
		t.Errorf("%+v, %v", q, err)
	}
	for _, s := range []string{"5", "5,3", "5,3,4,1", "5,3,x", ",,"} {
		if q, err := ParseQuorum(s); dsv.KindOf(err) != dsv.KindInvalid {
			t.Errorf("%q reads as %+v", s, q)
		}
	}
	_, err = ParseNodes("n1,=host,n2=,n3=h:http,n4=ok")
	if err == nil || len(dsv.AsError(err).Faults) != 4 {
		t.Errorf("four faults, got %v", err)
	}
}

// TestExamplesInDocs: every YAML block of the documentation that is a topology
// is one.
func TestExamplesInDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range regexp.MustCompile("(?s)( *)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		block := strings.TrimSpace(strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"))
		if !strings.Contains(block, "\nnodes:") {
			continue
		}
		found++
		if _, err := load(t, block); err != nil {
			t.Error(err)
		}
	}
	if found == 0 {
		t.Error("no example found: the test looks in the wrong place")
	}
}
