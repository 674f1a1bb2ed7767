package setup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/node"
)

func topology(brokers ...string) Topology {
	t := Topology{Cluster: "prod", BrokerTLS: true, Brokers: brokers, Partitions: 3}
	for i, id := range []dsv.NodeID{"n3", "n1", "n2", "n5", "n4"} {
		t.Nodes = append(t.Nodes, Node{ID: id, Host: "127.0.0.1", Names: []string{"vault.example.com"}, Ports: Ports{API: 8000 + 10*i}})
	}
	for i, id := range []dsv.NodeID{"k1", "k2", "k3"} {
		t.Keepers = append(t.Keepers, Keeper{ID: id, Host: "localhost", Port: 9000 + i})
	}
	return t
}

// broker starts an embedded broker that shows the identity init made in dir,
// at the address that was in the topology.
func broker(t *testing.T, l Layout, ln net.Listener) *commitlog.Broker {
	t.Helper()
	id, err := identity.Load(identity.Files(Identity(l.Broker())))
	if err != nil {
		t.Fatal(err)
	}
	b, err := commitlog.StartBroker(commitlog.BrokerConfig{Listener: ln, Memory: true, TLS: id.ServerTLS(func(peer identity.ID) error {
		if peer.Role != identity.RoleOperator && peer.Role != identity.RoleNode {
			return errors.New("no client of the log")
		}
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// begin makes a directory offline and a broker for it.
func begin(t *testing.T) Layout {
	t.Helper()
	l := Layout{filepath.Join(t.TempDir(), "cluster")}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := do(t, Options{Dir: l.Dir, Topology: topology(ln.Addr().String()), Offline: true})
	if !strings.Contains(out, "run init again without --offline") {
		t.Errorf("offline does not say what is left to do:\n%s", out)
	}
	broker(t, l, ln)
	return l
}

func do(t *testing.T, o Options) string {
	t.Helper()
	var out strings.Builder
	if err := Run(t.Context(), o, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}

func refuse(t *testing.T, o Options, kind dsv.Kind, words string) {
	t.Helper()
	var out strings.Builder
	err := Run(t.Context(), o, &out)
	if err == nil || dsv.KindOf(err) != kind || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want kind %d with %q\n%s", err, kind, words, &out)
	}
}

// TestNodesStartFromWhatInitWrites: each node's file passes the node's own
// check, with its certificate good for its host, and no private file is open.
func TestNodesStartFromWhatInitWrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	l := Layout{dir}
	do(t, Options{Dir: dir, Topology: topology("127.0.0.1:9094"), Offline: true})
	for _, id := range []dsv.NodeID{"n1", "n2", "n3", "n4", "n5"} {
		c, err := node.LoadConfig(l.NodeConfig(id), nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.Node.ID != id || c.Quorum != (node.QuorumConfig{N: 5, K: 3, W: 4}) || len(c.Gossip.Join) != 4 || c.Node.DataDir != filepath.Join(l.Node(id), "data") {
			t.Errorf("%s: %+v", id, c)
		}
		who, err := identity.Load(identity.Files(c.Identity))
		if err != nil {
			t.Fatal(err)
		}
		if want := (identity.ID{TrustDomain: "prod", Role: identity.RoleNode, Name: string(id)}); who.ID() != want {
			t.Errorf("%s has the identity %s", id, who.ID())
		}
	}
	for _, id := range []dsv.NodeID{"k1", "k2", "k3"} {
		c := node.DefaultKeeperConfig()
		c.Identity = Identity(l.Keeper(id))
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
	b := node.DefaultBrokerConfig()
	b.DataDir, b.TLS = dir, Identity(l.Broker())
	if err := b.Check(); err != nil {
		t.Error(err)
	}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil && st.Mode().Perm()&0o077 != 0 && !strings.HasSuffix(p, ".crt") {
			t.Errorf("%s has mode %v", p, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestInitTwiceChangesNothing: files keep their bytes, the log its records.
func TestInitTwiceChangesNothing(t *testing.T) {
	l := begin(t)
	first := do(t, Options{Dir: l.Dir})
	files, records := snapshot(t, l.Dir), readLog(t, l)
	for name, o := range map[string]Options{
		"without topology": {Dir: l.Dir},
		"with the same":    {Dir: l.Dir, Topology: stored(t, l)},
		"offline":          {Dir: l.Dir, Offline: true},
	} {
		out := do(t, o)
		if strings.Contains(out, "made") || strings.Contains(out, "CONFIG") {
			t.Errorf("%s: made something again:\n%s", name, out)
		}
		if d := cmp.Diff(files, snapshot(t, l.Dir)); d != "" {
			t.Errorf("%s: files changed:\n%s", name, d)
		}
	}
	if d := cmp.Diff(records, readLog(t, l), protocmp.Transform()); d != "" {
		t.Errorf("the log changed:\n%s", d)
	}
	if len(records) != 4 {
		t.Errorf("%d records, want three CONFIGs and one token:\n%v\n%s", len(records), records, first)
	}
}

// TestTheLogSaysWhatTheTopologySays reads the records back as a node does.
func TestTheLogSaysWhatTheTopologySays(t *testing.T) {
	l := begin(t)
	out := do(t, Options{Dir: l.Dir})
	top := stored(t, l)
	want := meta.Config{ClusterID: top.ID, Members: []dsv.NodeID{"n1", "n2", "n3", "n4", "n5"}, Q: dsv.Quorum{K: 3, N: 5, W: 4}, Partitions: 3}
	if err := want.Validate(); err != nil {
		t.Fatal(err)
	}
	var grant auth.Grant
	for place, rec := range readLog(t, l) {
		if place != "65535:0" {
			if !proto.Equal(rec.GetConfig(), want.Record()) {
				t.Errorf("%s: %v", place, rec)
			}
			continue
		}
		s := new(metapb.Token)
		if err := proto.Unmarshal(rec.GetSetting().GetValue(), s); err != nil {
			t.Fatal(err)
		}
		g, err := auth.FromProto(s)
		if err != nil {
			t.Fatal(err)
		}
		grant = g
	}
	text, err := os.ReadFile(l.OperatorToken())
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.ParseToken([]byte(strings.TrimSpace(string(text))))
	if err != nil {
		t.Fatal(err)
	}
	if token.ID != grant.ID || token.Hash() != grant.Hash || grant.Verbs != auth.AllVerbs || !grant.Prefixes[0].All() {
		t.Errorf("the token %s does not have the grant %+v", token.ID, grant)
	}
	if strings.Contains(out, strings.TrimSpace(string(text))) || !strings.Contains(out, l.OperatorToken()) {
		t.Errorf("the output must name the token's file and not show its text:\n%s", out)
	}
}

// TestInitGoesOn: whatever one part is missing comes back, and nothing else
// changes.
func TestInitGoesOn(t *testing.T) {
	l := begin(t)
	do(t, Options{Dir: l.Dir})
	before := snapshot(t, l.Dir)
	for name, missing := range map[string][]string{
		"a node's copy of a key": {"nodes/n2/log.key"},
		"a node's file":          {"nodes/n2/dsv.yaml"},
		"a pair":                 {"nodes/n2/tls.crt", "nodes/n2/tls.key"},
		"a certificate alone":    {"keepers/k1/tls.crt"},
		"a keeper":               {"keepers/k2"},
		"the store of keys":      {"broker/keystore.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, m := range missing {
				if err := os.RemoveAll(filepath.Join(l.Dir, m)); err != nil {
					t.Fatal(err)
				}
			}
			do(t, Options{Dir: l.Dir})
			after := snapshot(t, l.Dir)
			for p, text := range before {
				touched := false
				for _, m := range missing {
					touched = touched || strings.HasPrefix(p, strings.TrimSuffix(strings.TrimSuffix(m, ".crt"), ".key"))
				}
				if _, ok := after[p]; !ok {
					t.Errorf("%s did not come back", p)
				} else if !touched && after[p] != text {
					t.Errorf("%s changed", p)
				}
			}
			before = after
		})
	}
	if err := os.Remove(l.OperatorToken()); err != nil {
		t.Fatal(err)
	}
	out := do(t, Options{Dir: l.Dir})
	if !strings.Contains(out, "was made before") || exists(l.OperatorToken()) {
		t.Errorf("a second first token:\n%s", out)
	}
	if n := len(readLog(t, l)); n != 4 {
		t.Errorf("%d records after all that, want 4", n)
	}
}

// TestTokenFileBeforeRecord: a run that died between the two is completed
// with the same token.
func TestTokenFileBeforeRecord(t *testing.T) {
	l := begin(t)
	token := auth.NewToken()
	if err := os.WriteFile(l.OperatorToken(), append(token.Text().Reveal(), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, Options{Dir: l.Dir})
	if got := readLog(t, l)["65535:0"].GetSetting().GetId(); got != token.ID {
		t.Errorf("the log has token %s, the file %s", got, token.ID)
	}
}

func TestInitRefuses(t *testing.T) {
	l := begin(t)
	do(t, Options{Dir: l.Dir})
	top := stored(t, l)

	t.Run("a topology with other members", func(t *testing.T) {
		other := top
		other.Nodes = append([]Node{{ID: "n6", Host: "127.0.0.1", Ports: Ports{API: 7000}}}, top.Nodes...)
		refuse(t, Options{Dir: l.Dir, Topology: other}, dsv.KindConflict, "fixed when it is made")
	})
	t.Run("topics of another cluster", func(t *testing.T) {
		// Another directory, the same name: other keys, and a broker identity of
		// another CA, so it is given the first one's to get as far as the log.
		dir := filepath.Join(t.TempDir(), "other")
		do(t, Options{Dir: dir, Topology: topology(top.Brokers...), Offline: true})
		for _, f := range []string{"ca.crt", "tls.crt", "tls.key"} {
			move(t, filepath.Join(l.Operator(), f), filepath.Join(Layout{dir}.Operator(), f))
		}
		refuse(t, Options{Dir: dir}, dsv.KindConflict, "the topics are another cluster's")
	})
	t.Run("a log with another CONFIG", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(l.Dir)); err != nil {
			t.Fatal(err)
		}
		private(t, dir)
		edit(t, Layout{dir}.Topology(), "w: 4", "w: 5")
		refuse(t, Options{Dir: dir}, dsv.KindConflict, "has another CONFIG: it says cluster")
	})
	t.Run("another number of partitions", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(l.Dir)); err != nil {
			t.Fatal(err)
		}
		private(t, dir)
		edit(t, Layout{dir}.Topology(), "partitions: 3", "partitions: 4")
		refuse(t, Options{Dir: dir, Timeout: 5 * time.Second}, dsv.KindConflict, "partitions")
	})
	t.Run("a directory of something else", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mine.txt"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refuse(t, Options{Dir: dir, Topology: top, Offline: true}, dsv.KindConflict, "use an empty directory")
	})
	t.Run("two at once", func(t *testing.T) {
		f, err := lockDir(l.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		refuse(t, Options{Dir: l.Dir}, dsv.KindConflict, "in use by another init")
	})
	t.Run("another key in a node's folder", func(t *testing.T) {
		path := filepath.Join(l.Node("n3"), "log.key")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := identity.WriteKeyFile(path, identity.NewKey()); err != nil {
			t.Fatal(err)
		}
		refuse(t, Options{Dir: l.Dir}, dsv.KindConflict, "is not the key in")
	})
	t.Run("no broker", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "lonely")
		refuse(t, Options{Dir: dir, Topology: topology("127.0.0.1:1"), Timeout: 300 * time.Millisecond}, dsv.KindUnavailable, "run init again")
	})
	t.Run("no topology and no directory", func(t *testing.T) {
		refuse(t, Options{Dir: filepath.Join(t.TempDir(), "none")}, dsv.KindInvalid, "nodes: is missing")
	})
}

// TestInitOnRealKafka runs where DSV_TEST_KAFKA names brokers.
func TestInitOnRealKafka(t *testing.T) {
	addrs := os.Getenv("DSV_TEST_KAFKA")
	if addrs == "" {
		t.Skip("DSV_TEST_KAFKA is not set: make test-kafka sets it")
	}
	l := Layout{filepath.Join(t.TempDir(), "cluster")}
	top := topology(strings.Split(addrs, ",")...)
	top.BrokerTLS, top.Cluster = false, fmt.Sprintf("setup-%d", time.Now().UnixNano())
	for range 2 {
		do(t, Options{Dir: l.Dir, Topology: top})
	}
	if n := len(readLog(t, l)); n != 4 {
		t.Errorf("%d records after two runs, want 4", n)
	}
	other := Layout{filepath.Join(t.TempDir(), "other")}
	refuse(t, Options{Dir: other.Dir, Topology: top}, dsv.KindConflict, "the topics are another cluster's")
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// readLog is every record of the log by its place.
func readLog(t *testing.T, l Layout) map[string]*metapb.Record {
	t.Helper()
	r := &run{Options: Options{Dir: l.Dir}, lay: l, t: stored(t, l)}
	o, err := r.logOptions()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w := logWork{LogOptions: o}
	lg, err := commitlog.Open(ctx, w.logConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lg.Close() }()
	left := int64(0)
	for _, p := range lg.Partitions() {
		end, err := lg.EndOffset(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		left += end
	}
	if err := lg.Start(nil); err != nil {
		t.Fatal(err)
	}
	out := map[string]*metapb.Record{}
	for int64(len(out)) < left {
		b, err := lg.Poll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range b.Records {
			rec, err := meta.Decode(x.Body)
			if err != nil {
				t.Fatal(err)
			}
			out[dsv.Position{Partition: x.Partition, Offset: x.Offset}.String()] = rec
		}
	}
	return out
}

func stored(t *testing.T, l Layout) Topology {
	t.Helper()
	top, err := LoadTopology(l.Topology())
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func move(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// private closes a copied tree to others again.
func private(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(p, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), old, new, 1)
	if text == string(b) {
		t.Fatalf("%s has no %q", path, old)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
