package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
)

func good(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// listed is each fault of err as "line path: detail", line 0 left out.
func listed(t *testing.T, err error) []string {
	t.Helper()
	var e *dsv.Error
	if err == nil || !errors.As(err, &e) || e.Kind != dsv.KindInvalid {
		t.Fatalf("got %v, want a KindInvalid error", err)
	}
	var out []string
	for _, f := range e.Faults {
		out = append(out, strings.TrimPrefix(f.Name+": ", ": ")+f.Detail)
		if !strings.Contains(err.Error(), f.Detail) {
			t.Errorf("the error's text lacks %q", f.Detail)
		}
	}
	return out
}

func TestGoodConfig(t *testing.T) {
	c, err := ParseConfig([]byte(good(t)), "/etc/dsv", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	files := Files{CA: "/etc/dsv/ca.crt", Cert: "/etc/dsv/tls.crt", Key: "/etc/dsv/tls.key"}
	want.Cluster = ClusterConfig{Name: "prod", ID: "6f1d2c3b4a59687786950a1b2c3d4e5f"}
	want.Node = SelfConfig{ID: "n1", DataDir: "/etc/dsv/data"}
	want.Quorum = QuorumConfig{N: 5, K: 3, W: 4}
	want.Identity, want.APIIdentity = files, files
	want.Keys = KeyFiles{Log: "/etc/dsv/log.key", Gossip: "/etc/dsv/gossip.key"}
	want.Log.Brokers = []string{"kafka1.example.com:9094", "kafka2.example.com:9094"}
	want.API.Listen, want.API.Advertise = ":8400", "vault1.example.com:8400"
	want.Peer = PeerConfig{Listen: ":8401", Advertise: "10.0.0.1:8401"}
	want.Gossip = GossipConfig{Listen: "0.0.0.0:8402", Advertise: "10.0.0.1:8402",
		Join: []string{"10.0.0.2:8402", "10.0.0.3:8402", "10.0.0.4:8402", "10.0.0.5:8402"}}
	want.Members, want.Keepers.Targets = c.Members, c.Keepers.Targets
	if len(c.Members) != 5 || len(c.Keepers.Targets) != 3 || c.Members[4].API != "vault5.example.com:8400" {
		t.Errorf("members %v, keepers %v", c.Members, c.Keepers.Targets)
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	if q := c.Quorum.Quorum(); q != (dsv.Quorum{K: 3, N: 5, W: 4}) || q.Validate() != nil {
		t.Errorf("quorum %+v", q)
	}
}

// TestConfigFaults: one edit of a good file, and the faults it must give, all
// of them and no other.
func TestConfigFaults(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"name missing", "name: prod", "name: \"\"", "cluster.name: is missing"},
		{"name upper case", "name: prod", "name: Prod", `cluster.name: "Prod" has a character outside [a-z0-9-]`},
		{"name long", "name: prod", "name: " + strings.Repeat("a", 64), "cluster.name: has 64 characters: at most 63"},
		{"id with a slash", "id: 6f1d", "id: 6f/1d", `cluster.id: "6f/1d2c3b4a59687786950a1b2c3d4e5f" has a character outside [a-z0-9-]`},
		{"no cluster id", "  id: 6f1d2c3b4a59687786950a1b2c3d4e5f\n", "", "cluster.id: is missing"},
		{"no node id", "  id: n1\n", "", "node.id: is missing: name this node's row in members"},
		{"node id no member", "  id: n1\n", "  id: n9\n", `node.id: "n9" is not in members: add its row or use an id that is there`},
		{"node id ill-formed", "  id: n1\n", "  id: N1\n", "node.id: has a character outside [a-z0-9-]"},
		{"no data dir", "  data_dir: data\n", "", "node.data_dir: is missing"},
		{"unknown key", "node:\n", "node:\n  datadir: x\n", "node.datadir: is no key here: use id, data_dir"},
		{"unknown block", "node:\n", "nodes: 5\nnode:\n", "nodes: is no key here: use cluster, node, api, peer, gossip, members, quorum, log, keepers, identity, api_identity, keys, repair, limits, telemetry"},
		{"unknown key in a row", "{id: n2, peer", "{zone: a, id: n2, peer", "members[1].zone: is no key here: use id, peer, gossip, api"},
		{"a key twice", "quorum: {n: 5,", "quorum: {n: 5, n: 5,", "quorum.n: is given twice"},
		{"a key without a value", "  data_dir: data\n", "  data_dir:\n", "node.data_dir: has no value: give one or remove the key"},
		{"a block without keys", "node:\n", "api:\nnode:\n", "api: has no value: give one or remove the key"},
		{"text for a number", "n: 5,", "n: five,", "quorum.n: must be a whole number"},
		{"a fraction", "n: 5,", "n: 5.5,", "quorum.n: must be a whole number"},
		{"a number too large for int", "n: 5,", "n: 99999999999999999999,", "quorum.n: must be a whole number"},
		{"text for a list", "brokers: [\"kafka1.example.com:9094\", \"kafka2.example.com:9094\"]", "brokers: kafka1:9094", "log.brokers: must be a list"},
		{"a list for text", "data_dir: data", "data_dir: [data]", "node.data_dir: must be text"},
		{"a list for a block", "keys: {log: log.key, gossip: gossip.key}", "keys: [log.key]", "keys: must be a block of keys: log, gossip"},
		{"two documents", "keys: {log: log.key, gossip: gossip.key}\n", "keys: {log: log.key, gossip: gossip.key}\n---\n{}\n", "a second YAML document begins here: use one"},
		{"not yaml", "cluster:\n", "cluster: [\n", "line 2: did not find expected ',' or ']': this is not YAML"},

		{"no members", "", "", ""},
		{"a member twice", "{id: n2,", "{id: n1,", `members[1].id: "n1" is also members[0].id: ids must differ`},
		{"a member without id", "{id: n2,", "{", "members[1].id: is missing"},
		{"a member's id ill-formed", "{id: n2,", "{id: n_2,", "members[1].id: has a character outside [a-z0-9-]"},
		{"an address twice", `peer: "10.0.0.2:8401"`, `peer: "10.0.0.3:8401"`, `members[2].peer: "10.0.0.3:8401" is also members[1].peer: addresses must differ`},
		{"no port", `peer: "10.0.0.2:8401"`, `peer: "10.0.0.2"`, `members[1].peer: "10.0.0.2" must be host:port`},
		{"no host", `peer: "10.0.0.2:8401"`, `peer: ":8401"`, `members[1].peer: ":8401" must be host:port`},
		{"port 0", `peer: "10.0.0.2:8401"`, `peer: "10.0.0.2:0"`, `members[1].peer: "10.0.0.2:0" must have a port of 1 to 65535`},
		{"port too large", `gossip: "10.0.0.2:8402"`, `gossip: "10.0.0.2:65536"`, `members[1].gossip: "10.0.0.2:65536" must have a port of 1 to 65535`},
		{"a named port", `gossip: "10.0.0.2:8402"`, `gossip: "10.0.0.2:http"`, `members[1].gossip: "10.0.0.2:http" must have a port of 1 to 65535`},
		{"every interface", `api: "vault2.example.com:8400"`, `api: "0.0.0.0:8400"`, `members[1].api: "0.0.0.0:8400" is every interface: give an address that others can dial`},
		{"a bad host", `api: "vault2.example.com:8400"`, `api: "vault 2:8400"`, `members[1].api: "vault 2:8400" must be host:port`},
		{"a url", `api: "vault2.example.com:8400"`, `api: "https://vault2:8400"`, `members[1].api: "https://vault2:8400" must be host:port`},
		{"no gossip address", `gossip: "10.0.0.2:8402", `, "", "members[1].gossip: is missing: use host:port"},

		{"no quorum", "quorum: {n: 5, k: 3, w: 4}\n", "", "quorum.n: is missing: there is no default quorum; n: 5, k: 3, w: 4 suits five nodes|" +
			"quorum.k: is missing: there is no default quorum; n: 5, k: 3, w: 4 suits five nodes|quorum.w: is missing: there is no default quorum; n: 5, k: 3, w: 4 suits five nodes"},
		{"k too small", "k: 3, w: 4", "k: 1, w: 5", "quorum.k: 1 must be at least 2: one node alone must tell nothing"},
		{"w not above k", "w: 4", "w: 3", "quorum.w: 3 must be greater than k (3): a write must survive the loss of one holder"},
		{"w above n", "w: 4", "w: 6", "quorum.w: 6 must be at most n (5)"},
		{"k and w do not overlap", "k: 3, w: 4", "k: 2, w: 3", "quorum.w: 3 plus k (2) must be greater than n (5): any k holders must include one that has the newest write"},
		{"more shards than members", "{n: 5, k: 3, w: 4}", "{n: 6, k: 3, w: 4}", "quorum.n: 6 must be at most the number of members (5)"},
		{"n negative", "{n: 5, k: 3, w: 4}", "{n: -5, k: 3, w: 4}", "quorum.n: -5 must be 3 to 255|quorum.w: 4 must be at most n (-5)"},

		{"no brokers", `  brokers: ["kafka1.example.com:9094", "kafka2.example.com:9094"]`, "  brokers: []", "log.brokers: is missing: list host:port of one or more brokers"},
		{"a broker without port", `"kafka2.example.com:9094"`, `"kafka2.example.com"`, `log.brokers[1]: "kafka2.example.com" must be host:port`},
		{"no partitions", "log:\n", "log:\n  partitions: 0\n", "log.partitions: 0 must be 1 to 1024"},
		{"too many partitions", "log:\n", "log:\n  partitions: 1025\n", "log.partitions: 1025 must be 1 to 1024"},
		{"tls of another type", "log:\n", "log:\n  tls: 7\n", "log.tls: must be true or false"},

		{"threshold 1", "keepers:\n", "keepers:\n  threshold: 1\n", "keepers.threshold: 1 must be at least 2: one keeper alone must know nothing"},
		{"threshold above targets", "keepers:\n", "keepers:\n  threshold: 4\n", "keepers.threshold: 4 must be at most the number of targets (3)"},
		{"a keeper twice", "{id: k2,", "{id: k1,", `keepers.targets[1].id: "k1" is also keepers.targets[0].id: ids must differ`},
		{"a keeper without address", `, address: "keeper2.example.com:8410"`, "", "keepers.targets[1].address: is missing: use host:port"},
		{"keepers at one address", "keeper2.", "keeper1.", `keepers.targets[1].address: "keeper1.example.com:8410" is also keepers.targets[0].address: addresses must differ`},

		{"no ca", "ca: ca.crt, ", "", "identity.ca: is missing"},
		{"no identity", "identity: {ca: ca.crt, cert: tls.crt, key: tls.key}\n", "", "identity.ca: is missing|identity.cert: is missing|identity.key: is missing"},
		{"half an api identity", "keys:", "api_identity: {cert: api.crt}\nkeys:", "api_identity.ca: is missing|api_identity.key: is missing"},
		{"no log key", "log: log.key, ", "", "keys.log: is missing"},
		{"one key for both", "gossip: gossip.key", "gossip: log.key", "keys.gossip: is the file of keys.log: the two keys must differ"},

		{"values too large", "members:\n", "api: {max_value_bytes: 2MiB}\nmembers:\n", "api.max_value_bytes: 2MiB must be 1B to 1MiB"},
		{"values of nothing", "members:\n", "api: {max_value_bytes: 0}\nmembers:\n", "api.max_value_bytes: 0 must be 1B to 1MiB"},
		{"a size in words", "members:\n", "api: {max_value_bytes: many}\nmembers:\n", "api.max_value_bytes: must be a size such as 1MiB, 512KiB or a number of bytes"},
		{"a negative size", "members:\n", "api: {max_value_bytes: -1}\nmembers:\n", "api.max_value_bytes: must be a size such as 1MiB, 512KiB or a number of bytes"},
		{"an endless size", "members:\n", "api: {max_value_bytes: 9999999999GiB}\nmembers:\n", "api.max_value_bytes: must be a size such as 1MiB, 512KiB or a number of bytes"},
		{"a time without unit", "members:\n", "api: {request_timeout: 4}\nmembers:\n", "api.request_timeout: must be a duration such as 50ms or 4s"},
		{"a time too long", "members:\n", "api: {request_timeout: 10s}\nmembers:\n", "api.request_timeout: 10s must be 100ms to 9s"},
		{"a time too short", "members:\n", "api: {request_timeout: 1ms}\nmembers:\n", "api.request_timeout: 1ms must be 100ms to 9s"},
		{"nothing in flight", "members:\n", "api: {max_in_flight: 0}\nmembers:\n", "api.max_in_flight: 0 must be 1 to 1048576"},
		{"listen without port", "members:\n", "api: {listen: 10.0.0.1}\nmembers:\n", `api.listen: "10.0.0.1" must be :port or address:port`},
		{"advertise elsewhere", "members:\n", "peer: {advertise: \"10.9.9.9:8401\"}\nmembers:\n", `peer.advertise: "10.9.9.9:8401" differs from this node's members row ("10.0.0.1:8401"): make them equal`},
		{"two on one port", "members:\n", "peer: {listen: \":8400\"}\nmembers:\n", `peer.listen: ":8400" is taken by api.listen (":8400"): use another port`},
		{"gossip on a name", "members:\n", "gossip: {listen: \"localhost:8402\"}\nmembers:\n", `gossip.listen: host "localhost" must be an IP address: use 0.0.0.0 for every interface`},
		{"join of nobody", "members:\n", "gossip: {join: [\"x\"]}\nmembers:\n", `gossip.join[0]: "x" must be host:port`},

		{"buffer beyond n - k", "members:\n", "repair: {trigger_buffer: 3}\nmembers:\n", "repair.trigger_buffer: 3 must be 0 to n - k (2)"},
		{"buffer negative", "members:\n", "repair: {trigger_buffer: -1}\nmembers:\n", "repair.trigger_buffer: -1 must be 0 to n - k (2)"},
		{"deadline negative", "members:\n", "repair: {deadline: -1s}\nmembers:\n", "repair.deadline: -1s must be 0s to 9s"},
		{"no scan", "members:\n", "repair: {scan_rate: 0}\nmembers:\n", "repair.scan_rate: 0 must be 1 to 100000"},
		{"staged too small", "members:\n", "limits: {staged_bytes: 1MiB}\nmembers:\n", "limits.staged_bytes: 1MiB must be at least 4MiB, one whole batch"},
		{"log level", "members:\n", "telemetry: {log_level: loud}\nmembers:\n", `telemetry.log_level: "loud" must be one of debug, info, warn, error`},
		{"log format", "members:\n", "telemetry: {log_format: xml}\nmembers:\n", `telemetry.log_format: "xml" must be one of json, text`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(good(t), c.old, c.new, 1)
			if c.name == "no members" {
				a, b := strings.Index(text, "members:"), strings.Index(text, "quorum:")
				text = text[:a] + text[b:]
				c.want = `node.id: "n1" is not in members: add its row or use an id that is there|members: is missing: list every node with id, peer, gossip and api|quorum.n: 5 must be at most the number of members (0)`
			} else if text == good(t) {
				t.Fatalf("the edit %q changed nothing", c.old)
			}
			_, err := ParseConfig([]byte(text), "/etc/dsv", nil)
			got := listed(t, err)
			for _, w := range strings.Split(c.want, "|") {
				if i := slices.Index(got, w); i >= 0 {
					got = slices.Delete(got, i, i+1)
				} else {
					t.Errorf("no fault %q in %q", w, got)
				}
			}
			if len(got) != 0 {
				t.Errorf("faults nobody made: %q", got)
			}
		})
	}
}

// TestTwelveFaults: twelve at once give twelve, each with its line.
func TestTwelveFaults(t *testing.T) {
	text := good(t)
	for _, e := range [][2]string{
		{"name: prod", "name: Prod"},
		{"data_dir: data", "data_dir:"},
		{"{id: n2,", "{id: n1,"},
		{`gossip: "10.0.0.3:8402"`, `gossip: "10.0.0.3"`},
		{"w: 4", "w: 3"},
		{"log:\n", "log:\n  partitions: none\n"},
		{`"kafka2.example.com:9094"`, `"kafka2"`},
		{"keepers:\n", "keepers:\n  threshold: 9\n"},
		{"{id: k3,", "{id: k3, zone: x,"},
		{", key: tls.key", ""},
		{"gossip: gossip.key", "gossip: log.key"},
		{"keys:", "telemetry: {log_level: loud}\nkeys:"},
	} {
		next := strings.Replace(text, e[0], e[1], 1)
		if next == text {
			t.Fatalf("the edit %q changed nothing", e[0])
		}
		text = next
	}
	_, err := ParseConfig([]byte(text), "/etc/dsv", nil)
	if got := listed(t, err); len(got) != 12 {
		t.Errorf("%d faults, want 12:\n%v", len(got), err)
	}
	last := 0
	for _, f := range dsv.AsError(err).Faults {
		if f.Line == 0 || f.Line < last {
			t.Errorf("%s has line %d after line %d", f.Name, f.Line, last)
		}
		last = f.Line
	}
	if !strings.Contains(err.Error(), "\n  line 13: quorum.w: 3 must be greater than k (3)") {
		t.Errorf("the text does not lead to the line:\n%v", err)
	}
}

// TestZeroConfigRefuses: nothing is guessed, so nothing starts.
func TestZeroConfigRefuses(t *testing.T) {
	var zero Config
	if err := zero.Check(); err == nil {
		t.Error("the zero Config is accepted")
	}
	c := DefaultConfig()
	err := c.Check()
	for _, w := range []string{"quorum.n", "quorum.k", "quorum.w", "cluster.name", "members", "log.brokers", "keepers.targets", "keys.log"} {
		if err == nil || !strings.Contains(err.Error(), w+": is missing") {
			t.Errorf("defaults alone do not report %s as missing: %v", w, err)
		}
	}
	if _, err := ParseConfig(nil, "", nil); err == nil {
		t.Error("an empty file is accepted")
	}
}

func TestEnvironmentOverrides(t *testing.T) {
	vars := map[string]string{}
	env := func(k string) (string, bool) { v, ok := vars[k]; return v, ok }
	for _, o := range overrides {
		value := map[string]string{"DSV_LOG_LEVEL": "debug", "DSV_LOG_FORMAT": "text", "DSV_DATA_DIR": "/var/lib/dsv"}[o.Env]
		if value == "" {
			value = "127.0.0.1:" + []string{"7001", "7002", "7003"}[len(vars)%3]
		}
		vars[o.Env] = value
	}
	c, err := ParseConfig([]byte(good(t)), "/etc/dsv", env)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range overrides {
		if got := *o.field(&c); got != vars[o.Env] {
			t.Errorf("%s: %s is %q, want %q", o.Env, o.Key, got, vars[o.Env])
		}
		was := vars[o.Env]
		vars[o.Env] = ""
		if _, err := ParseConfig([]byte(good(t)), "/etc/dsv", env); err == nil || !strings.Contains(err.Error(), o.Key+": is emptied by "+o.Env) {
			t.Errorf("an empty %s: %v", o.Env, err)
		}
		vars[o.Env] = was
	}
}

// TestConfigRoundTrip: what setup marshals is what LoadConfig reads.
func TestConfigRoundTrip(t *testing.T) {
	c, err := ParseConfig([]byte(good(t)), "/etc/dsv", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseConfig(text, "/", nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(c, again); d != "" {
		t.Error(d)
	}
}

// TestLoadConfigLooksAtFiles: missing files, a certificate of another node
// and a key file open to all are found before anything starts.
func TestLoadConfigLooksAtFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dsv.yaml")
	write(t, path, good(t))
	_, err := LoadConfig(path, nil)
	if got := listed(t, err); len(got) != 5 {
		t.Errorf("five files are missing, %d are reported:\n%v", len(got), err)
	}
	ca, err := identity.NewCA("prod", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issue(t, ca, dir, identity.RoleNode, "n2")
	for _, k := range []string{"log.key", "gossip.key"} {
		if err := identity.WriteKeyFile(filepath.Join(dir, k), identity.NewKey()); err != nil {
			t.Fatal(err)
		}
	}
	_, err = LoadConfig(path, nil)
	if err == nil || !strings.Contains(err.Error(), "identity.cert: is the certificate of spiffe://prod/dsv/node/n2: use that of node n1") {
		t.Errorf("the certificate of another node: %v", err)
	}
	write(t, path, strings.Replace(good(t), "id: n1\n", "id: n2\n", 1))
	c, err := LoadConfig(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Keys.Log != filepath.Join(dir, "log.key") || !filepath.IsAbs(c.Node.DataDir) {
		t.Errorf("paths do not count from the file: %+v %s", c.Keys, c.Node.DataDir)
	}
	if err := os.Chmod(filepath.Join(dir, "gossip.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = LoadConfig(path, nil)
	if got := listed(t, err); len(got) != 1 || !strings.HasPrefix(got[0], "keys.gossip: ") || !strings.Contains(got[0], "chmod 600") {
		t.Errorf("a key open to all: %q", got)
	}
	if _, err := LoadConfig(filepath.Join(dir, "none.yaml"), nil); dsv.KindOf(err) != dsv.KindInvalid {
		t.Errorf("no file: %v", err)
	}
	if _, err := LoadConfig(dir, nil); dsv.KindOf(err) != dsv.KindInvalid {
		t.Errorf("a folder: %v", err)
	}
}

func TestOtherConfigs(t *testing.T) {
	dir := t.TempDir()
	ca, err := identity.NewCA("prod", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files := issue(t, ca, dir, identity.RoleKeeper, "k1")
	k := DefaultKeeperConfig()
	k.Identity = files
	if err := k.Check(); err != nil {
		t.Error(err)
	}
	k.Listen, k.Telemetry.LogLevel, k.Identity.CA = "nowhere", "loud", ""
	if got := listed(t, k.Check()); len(got) != 3 {
		t.Errorf("three faults, got %q", got)
	}
	b := DefaultBrokerConfig()
	b.DataDir, b.TLS = "x", Files{}
	if err := b.Check(); err != nil || !filepath.IsAbs(b.DataDir) {
		t.Errorf("plain on loopback: %v, %q", err, b.DataDir)
	}
	b.Listen = "10.0.0.1:9094"
	if err := b.Check(); err == nil || !strings.Contains(err.Error(), "listens on loopback only") {
		t.Errorf("plain TCP to the world: %v", err)
	}
	b.TLS = files
	if err := b.Check(); err == nil || !strings.Contains(err.Error(), "use that of broker") {
		t.Errorf("a keeper's certificate for a broker: %v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "7": 7, "7B": 7, "3KiB": 3 << 10, "1 MiB": 1 << 20, "2GiB": 2 << 30, "1536KiB": 1536 << 10} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("%q: %s reads as %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5MiB", "1MB", "1e3", "0x10", "9223372036854775808"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q reads as %d", text, got)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func issue(t *testing.T, ca *identity.CA, dir string, role identity.Role, name string) Files {
	t.Helper()
	cert, key, err := ca.Issue(role, name, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f := Files{CA: filepath.Join(dir, "ca.crt"), Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	if err := identity.WriteFiles(identity.Files(f), ca.PEM(), cert, key); err != nil {
		t.Fatal(err)
	}
	return f
}
