package core

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/repair"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/internal/txn"
)

// Node is one member. What is behind the store's line exists while it runs.
type Node struct {
	c    *Cluster
	ID   dsv.NodeID
	Host string

	Store   store.Store // survives Stop and Crash, unless it is lost
	unclean bool

	Log    *commitlog.Log
	Pool   *peer.Pool
	Peers  *peer.Peers
	Rep    *replica.Replica
	Runner *txn.Runner
	Repair *repair.Repairer
	Coord  *coordinator.Coordinator
}

// Config is the replica's configuration, to be changed before Open.
func (n *Node) Config() replica.Config {
	c := n.c
	return replica.Config{Node: n.ID, ClusterID: ClusterID, Members: c.Members(), Quorum: c.opt.Quorum, Partitions: c.opt.Partitions,
		RowKey: dsv.SecretOf(rowKey(n.ID)), Clean: !n.unclean, Incarnation: dsv.NewIncarnation(), StagedBytes: c.opt.StagedBytes, Logger: c.log}
}

// rowKey is each node's own.
func rowKey(id dsv.NodeID) []byte {
	k := make([]byte, 32)
	copy(k, id)
	return k
}

// Start runs the node on its store, or on a new one where it has none.
func (n *Node) Start() {
	n.c.T.Helper()
	n.c.Must(n.Open(n.Config()))
}

// Open is Start with a configuration of one's own; an error means that nothing
// runs.
func (n *Node) Open(rc replica.Config) error {
	c := n.c
	if n.Store == nil {
		n.openStore()
	}
	var err error
	if n.Log, err = commitlog.Open(context.Background(), c.logConfig(string(n.ID), rc.Incarnation)); err != nil {
		return err
	}
	rc.Store, rc.Log = n.Store, n.Log
	if n.Rep, err = replica.New(rc); err != nil {
		_ = n.Log.Close()
		n.Log = nil
		return err
	}
	l, err := c.Net.Listen(n.Host + ":1")
	if err != nil {
		return err
	}
	n.Peers = peer.NewPeers(n.ID)
	members := map[dsv.NodeID]string{}
	for _, m := range c.Nodes {
		members[m.ID] = m.Host + ":1"
	}
	n.Pool = peer.NewPool(peer.PoolConfig{Self: n.ID, Members: members, Listener: l, Handler: n.Peers.Serve, Logger: c.log,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return c.Net.Dial(ctx, n.Host, addr) }})
	n.Peers.Use(n.Pool)
	n.Runner = txn.New(n.Rep, n.Peers, c.log)
	buffer := c.opt.TriggerBuffer
	if buffer == 0 {
		buffer = 1
	}
	n.Repair = repair.New(repair.Config{Replica: n.Rep, Peers: n.Peers, Runner: n.Runner, TriggerBuffer: buffer, Logger: c.log})
	n.Coord = coordinator.New(coordinator.Config{Replica: n.Rep, Peers: n.Peers, Runner: n.Runner, Repair: n.Repair, Timeout: c.opt.Timeout, Logger: c.log})
	n.Pool.Start(context.Background())
	if err := n.Rep.Start(context.Background()); err != nil {
		return err
	}
	n.Peers.Open(n.Rep)
	if c.opt.Repair {
		n.Repair.Start()
	}
	return nil
}

func (n *Node) openStore() {
	n.unclean = false
	if !n.c.opt.Disk {
		n.Store = store.OpenMemory(store.Options{})
		return
	}
	b, err := store.OpenBadger(store.Options{Dir: n.c.storeDir(n), EncryptionKey: dsv.SecretOf(rowKey(n.ID))})
	n.c.Must(err)
	n.Store, n.unclean = b, !b.WasClean() && !b.WasEmpty()
}

// Ready waits until the node has joined every partition and is connected to
// the nodes that run.
func (n *Node) Ready() {
	n.c.T.Helper()
	n.c.Eventually(time.Minute, func() error {
		if err := n.Rep.Ready(); err != nil {
			return fmt.Errorf("%s: %w", n.ID, err)
		}
		for _, m := range n.c.Nodes {
			if m.Rep != nil && !n.Peers.Reachable(m.ID) {
				return fmt.Errorf("%s is not connected to %s", n.ID, m.ID)
			}
		}
		return nil
	})
}

// Stop ends the process cleanly; its store is kept.
func (n *Node) Stop() {
	if n.Rep == nil {
		return
	}
	n.Peers.Open(nil)
	n.Pool.Close()
	n.closeAbove()
	if n.c.opt.Disk {
		n.dropStore()
	}
}

func (n *Node) closeAbove() {
	err := errors.Join(n.Repair.Close(), n.Runner.Close(), n.Rep.Close(), n.Log.Close())
	if err != nil {
		n.c.T.Errorf("close %s: %v", n.ID, err)
	}
	n.Log, n.Pool, n.Peers, n.Rep, n.Runner, n.Repair, n.Coord = nil, nil, nil, nil, nil, nil, nil
}

// Crash ends the process as a kill does: its connections break, and its store
// is kept but not closed, so the next start has an unclean one.
func (n *Node) Crash() {
	n.c.Net.Crash(n.Host)
	n.c.LogNet.Reset(string(n.ID))
	n.Pool.Close()
	n.closeAbove()
	n.unclean = true
}

// Wipe is Crash with the loss of the directory.
func (n *Node) Wipe() {
	n.Crash()
	n.dropStore()
	if n.c.opt.Disk {
		n.c.Must(os.RemoveAll(n.c.storeDir(n)))
	}
}

func (n *Node) dropStore() {
	if n.Store != nil {
		_ = n.Store.Close()
		n.Store = nil
	}
}

// Session is the caller who may do everything, at this node.
func (n *Node) Session() *coordinator.Session { return n.As(n.c.Token) }

// As is a caller by the text of its token.
func (n *Node) As(token dsv.Secret) *coordinator.Session {
	n.c.T.Helper()
	s, err := n.Coord.Authenticate(context.Background(), token)
	n.c.Must(err)
	return s
}

// Rank is the node's among the holders of a namespace, -1 if it is none.
func (n *Node) Rank(ns dsv.Namespace) int {
	for i, h := range n.c.Config().Holders(ns) {
		if h == n.ID {
			return i
		}
	}
	return -1
}

// Applied waits until the node has applied an offset.
func (n *Node) Applied(p dsv.Partition, offset int64) {
	n.c.T.Helper()
	n.c.Eventually(time.Minute, func() error {
		if at := n.Rep.Applied(p); at < offset {
			return fmt.Errorf("%s has applied %d of partition %d, not %d", n.ID, at, p, offset)
		}
		return nil
	})
}

// View runs f on a snapshot of the node's store.
func (n *Node) View(f func(store.Txn) error) {
	n.c.T.Helper()
	n.c.Must(n.Rep.View(f))
}
