package dev

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/setup"
)

// prepareDir makes what is missing in the directory, and the log.
func (c *Cluster) prepareDir(ctx context.Context) error {
	c.lay = setup.Layout{Dir: c.opt.Dir}
	t, err := setup.LoadTopology(c.lay.Topology())
	switch {
	case err == nil:
		c.topo = t
	case !errors.Is(err, os.ErrNotExist):
		return err
	default:
		if err := c.plan(); err != nil {
			return err
		}
	}
	offline := setup.Options{Dir: c.opt.Dir, Topology: c.topo, Offline: true, Logger: c.opt.Logger}
	if err := setup.Run(ctx, offline, io.Discard); err != nil {
		return err
	}
	if err := c.startBroker(); err != nil {
		return err
	}
	online := setup.Options{Dir: c.opt.Dir, Topology: c.topo, Logger: c.opt.Logger}
	return setup.Run(ctx, online, c.opt.Out)
}

// prepareMemory is prepareDir without a directory.
func (c *Cluster) prepareMemory(ctx context.Context) error {
	if err := c.plan(); err != nil {
		return err
	}
	var err error
	if c.mem, err = newMemory(&c.topo); err != nil {
		return err
	}
	if err := c.startBroker(); err != nil {
		return err
	}
	return c.mem.initLog(ctx, setup.LogOptions{Topology: c.topo, Logger: c.opt.Logger})
}

// plan makes a topology.
func (c *Cluster) plan() error {
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
	bc.Listen, bc.Advertise = c.topo.Brokers[0], c.topo.Brokers[0]
	var err error
	if c.mem != nil {
		bc.Memory = true
		if bc.Given, err = c.mem.issue(identity.RoleBroker, "broker", "127.0.0.1"); err != nil {
			return err
		}
	} else {
		bc.TLS, bc.DataDir = setup.Identity(c.lay.Broker()), filepath.Join(c.opt.Dir, "broker-data")
	}
	c.broker, err = node.StartBroker(bc, c.opt.Logger)
	return err
}
