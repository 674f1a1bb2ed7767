// Package cluster runs a DSV cluster as real processes on real disks with real
// TLS, for the demo, the benchmark and the integration suite: a log (the
// embedded broker as a process, or a real Apache Kafka), keepers and nodes,
// each of which can be killed, paused and started again.
package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/setup"
	"github.com/dsvault/dsv/tests/kafka"
)

// Options of a cluster. Dir is required.
type Options struct {
	Dir        string // everything of the cluster lies here
	Bin        string // folder of dsvnode; "" builds it into Dir/bin
	Nodes      int    // 0 is 5
	Keepers    int    // 0 is 3
	Quorum     dsv.Quorum
	Partitions int // 0 is 12
	Kafka      int // real Kafka brokers; 0 is the embedded broker
	Heap       string
	Env        []string // of the nodes
	Out        io.Writer
	// Front, where set, is told of each port that processes use among
	// themselves ("n1 peer", "n1 gossip" with UDP as well, "k1 keeper", and
	// "broker" with the embedded one): the address that the others dial, and the
	// one where the process listens. It stands between the two from then on.
	Front func(what, dialled, listens string) error
}

// Cluster is a running one.
type Cluster struct {
	opt      Options
	lay      setup.Layout
	topo     setup.Topology
	kafka    *kafka.Cluster
	broker   *Process
	brokerAt string // where it listens
	nodes    []*Process
	keepers  []*Process
	roots    *tls.Config
}

// Start makes a new cluster and returns when every node serves.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{opt: o.withDefaults(), lay: setup.Layout{Dir: filepath.Join(o.Dir, "cluster")}}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (o Options) withDefaults() Options {
	if o.Nodes == 0 {
		o.Nodes = 5
	}
	if o.Keepers == 0 {
		o.Keepers = 3
	}
	if o.Quorum == (dsv.Quorum{}) {
		o.Quorum = dsv.Quorum{N: 5, K: 3, W: 4}
	}
	if o.Partitions == 0 {
		o.Partitions = 12
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	return o
}

// Build compiles a command of this module into a folder.
func Build(ctx context.Context, dir string, commands ...string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, c := range commands {
		args = append(args, "./cmd/"+c)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out.Bytes())
	}
	return nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	return filepath.Dir(string(bytes.TrimSpace(out))), nil
}

func (c *Cluster) start(ctx context.Context) error {
	if err := os.MkdirAll(c.opt.Dir, 0o700); err != nil {
		return err
	}
	if c.opt.Bin == "" {
		c.opt.Bin = filepath.Join(c.opt.Dir, "bin")
		if err := Build(ctx, c.opt.Bin, "dsvnode"); err != nil {
			return err
		}
	}
	if err := c.plan(); err != nil {
		return err
	}
	if err := setup.Run(ctx, setup.Options{Dir: c.lay.Dir, Topology: c.topo, Offline: true}, c.opt.Out); err != nil {
		return err
	}
	var err error
	if c.roots, err = identity.HTTPClientTLS(c.lay.CACert()); err != nil {
		return err
	}
	if err := c.startLog(ctx); err != nil {
		return err
	}
	if err := setup.Run(ctx, setup.Options{Dir: c.lay.Dir, Topology: c.topo}, c.opt.Out); err != nil {
		return err
	}
	for _, p := range append(append([]*Process{}, c.keepers...), c.nodes...) {
		if err := p.Start(); err != nil {
			return err
		}
	}
	for i := range c.nodes {
		if err := c.WaitReady(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// plan takes free ports and describes the processes.
func (c *Cluster) plan() error {
	brokers := max(c.opt.Kafka, 1)
	ports, err := freePorts(5*c.opt.Nodes + 2*c.opt.Keepers + 30)
	if err != nil {
		return err
	}
	take := func() int { p := ports[0]; ports = ports[1:]; return p }
	// behind is where a process listens whose port others know.
	behind := func(what string, port int) (string, error) {
		if c.opt.Front == nil {
			return loopback(port), nil
		}
		listens := loopback(take())
		return listens, c.opt.Front(what, loopback(port), listens)
	}
	q := c.opt.Quorum
	c.topo = setup.Topology{Cluster: "test", Quorum: node.QuorumConfig{N: q.N, K: q.K, W: q.W}, Partitions: c.opt.Partitions, BrokerTLS: true, Threshold: 2}
	for i := range c.opt.Nodes {
		id := dsv.NodeID("n" + strconv.Itoa(i+1))
		n := setup.Node{ID: id, Host: "127.0.0.1", Ports: setup.Ports{API: take(), Peer: take(), Gossip: take()}}
		peer, err1 := behind(string(id)+" peer", n.Ports.Peer)
		gossip, err2 := behind(string(id)+" gossip", n.Ports.Gossip)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		env := c.opt.Env
		if c.opt.Front != nil {
			env = append([]string{"DSV_PEER_LISTEN=" + peer, "DSV_GOSSIP_LISTEN=" + gossip}, env...)
		}
		c.topo.Nodes = append(c.topo.Nodes, n)
		c.nodes = append(c.nodes, c.process(string(id), env, "serve", "--config", c.lay.NodeConfig(id)))
	}
	for i := range c.opt.Keepers {
		id, port := dsv.NodeID("k"+strconv.Itoa(i+1)), take()
		c.topo.Keepers = append(c.topo.Keepers, setup.Keeper{ID: id, Host: "127.0.0.1", Port: port})
		listens, err := behind(string(id)+" keeper", port)
		if err != nil {
			return err
		}
		f := setup.Identity(c.lay.Keeper(id))
		c.keepers = append(c.keepers, c.process(string(id), nil, "keeper", "--listen", listens, "--ca", f.CA, "--cert", f.Cert, "--key", f.Key))
	}
	if c.opt.Kafka > 0 {
		base, err := freeBlock(10*brokers + 10)
		if err != nil {
			return err
		}
		for i := range brokers {
			c.topo.Brokers = append(c.topo.Brokers, loopback(base+10*(i+1)+1))
		}
		return nil
	}
	port := take()
	c.topo.Brokers = []string{loopback(port)}
	if c.brokerAt, err = behind("broker", port); err != nil {
		return err
	}
	f := setup.Identity(c.lay.Broker())
	c.broker = c.process("broker", nil, "broker", "--listen", c.brokerAt, "--advertise", c.topo.Brokers[0], "--data-dir", filepath.Join(c.opt.Dir, "broker"), "--ca", f.CA, "--cert", f.Cert, "--key", f.Key)
	return nil
}

func (c *Cluster) process(name string, env []string, args ...string) *Process {
	return &Process{name: name, path: filepath.Join(c.opt.Bin, "dsvnode"), args: args, env: env, dir: c.opt.Dir, out: filepath.Join(c.opt.Dir, name+".log")}
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (c *Cluster) startLog(ctx context.Context) error {
	if c.broker != nil {
		if err := c.broker.Start(); err != nil {
			return err
		}
		return c.waitPort(ctx, c.brokerAt, c.broker)
	}
	_, port, err := net.SplitHostPort(c.topo.Brokers[0])
	if err != nil {
		return err
	}
	base, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	c.kafka, err = kafka.Start(ctx, kafka.Options{Brokers: c.opt.Kafka, Dir: filepath.Join(c.opt.Dir, "kafka"), TLSDir: c.lay.Broker(), BasePort: base - 11, Heap: c.opt.Heap})
	return err
}

func (c *Cluster) waitPort(ctx context.Context, addr string, p *Process) error {
	return until(ctx, p, func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// until asks again and again until f succeeds or the process has ended.
func until(ctx context.Context, p *Process, f func() error) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %w)\n%s", p.name, ctx.Err(), err, p.Output())
		case <-p.Exited():
			return fmt.Errorf("%s has ended\n%s", p.name, p.Output())
		case <-t.C:
		}
	}
}

// WaitAll waits until every node that runs serves.
func (c *Cluster) WaitAll(ctx context.Context) error {
	for i, p := range c.nodes {
		if p.Running() {
			if err := c.WaitReady(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// WaitReady waits until node i (from 0) answers /readyz with 200 or, where only
// its surroundings are amiss, serves its vault.
func (c *Cluster) WaitReady(ctx context.Context, i int) error {
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: c.roots.Clone(), DisableKeepAlives: true}, Timeout: 2 * time.Second}
	return until(ctx, c.nodes[i], func() error {
		resp, err := h.Get(c.Endpoint(i) + "/readyz?verbose")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if bytes.Contains(body, []byte("[-]seal")) || bytes.Contains(body, []byte("[-]joined")) {
			return errors.New(string(body))
		}
		return nil
	})
}

// Endpoint is the base URL of node i (from 0).
func (c *Cluster) Endpoint(i int) string { return "https://" + loopback(c.topo.Nodes[i].Ports.API) }

// Endpoints are those of all nodes.
func (c *Cluster) Endpoints() (out []string) {
	for i := range c.nodes {
		out = append(out, c.Endpoint(i))
	}
	return out
}

// Token is the operator's token.
func (c *Cluster) Token() (dsv.Secret, error) {
	b, err := os.ReadFile(c.lay.OperatorToken())
	return dsv.SecretOf(bytes.TrimSpace(b)), err
}

// Client speaks to some nodes as the operator; none named is all.
func (c *Cluster) Client(nodes ...int) (*client.Client, error) {
	token, err := c.Token()
	if err != nil {
		return nil, err
	}
	cc := client.Config{Token: token, CAFile: c.lay.CACert()}
	for _, i := range nodes {
		cc.Endpoints = append(cc.Endpoints, c.Endpoint(i))
	}
	if len(nodes) == 0 {
		cc.Endpoints = c.Endpoints()
	}
	return client.New(cc)
}

// Node and Keeper are processes by number from 0; Broker is nil with Kafka,
// Kafka nil without.
func (c *Cluster) Node(i int) *Process      { return c.nodes[i] }
func (c *Cluster) Keeper(i int) *Process    { return c.keepers[i] }
func (c *Cluster) Broker() *Process         { return c.broker }
func (c *Cluster) Kafka() *kafka.Cluster    { return c.kafka }
func (c *Cluster) Layout() setup.Layout     { return c.lay }
func (c *Cluster) Topology() setup.Topology { return c.topo }
func (c *Cluster) Roots() *tls.Config       { return c.roots.Clone() }
func (c *Cluster) Nodes() int               { return len(c.nodes) }
func (c *Cluster) Keepers() int             { return len(c.keepers) }
func (c *Cluster) DataDir(i int) string     { return filepath.Join(c.lay.Node(c.topo.Nodes[i].ID), "data") }
func (c *Cluster) NodeID(i int) dsv.NodeID  { return c.topo.Nodes[i].ID }
func (c *Cluster) IndexOf(id dsv.NodeID) int {
	for i, n := range c.topo.Nodes {
		if n.ID == id {
			return i
		}
	}
	return -1
}

// StopLog kills every broker; StartLog brings them back.
func (c *Cluster) StopLog() error {
	if c.broker != nil {
		return c.broker.Kill()
	}
	var errs []error
	for i := 1; i <= c.opt.Kafka; i++ {
		errs = append(errs, c.kafka.Kill(i))
	}
	return errors.Join(errs...)
}

// StartLog starts the brokers that StopLog killed, on the same disks.
func (c *Cluster) StartLog(ctx context.Context) error {
	if c.broker != nil {
		if err := c.broker.Start(); err != nil {
			return err
		}
		return c.waitPort(ctx, c.brokerAt, c.broker)
	}
	var errs []error
	for i := 1; i <= c.opt.Kafka; i++ {
		errs = append(errs, c.kafka.Restart(ctx, i))
	}
	return errors.Join(errs...)
}

// LogRunning reports whether every broker has a process, also a paused one.
func (c *Cluster) LogRunning() bool {
	if c.broker != nil {
		return c.broker.Running()
	}
	for i := 1; i <= c.opt.Kafka; i++ {
		if !c.kafka.Running(i) {
			return false
		}
	}
	return true
}

// PauseLog stops every broker where it is: connections stand, nothing is
// answered. ResumeLog lets those that run go on.
func (c *Cluster) PauseLog() error {
	if c.broker != nil {
		return c.broker.Pause()
	}
	var errs []error
	for i := 1; i <= c.opt.Kafka; i++ {
		errs = append(errs, c.kafka.Pause(i))
	}
	return errors.Join(errs...)
}

// ResumeLog is the end of PauseLog; to a broker that runs it does nothing.
func (c *Cluster) ResumeLog() error {
	if c.broker != nil {
		return c.broker.Resume()
	}
	var errs []error
	for i := 1; i <= c.opt.Kafka; i++ {
		if c.kafka.Running(i) {
			errs = append(errs, c.kafka.Resume(i))
		}
	}
	return errors.Join(errs...)
}

// Close ends every process of the cluster, paused ones too.
func (c *Cluster) Close() error {
	var errs []error
	for _, p := range append(append([]*Process{}, c.nodes...), c.keepers...) {
		_ = p.Resume()
		errs = append(errs, p.Kill())
	}
	if c.broker != nil {
		errs = append(errs, c.broker.Kill())
	}
	if c.kafka != nil {
		errs = append(errs, c.kafka.Stop())
	}
	return errors.Join(errs...)
}
