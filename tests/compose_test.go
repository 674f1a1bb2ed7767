package tests

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/setup"
)

// composed is docker-compose.yml as compose reads it, and the directory that
// its init would make.
type composed struct {
	*types.Project
	topology setup.Topology
	lay      setup.Layout
}

func readCompose(t *testing.T) composed {
	t.Helper()
	opts, err := cli.NewProjectOptions([]string{"../docker-compose.yml"}, cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	p, err := opts.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "topology.yaml")
	if err := os.WriteFile(file, []byte(p.Configs["topology"].Content), 0o600); err != nil {
		t.Fatal(err)
	}
	c := composed{Project: p, lay: setup.Layout{Dir: filepath.Join(dir, "cluster")}}
	if c.topology, err = setup.LoadTopology(file); err != nil {
		t.Fatal(err)
	}
	if err := setup.Run(t.Context(), setup.Options{Dir: c.lay.Dir, Topology: c.topology, Offline: true}, io.Discard); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCompose holds every flag, variable, port and path of docker-compose.yml
// and Dockerfile to Config, to what init makes and to the commands.
func TestCompose(t *testing.T) {
	c := readCompose(t)
	t.Run("nodes", c.testNodes)
	t.Run("keepers", c.testKeepers)
	t.Run("kafka", c.testKafka)
	t.Run("fits together", c.testFitsTogether)
	t.Run("Dockerfile", c.testDockerfile)
	t.Run("commands", c.testCommands)
}

// inside is where a path of a container lies in the directory of init; "" for
// a path on no such mount.
func (c composed) inside(s types.ServiceConfig, p string) string {
	for _, v := range s.Volumes {
		rest, ok := strings.CutPrefix(p, v.Target)
		if !ok || v.Source != "cluster" {
			continue
		}
		sub := ""
		if v.Volume != nil {
			sub = v.Volume.Subpath
		}
		return filepath.Join(c.lay.Dir, sub, rest)
	}
	return ""
}

// testNodes: each node's file, its variables and its mounts together
// are a configuration that a node starts from, reachable where the others
// look for it.
func (c composed) testNodes(t *testing.T) {
	for _, n := range c.topology.Nodes {
		s := c.service(t, string(n.ID))
		if n.Host != s.Name {
			t.Errorf("%s: the topology reaches it at %q, compose names it %q", n.ID, n.Host, s.Name)
		}
		args := strings.Join(s.Command, " ")
		file, ok := strings.CutPrefix(args, "serve --config ")
		if !ok {
			t.Fatalf("%s runs %q", n.ID, args)
		}
		env := func(k string) (string, bool) {
			v := s.Environment[k]
			if v == nil {
				return "", false
			}
			return *v, true
		}
		text, err := os.ReadFile(c.inside(s, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := node.LoadConfig(c.inside(s, file), env); err != nil {
			t.Error(err)
		}
		cfg, err := node.ParseConfig(text, path.Dir(file), env)
		if err != nil {
			t.Fatal(err)
		}
		c.checkNode(t, s, cfg)
	}
}

func (c composed) checkNode(t *testing.T, s types.ServiceConfig, cfg node.Config) {
	t.Helper()
	if string(cfg.Node.ID) != s.Name {
		t.Errorf("%s starts from the file of %s", s.Name, cfg.Node.ID)
	}
	for _, f := range []string{cfg.Identity.CA, cfg.Identity.Cert, cfg.Identity.Key, cfg.Keys.Log, cfg.Keys.Gossip} {
		c.mustHave(t, s, f)
	}
	data := slices.IndexFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == cfg.Node.DataDir })
	if data < 0 || s.Volumes[data].ReadOnly || !strings.HasPrefix(s.Volumes[data].Source, s.Name+"-") {
		t.Errorf("%s: %s is not a volume of its own to write to", s.Name, cfg.Node.DataDir)
	}
	_, port, err := net.SplitHostPort(cfg.API.Listen)
	if err != nil || len(s.Ports) != 1 || strconv.Itoa(int(s.Ports[0].Target)) != port {
		t.Errorf("%s: publishes %v, the API listens on %s", s.Name, s.Ports, cfg.API.Listen)
	}
	for k := range s.Environment {
		if strings.HasPrefix(k, "DSV_") && !slices.Contains(node.EnvVars(), k) {
			t.Errorf("%s: no node knows the variable %s", s.Name, k)
		}
	}
	for _, k := range cfg.Keepers.Targets {
		host, port, _ := net.SplitHostPort(k.Address)
		ks := c.service(t, host)
		_, listens, _ := net.SplitHostPort(node.DefaultKeeperConfig().Listen)
		if port != listens || !slices.Equal(ks.Command, types.ShellCommand{"keeper"}) {
			t.Errorf("%s looks for a keeper at %s; %s runs %q, which listens on %s", s.Name, k.Address, host, ks.Command, listens)
		}
	}
}

// testKeepers: a keeper that is told nothing finds its identity.
func (c composed) testKeepers(t *testing.T) {
	for _, k := range c.topology.Keepers {
		s := c.service(t, k.Host)
		d := node.DefaultKeeperConfig()
		for _, f := range []*string{&d.Identity.CA, &d.Identity.Cert, &d.Identity.Key} {
			*f = c.mustHave(t, s, *f)
		}
		if err := d.Check(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if len(s.Environment) > 0 {
			t.Errorf("%s has variables; a keeper is told nothing", s.Name)
		}
	}
}

// testKafka: the release is the one we test with, it listens where the
// nodes look, with the identity that init made, and asks for certificates.
func (c composed) testKafka(t *testing.T) {
	s := c.service(t, "kafka")
	if want := "apache/kafka:" + testedKafka(t); s.Image != want {
		t.Errorf("the image is %s, the tests run on %s", s.Image, want)
	}
	env := func(k string) string {
		v := s.Environment[k]
		if v == nil {
			t.Fatalf("kafka has no %s", k)
		}
		return *v
	}
	protocol := map[string]string{}
	for pair := range strings.SplitSeq(env("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"), ",") {
		name, p, _ := strings.Cut(pair, ":")
		protocol[name] = p
	}
	tls := ""
	for l := range strings.SplitSeq(env("KAFKA_ADVERTISED_LISTENERS"), ",") {
		name, addr, _ := strings.Cut(l, "://")
		switch host, _, err := net.SplitHostPort(addr); {
		case err != nil:
			t.Errorf("listener %s: %v", l, err)
		case protocol[name] == "SSL":
			tls = addr
		case host != "localhost":
			t.Errorf("listener %s is plain and not on localhost alone", l)
		}
		if name == "SSL" {
			t.Error("a listener called SSL makes the image ask for keystores with passwords")
		}
	}
	if !slices.Equal(c.topology.Brokers, []string{tls}) || !c.topology.BrokerTLS {
		t.Errorf("kafka speaks TLS at %q, the nodes look at %q", tls, c.topology.Brokers)
	}
	c.mustHave(t, s, env("KAFKA_SSL_KEYSTORE_LOCATION"))
	c.mustHave(t, s, env("KAFKA_SSL_TRUSTSTORE_LOCATION"))
	for k, want := range map[string]string{"KAFKA_SSL_KEYSTORE_TYPE": "PEM", "KAFKA_SSL_TRUSTSTORE_TYPE": "PEM", "KAFKA_SSL_CLIENT_AUTH": "required", "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false"} {
		if env(k) != want {
			t.Errorf("%s is %s, want %s", k, env(k), want)
		}
	}
	if !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == env("KAFKA_LOG_DIRS") && !v.ReadOnly }) {
		t.Errorf("%s is no volume: the log would be lost with the container", env("KAFKA_LOG_DIRS"))
	}
}

// testedKafka is the release that tests/kafka/pom.xml names.
func testedKafka(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("kafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	var pom struct {
		Dependencies []struct {
			GroupID string `xml:"groupId"`
			Version string `xml:"version"`
		} `xml:"dependencies>dependency"`
	}
	if err := xml.Unmarshal(b, &pom); err != nil {
		t.Fatal(err)
	}
	for _, d := range pom.Dependencies {
		if d.GroupID == "org.apache.kafka" {
			return d.Version
		}
	}
	t.Fatal("pom.xml names no Kafka")
	return ""
}

// testFitsTogether: order of start, health, ports, users, volumes.
func (c composed) testFitsTogether(t *testing.T) {
	published := map[string]string{}
	for name, s := range c.Services {
		for _, p := range s.Ports {
			at := p.HostIP + ":" + p.Published
			if published[at] != "" || p.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes %s, as %q does; only loopback is published", name, at, published[at])
			}
			published[at] = name
		}
		stays := s.Restart != "no"
		if stays && (s.HealthCheck == nil || len(s.HealthCheck.Test) < 2) {
			t.Errorf("%s stays up and has no health check", name)
		}
		for _, v := range s.Volumes {
			c.checkMount(t, s, v)
		}
		if s.Image == "dsv:local" && !s.ReadOnly {
			t.Errorf("%s may write to its image", name)
		}
	}
	for after, before := range map[string][]string{"kafka": {"init-files"}, "init": {"kafka"}, "k1": {"init-files"}, "n1": {"init", "k1", "k2", "k3"}, "n5": {"init", "k1", "k2", "k3"}} {
		s := c.service(t, after)
		for _, b := range before {
			if _, ok := s.DependsOn[b]; !ok {
				t.Errorf("%s does not wait for %s", after, b)
			}
		}
	}
	if len(c.topology.Nodes) != 5 || len(c.topology.Keepers) != 3 {
		t.Errorf("%d nodes and %d keepers, want five and three", len(c.topology.Nodes), len(c.topology.Keepers))
	}
}

// checkMount: a process sees the folder that init made for it, and only that.
func (c composed) checkMount(t *testing.T, s types.ServiceConfig, v types.ServiceVolumeConfig) {
	t.Helper()
	if v.Source != "cluster" || strings.HasPrefix(s.Name, "init") {
		return
	}
	if v.Volume == nil || v.Volume.Subpath == "" || !v.ReadOnly {
		t.Errorf("%s sees all that init made, or may write to it", s.Name)
		return
	}
	want := map[bool]string{true: "broker", false: map[byte]string{'n': "nodes/", 'k': "keepers/"}[s.Name[0]] + s.Name}[s.Name == "kafka"]
	if v.Volume.Subpath != want {
		t.Errorf("%s sees %s, want %s", s.Name, v.Volume.Subpath, want)
	}
	if _, err := os.Stat(filepath.Join(c.lay.Dir, v.Volume.Subpath)); err != nil {
		t.Errorf("%s: %v", s.Name, err)
	}
}

// testCommands asks the commands themselves whether they know every
// command and flag that compose gives them.
func (c composed) testCommands(t *testing.T) {
	for name, s := range c.Services {
		if s.Image != "dsv:local" {
			continue
		}
		bin := "dsvnode"
		if len(s.Entrypoint) > 0 {
			bin = s.Entrypoint[0]
		}
		checkKnown(t, name, append([]string{bin}, s.Command...))
		if h := s.HealthCheck; h != nil && h.Test[0] == "CMD" {
			checkKnown(t, name+"'s health check", h.Test[1:])
		}
		for _, x := range s.Configs {
			if !slices.Contains(s.Command, x.Target) {
				t.Errorf("%s is given %s and does not read it", name, x.Target)
			}
		}
	}
}

// testDockerfile: the image has the folders, the ports and the user that
// compose counts on.
func (c composed) testDockerfile(t *testing.T) {
	b, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	k := node.DefaultKeeperConfig()
	_, keeperPort, _ := net.SplitHostPort(k.Listen)
	p := c.topology.Nodes[0].Ports
	for _, want := range []string{
		"CGO_ENABLED=0", "FROM scratch", "USER " + c.service(t, "kafka").User, `ENTRYPOINT ["dsvnode"]`,
		fmt.Sprintf("EXPOSE %d %d %d/tcp %d/udp %s", p.API, p.Peer, p.Gossip, p.Gossip, keeperPort),
		"/out" + path.Dir(k.Identity.CA), "/out" + *c.service(t, "n1").Environment["DSV_DATA_DIR"],
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	for _, v := range c.service(t, "init").Volumes {
		if !strings.Contains(text, "/out"+v.Target) {
			t.Errorf("the image has no %s of its user's for the volume to take after", v.Target)
		}
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	lang := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)[1]
	if !strings.Contains(text, "FROM golang:"+string(lang)+" AS build") {
		t.Errorf("the image is not built with Go %s", lang)
	}
}

func (c composed) service(t *testing.T, name string) types.ServiceConfig {
	t.Helper()
	s, ok := c.Services[name]
	if !ok {
		t.Fatalf("docker-compose.yml has no service %s", name)
	}
	return s
}

// mustHave is where a file of a container was made by init.
func (c composed) mustHave(t *testing.T, s types.ServiceConfig, p string) string {
	t.Helper()
	at := c.inside(s, p)
	if st, err := os.Stat(at); err != nil || !st.Mode().IsRegular() {
		t.Errorf("%s reads %s, which init does not make there", s.Name, p)
	}
	return at
}
