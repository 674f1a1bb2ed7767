package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/setup"
)

// Options of a cluster in one process.
type Options struct {
	Dir string // of the cluster; made by the first start
	// Memory keeps everything in memory and writes no file; Dir is not used.
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
	mem    *memory // nil with a directory

	mu      sync.Mutex
	nodes   map[dsv.NodeID]*node.Node
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
	c := &Cluster{opt: opt, nodes: map[dsv.NodeID]*node.Node{}, keepers: map[dsv.NodeID]*runningKeeper{}}
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
	prepare := c.prepareDir
	if c.opt.Memory {
		prepare = c.prepareMemory
	}
	if err := prepare(ctx); err != nil {
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

// StartKeeper starts one keeper.
func (c *Cluster) StartKeeper(id dsv.NodeID) error {
	kc := node.DefaultKeeperConfig()
	for _, k := range c.topo.Keepers {
		if k.ID == id {
			kc.Listen = net.JoinHostPort(k.Host, strconv.Itoa(k.Port))
		}
	}
	persist := ""
	if c.mem != nil {
		var err error
		if kc.Given, err = c.mem.issue(identity.RoleKeeper, string(id)); err != nil {
			return err
		}
	} else {
		kc.Identity = setup.Identity(c.lay.Keeper(id))
		persist = filepath.Join(c.opt.Dir, "insecure-dev-keepers", string(id))
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
	cfg, w, err := c.node(id)
	if err != nil {
		return err
	}
	if c.opt.Tune != nil {
		c.opt.Tune(&cfg)
	}
	w.Logger = c.opt.Logger
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

func (c *Cluster) node(id dsv.NodeID) (node.Config, node.World, error) {
	if c.mem != nil {
		return c.mem.node(&c.topo, id)
	}
	cfg, err := node.LoadConfig(c.lay.NodeConfig(id), nil)
	return cfg, node.World{}, err
}

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

// Layout and Topology tell where things lie. A cluster in memory has no layout.
func (c *Cluster) Layout() setup.Layout     { return c.lay }
func (c *Cluster) Topology() setup.Topology { return c.topo }

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
	if c.mem != nil {
		errs = append(errs, c.mem.close())
	}
	return errors.Join(errs...)
}
