package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/setup"
	"github.com/dsvault/dsv/internal/store"
)

// Options of a cluster in one process.
type Options struct {
	Dir string // of the cluster; made by the first start
	// Memory keeps the stores and the log in memory. Certificates and keys need
	// files: they lie in a temporary directory that Close removes.
	Memory     bool
	Nodes      int // default 5
	Quorum     dsv.Quorum
	Partitions int      // default 12
	Brokers    []string // a log that runs already, in place of the embedded broker; plain TCP
	FirstPort  int      // of a block of ports on loopback; 0 takes free ones
	Logger     *slog.Logger
	Out        io.Writer // what the first start makes; nil is silent
	// Tune changes a node's configuration before it is built; for tests.
	Tune func(*node.Config)
}

// Keepers is how many keepers a cluster of this package has.
const Keepers = 3

// Cluster is a running one.
type Cluster struct {
	opt    Options
	lay    setup.Layout
	topo   setup.Topology
	broker *commitlog.Broker
	temp   string

	mu      sync.Mutex
	nodes   map[dsv.NodeID]*node.Node
	stores  map[dsv.NodeID]store.Store // with Memory: they outlive a restart of the node
	keepers map[dsv.NodeID]*runningKeeper
}

type runningKeeper struct {
	stop context.CancelFunc
	done chan error
}

// Start makes the cluster where Dir has none, starts all of it, and returns
// when every node serves.
func Start(ctx context.Context, opt Options) (*Cluster, error) {
	opt = opt.withDefaults()
	c := &Cluster{opt: opt, nodes: map[dsv.NodeID]*node.Node{}, stores: map[dsv.NodeID]store.Store{}, keepers: map[dsv.NodeID]*runningKeeper{}}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (o Options) withDefaults() Options {
	if o.Nodes == 0 {
		o.Nodes = 5
	}
	if o.Quorum == (dsv.Quorum{}) {
		o.Quorum = dsv.Quorum{K: 3, N: 5, W: 4}
	}
	if o.Partitions == 0 {
		o.Partitions = 12
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	return o
}

func (c *Cluster) start(ctx context.Context) error {
	if c.opt.Memory {
		var err error
		if c.temp, err = os.MkdirTemp("", "dsv-dev-"); err != nil {
			return err
		}
		c.opt.Dir = c.temp
	}
	c.lay = setup.Layout{Dir: c.opt.Dir}
	if err := c.plan(); err != nil {
		return err
	}
	offline := setup.Options{Dir: c.opt.Dir, Topology: c.topo, Offline: true, Logger: c.opt.Logger}
	if err := setup.Run(ctx, offline, io.Discard); err != nil {
		return err
	}
	if err := c.startBroker(); err != nil {
		return err
	}
	online := setup.Options{Dir: c.opt.Dir, Topology: c.topo, Logger: c.opt.Logger}
	if err := setup.Run(ctx, online, c.opt.Out); err != nil {
		return err
	}
	for _, k := range c.topo.Keepers {
		if err := c.StartKeeper(k.ID); err != nil {
			return err
		}
	}
	for _, n := range c.topo.Nodes {
		if err := c.StartNode(ctx, n.ID); err != nil {
			return err
		}
	}
	for _, n := range c.topo.Nodes {
		if err := c.WaitReady(ctx, n.ID); err != nil {
			return err
		}
	}
	return nil
}

// plan reads the topology of an earlier start, or makes one.
func (c *Cluster) plan() error {
	t, err := setup.LoadTopology(c.lay.Topology())
	if err == nil {
		c.topo = t
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ports, err := c.ports(3*c.opt.Nodes + Keepers + 1)
	if err != nil {
		return err
	}
	take := func() int {
		p := ports[0]
		ports = ports[1:]
		return p
	}
	q := c.opt.Quorum
	c.topo = setup.Topology{Cluster: "dev", Quorum: node.QuorumConfig{N: q.N, K: q.K, W: q.W}, Partitions: c.opt.Partitions,
		BrokerTLS: len(c.opt.Brokers) == 0, Brokers: c.opt.Brokers, Threshold: 2}
	for i := range c.opt.Nodes {
		c.topo.Nodes = append(c.topo.Nodes, setup.Node{ID: dsv.NodeID("n" + strconv.Itoa(i+1)), Host: "127.0.0.1", Names: []string{"localhost"},
			Ports: setup.Ports{API: take(), Peer: take(), Gossip: take()}})
	}
	for i := range Keepers {
		c.topo.Keepers = append(c.topo.Keepers, setup.Keeper{ID: dsv.NodeID("k" + strconv.Itoa(i+1)), Host: "127.0.0.1", Port: take()})
	}
	if len(c.opt.Brokers) == 0 {
		c.topo.Brokers = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(take()))}
	}
	return nil
}

// ports are n ports on loopback: a block, or free ones.
func (c *Cluster) ports(n int) ([]int, error) {
	var out []int
	if c.opt.FirstPort > 0 {
		for i := range n {
			out = append(out, c.opt.FirstPort+i)
		}
		return out, nil
	}
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

func (c *Cluster) startBroker() error {
	if len(c.opt.Brokers) > 0 {
		return nil
	}
	bc := node.DefaultBrokerConfig()
	bc.Listen, bc.Advertise, bc.TLS = c.topo.Brokers[0], c.topo.Brokers[0], setup.Identity(c.lay.Broker())
	bc.DataDir = filepath.Join(c.opt.Dir, "broker-data")
	var err error
	c.broker, err = node.StartBroker(bc, c.opt.Logger)
	return err
}

// StartKeeper starts one keeper.
func (c *Cluster) StartKeeper(id dsv.NodeID) error {
	kc := node.DefaultKeeperConfig()
	for _, k := range c.topo.Keepers {
		if k.ID == id {
			kc.Listen = net.JoinHostPort(k.Host, strconv.Itoa(k.Port))
		}
	}
	kc.Identity = setup.Identity(c.lay.Keeper(id))
	persist := filepath.Join(c.opt.Dir, "insecure-dev-keepers", string(id))
	if c.opt.Memory {
		persist = ""
	}
	k, err := node.NewKeeper(kc, c.opt.Logger.With("keeper", id), persist)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &runningKeeper{stop: stop, done: make(chan error, 1)}
	go func() { r.done <- k.Run(ctx) }()
	c.mu.Lock()
	c.keepers[id] = r
	c.mu.Unlock()
	return nil
}

// StartNode starts one node and does not wait for it.
func (c *Cluster) StartNode(ctx context.Context, id dsv.NodeID) error {
	cfg, err := node.LoadConfig(c.lay.NodeConfig(id), nil)
	if err != nil {
		return err
	}
	if c.opt.Tune != nil {
		c.opt.Tune(&cfg)
	}
	w := node.World{Logger: c.opt.Logger}
	if c.opt.Memory {
		w.OpenStore = c.memoryStore(id)
	}
	n, err := node.New(cfg, w)
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.nodes[id] = n
	c.mu.Unlock()
	return nil
}

// memoryStore gives a node the same store in memory again after a restart.
func (c *Cluster) memoryStore(id dsv.NodeID) func(string, dsv.Secret, node.Config, *slog.Logger) (node.OpenedStore, error) {
	return func(string, dsv.Secret, node.Config, *slog.Logger) (node.OpenedStore, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.stores[id] == nil {
			c.stores[id] = store.OpenMemory(store.Options{})
		}
		return node.OpenedStore{Store: unclosed{c.stores[id]}, Clean: true}, nil
	}
}

// unclosed leaves a store in memory open when its node closes.
type unclosed struct{ store.Store }

func (unclosed) Close() error { return nil }

// WaitReady waits until a node serves.
func (c *Cluster) WaitReady(ctx context.Context, id dsv.NodeID) error {
	n := c.Node(id)
	if n == nil {
		return fmt.Errorf("node %s does not run", id)
	}
	select {
	case <-n.Ready():
		return nil
	case <-n.Failed():
		return n.Err()
	case <-ctx.Done():
		return fmt.Errorf("node %s: %w", id, ctx.Err())
	}
}

// Node is a running node, nil if it does not run.
func (c *Cluster) Node(id dsv.NodeID) *node.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// StopNode closes a node.
func (c *Cluster) StopNode(id dsv.NodeID) error {
	c.mu.Lock()
	n := c.nodes[id]
	delete(c.nodes, id)
	c.mu.Unlock()
	if n == nil {
		return nil
	}
	return n.Close()
}

// StopKeeper ends a keeper; what it held is gone, but for its dev folder.
func (c *Cluster) StopKeeper(id dsv.NodeID) error {
	c.mu.Lock()
	k := c.keepers[id]
	delete(c.keepers, id)
	c.mu.Unlock()
	if k == nil {
		return nil
	}
	k.stop()
	return <-k.done
}

// Broker is the embedded broker, nil where the log was given.
func (c *Cluster) Broker() *commitlog.Broker { return c.broker }

// Layout and Topology tell where things lie.
func (c *Cluster) Layout() setup.Layout     { return c.lay }
func (c *Cluster) Topology() setup.Topology { return c.topo }

// Endpoints are the API's base URLs.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, n := range c.topo.Nodes {
		out = append(out, "https://"+net.JoinHostPort(n.Host, strconv.Itoa(n.Ports.API)))
	}
	return out
}

// Close stops everything, nodes first.
func (c *Cluster) Close() error {
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, n := range c.topo.Nodes {
		wg.Go(func() {
			err := c.StopNode(n.ID)
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	wg.Wait()
	for _, k := range c.topo.Keepers {
		errs = append(errs, c.StopKeeper(k.ID))
	}
	if c.broker != nil {
		errs = append(errs, c.broker.Close())
	}
	if c.temp != "" {
		errs = append(errs, os.RemoveAll(c.temp))
	}
	return errors.Join(errs...)
}

// Exports are the lines to paste into a shell so that dsvctl finds the cluster.
func (c *Cluster) Exports() []string {
	return []string{
		"export DSV_ADDR=" + strings.Join(c.Endpoints(), ","),
		"export DSV_CA=" + c.lay.CACert(),
		"export DSV_TOKEN_FILE=" + c.lay.OperatorToken(),
		"export DSV_NAMESPACE=dev",
	}
}
