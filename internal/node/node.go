package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/api"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/gossip"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/keeper"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/repair"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/internal/txn"
)

// Node is one member of a cluster. main and the tests build the same one:
// New, Start, Close.
type Node struct {
	cfg       Config
	world     World
	log       *slog.Logger
	id        *identity.Identity
	apiID     *identity.Identity
	logKey    dsv.Secret
	gossipKey dsv.Secret
	inc       dsv.Incarnation

	api       *api.Server
	apiListen net.Listener
	peers     *peer.Peers
	pool      *peer.Pool
	gossip    *gossip.Gossip
	custodian *keeper.Custodian

	sealed atomic.Pointer[string] // why; nil once open
	opened atomic.Pointer[opened]
	alarms alarms

	cancel context.CancelFunc
	wg     sync.WaitGroup
	ready  chan struct{} // closed when the vault is open
	failed chan struct{}
	cause  error
	fail1  sync.Once
	closed sync.Once
}

// opened is what exists only while the node has its root key.
type opened struct {
	root   *keeper.Root
	store  OpenedStore
	log    *commitlog.Log
	rep    *replica.Replica
	runner *txn.Runner
	repair *repair.Repairer
	coord  *coordinator.Coordinator
}

// New validates everything the node is told and reads its files. It starts
// nothing. The error lists every fault.
func New(cfg Config, world World) (*Node, error) {
	if err := cfg.Check(); err != nil { // fills cfg in
		return nil, err
	}
	world = world.withDefaults(cfg)
	n := &Node{cfg: cfg, world: world, log: world.Logger.With("node", cfg.Node.ID), inc: dsv.NewIncarnation(),
		ready: make(chan struct{}), failed: make(chan struct{})}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	n.id, err = world.loadIdentity(cfg.Identity)
	note(err)
	n.apiID = n.id
	if cfg.APIIdentity != (Files{}) {
		n.apiID, err = world.loadIdentity(cfg.APIIdentity)
		note(err)
	}
	n.logKey, err = world.key(world.LogKey, cfg.Keys.Log)
	note(err)
	n.gossipKey, err = world.key(world.GossipKey, cfg.Keys.Gossip)
	note(err)
	if n.id != nil && (n.id.ID().Role != identity.RoleNode || n.id.ID().NodeID() != cfg.Node.ID) {
		note(dsv.Invalid("identity.cert", fmt.Sprintf("is of %s, not of node %s", n.id.ID(), cfg.Node.ID)))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	n.seal("the node is starting")
	n.api, err = api.New(api.Config{State: n.state, Checks: n.checks, Log: n.log, MaxValue: int(cfg.API.MaxValueBytes),
		MaxInFlight: cfg.API.MaxInFlight, RequestTimeout: cfg.API.RequestTimeout})
	if err != nil {
		return nil, err
	}
	n.peers = peer.NewPeers(cfg.Node.ID)
	n.custodian, err = keeper.New(n.custodianConfig())
	return n, err
}

func (n *Node) seal(reason string) { n.sealed.Store(&reason) }

func (n *Node) state() (bool, string) {
	if r := n.sealed.Load(); r != nil {
		if reason := n.custodian.Reason(); reason != "" {
			return true, reason
		}
		return true, *r
	}
	return false, ""
}

// Start opens the node's ports and begins to collect its root key; the vault
// opens behind it (Ready). An error means that nothing runs.
func (n *Node) Start(ctx context.Context) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	if err := n.listen(run); err != nil {
		_ = n.Close()
		return err
	}
	n.wg.Go(func() {
		if err := n.unseal(run); err != nil && run.Err() == nil {
			n.fail(err)
		}
	})
	n.wg.Go(func() { n.gossipLoop(run) })
	return nil
}

// listen opens the API, the port between nodes and gossip, sealed.
func (n *Node) listen(ctx context.Context) error {
	l, err := n.world.Listen("tcp", n.cfg.Peer.Listen)
	if err != nil {
		return fmt.Errorf("peer.listen: %w", err)
	}
	pc := peer.PoolConfig{Self: n.cfg.Node.ID, Members: map[dsv.NodeID]string{}, Listener: l, Handler: n.peers.Serve, Logger: n.log,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return n.world.Dial(ctx, "tcp", addr) }}
	for _, m := range n.cfg.Members {
		pc.Members[m.ID] = m.Peer
	}
	if n.id != nil {
		pc.ServerTLS = n.id.ServerTLS(n.allowMember)
		pc.ClientTLS = func(to dsv.NodeID) *tls.Config { return n.id.ClientTLS(n.peerID(identity.RoleNode, to)) }
		pc.PeerName = peerName
	}
	n.pool = peer.NewPool(pc)
	n.peers.Use(n.pool)
	n.pool.Start(ctx)
	if err := n.startGossip(ctx); err != nil {
		return err
	}
	if n.apiID == nil {
		return nil
	}
	if n.apiListen, err = n.world.Listen("tcp", n.cfg.API.Listen); err != nil {
		return fmt.Errorf("api.listen: %w", err)
	}
	n.wg.Go(func() {
		if err := n.api.Serve(n.apiListen, n.apiID.HTTPServerTLS(true)); err != nil {
			n.fail(fmt.Errorf("api: %w", err))
		}
	})
	return nil
}

func (n *Node) peerID(role identity.Role, name dsv.NodeID) identity.ID {
	return identity.ID{TrustDomain: n.id.ID().TrustDomain, Role: role, Name: string(name)}
}

func (n *Node) allowMember(id identity.ID) error {
	if id.Role == identity.RoleNode && id.TrustDomain == n.id.ID().TrustDomain {
		for _, m := range n.cfg.Members {
			if m.ID == id.NodeID() {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is no member of this cluster", id)
}

func peerName(cs *tls.ConnectionState) (dsv.NodeID, error) {
	id, err := identity.PeerID(cs)
	return id.NodeID(), err
}

func (n *Node) custodianConfig() keeper.CustodianConfig {
	c := keeper.CustodianConfig{Cluster: n.cfg.Cluster.ID, Node: n.cfg.Node.ID, Threshold: n.cfg.Keepers.Threshold,
		Insecure: n.world.Insecure, Logger: n.log, PollEvery: n.world.PollKeepers,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return n.world.Dial(ctx, "tcp", addr) }}
	for _, k := range n.cfg.Keepers.Targets {
		c.Keepers = append(c.Keepers, keeper.Target{ID: k.ID, Addr: k.Address})
	}
	if n.id != nil {
		c.TLS = func(k dsv.NodeID) *tls.Config { return n.id.ClientTLS(n.peerID(identity.RoleKeeper, k)) }
	}
	return c
}

// storeDir and checkFile are what a node keeps in its data directory.
func (n *Node) storeDir() string  { return filepath.Join(n.cfg.Node.DataDir, "store") }
func (n *Node) checkFile() string { return filepath.Join(n.cfg.Node.DataDir, "root.check") }

// unseal collects the root key, opens the store under it and then the vault.
func (n *Node) unseal(ctx context.Context) error {
	n.seal("collecting the root key from the keepers")
	opt, err := n.obtainOptions()
	if err != nil {
		return err
	}
	root, got, err := n.custodian.Obtain(ctx, opt)
	if err != nil {
		return err
	}
	if err := n.remember(got.Check); err != nil {
		root.Wipe()
		return err
	}
	n.log.Info("root key collected", "generation", root.Generation(), "fresh", got.Fresh)
	return n.open(ctx, root)
}

func (n *Node) obtainOptions() (keeper.ObtainOptions, error) {
	var opt keeper.ObtainOptions
	if n.world.Memory != nil {
		return n.world.Memory.obtainOptions(), nil
	}
	if err := os.MkdirAll(n.cfg.Node.DataDir, 0o700); err != nil {
		return opt, fmt.Errorf("node.data_dir: %w", err)
	}
	check, err := keeper.ReadCheck(n.checkFile())
	switch {
	case err == nil:
		opt.Known = &check
	case !errors.Is(err, os.ErrNotExist):
		return opt, fmt.Errorf("node.data_dir: %w", err)
	}
	entries, err := os.ReadDir(n.storeDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return opt, fmt.Errorf("node.data_dir: %w", err)
	}
	opt.NewDirectory = len(entries) == 0
	return opt, nil
}

// remember keeps the check of the root key for the next start.
func (n *Node) remember(c keeper.Check) error {
	if n.world.Memory != nil {
		n.world.Memory.remember(c)
		return nil
	}
	if err := keeper.WriteCheck(n.checkFile(), c); err != nil {
		return fmt.Errorf("node.data_dir: %w", err)
	}
	return nil
}

// open opens store, log and replica, waits until this store has joined, and
// lets the API serve.
func (n *Node) open(ctx context.Context, root *keeper.Root) error {
	o := &opened{root: root}
	defer func() {
		if n.opened.Load() == nil {
			o.close(n.log)
		}
	}()
	n.seal("opening the store")
	var err error
	if o.store, err = n.world.OpenStore(n.storeDir(), root.Derive("store"), n.cfg, n.log); err != nil {
		return n.damaged(fmt.Errorf("open the store in %s: %w", n.storeDir(), err))
	}
	n.seal("connecting to the log")
	if o.log, err = n.openLog(ctx); err != nil {
		return err
	}
	rc := replica.Config{Node: n.cfg.Node.ID, ClusterID: n.cfg.Cluster.ID, Quorum: n.cfg.Quorum.Quorum(), Partitions: n.cfg.Log.Partitions,
		Store: o.store, Log: o.log, RowKey: root.Derive("shard rows"), Clean: o.store.Clean, Incarnation: n.inc,
		StagedBytes: int64(n.cfg.Limits.StagedBytes), Logger: n.log}
	for _, m := range n.cfg.Members {
		rc.Members = append(rc.Members, m.ID)
	}
	if o.rep, err = replica.New(rc); err != nil {
		return n.damaged(fmt.Errorf("read the store in %s: %w", n.storeDir(), err))
	}
	o.runner = txn.New(o.rep, n.peers, n.log)
	o.repair = repair.New(repair.Config{Replica: o.rep, Peers: n.peers, Runner: o.runner, TriggerBuffer: n.cfg.Repair.TriggerBuffer,
		Deadline: n.cfg.Repair.Deadline, ScanRate: float64(n.cfg.Repair.ScanRate), Logger: n.log})
	o.coord = coordinator.New(coordinator.Config{Replica: o.rep, Peers: n.peers, Runner: o.runner, Repair: o.repair, Hints: hints{n},
		Probe: probe{n}, Timeout: n.cfg.API.RequestTimeout, MaxValue: int(n.cfg.API.MaxValueBytes), Logger: n.log})
	if err := o.rep.Start(ctx); err != nil {
		return err
	}
	n.opened.Store(o)
	n.wg.Go(func() { n.watchReplica(ctx, o.rep) })
	n.wg.Go(func() {
		if err := n.custodian.Run(ctx, shareVault{o.store}); err != nil && ctx.Err() == nil {
			n.log.Error("keepers are not kept filled", "err", err)
		}
	})
	n.seal("reading the log and joining the cluster")
	if err := n.untilJoined(ctx, o.rep); err != nil {
		return err
	}
	n.peers.Open(o.rep)
	o.repair.Start()
	n.sealed.Store(nil)
	n.api.SetVault(o.coord)
	n.log.Info("open", "store", o.rep.StoreID().String())
	close(n.ready)
	return nil
}

// damaged tells what to do about a store that cannot be used.
func (n *Node) damaged(err error) error {
	for _, cause := range []error{store.ErrCorrupt, store.ErrWrongKey, replica.ErrDamaged} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w: move %s away and start again: the node then reads the log from its beginning and the others refill it", err, n.storeDir())
		}
	}
	return err
}

// logRetry is the pause between attempts to reach the log at start.
const logRetry = 500 * time.Millisecond

// openLog connects to the log, for as long as it does not answer. A topic with
// wrong settings ends the start.
func (n *Node) openLog(ctx context.Context) (*commitlog.Log, error) {
	lc := commitlog.Config{Brokers: n.cfg.Log.Brokers, Dial: n.world.DialLog, Cluster: n.cfg.Cluster.Name, ClusterID: n.cfg.Cluster.ID,
		Partitions: n.cfg.Log.Partitions, Key: n.logKey, Incarnation: n.inc, Logger: n.log}
	if n.cfg.Log.TLS && n.id != nil {
		lc.TLS = n.id.BrokerTLS()
	}
	for {
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		l, err := commitlog.Open(attempt, lc)
		cancel()
		if err == nil {
			return l, nil
		}
		if _, wrong := errors.AsType[*commitlog.SettingsError](err); wrong || ctx.Err() != nil {
			return nil, err
		}
		n.seal("the log does not answer: " + err.Error())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(logRetry):
		}
	}
}

func (n *Node) untilJoined(ctx context.Context, rep *replica.Replica) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		err := rep.Ready()
		if err == nil {
			return nil
		}
		n.seal(err.Error())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-rep.Failed():
			return rep.Err()
		case <-t.C:
		}
	}
}

func (n *Node) watchReplica(ctx context.Context, rep *replica.Replica) {
	select {
	case <-ctx.Done():
	case <-rep.Failed():
		n.fail(rep.Err())
	}
}

func (n *Node) fail(err error) {
	n.fail1.Do(func() {
		n.cause = err
		n.seal("the node has stopped: " + err.Error())
		n.api.SetVault(nil)
		n.peers.Open(nil)
		n.log.Error("the node stops", "err", err)
		close(n.failed)
	})
}

// Ready is closed when the node serves.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Failed is closed when the node cannot go on; Err says why. The process then
// closes it and exits.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err is why Failed was closed.
func (n *Node) Err() error { return n.cause }

// Coordinator is the open vault, nil before Ready.
func (n *Node) Coordinator() *coordinator.Coordinator {
	if o := n.opened.Load(); o != nil {
		return o.coord
	}
	return nil
}

// Replica is this node's copy, nil before the store is open; for tests.
func (n *Node) Replica() *replica.Replica {
	if o := n.opened.Load(); o != nil {
		return o.rep
	}
	return nil
}

// APIAddr is where the API listens; nil before Start.
func (n *Node) APIAddr() net.Addr {
	if n.apiListen == nil {
		return nil
	}
	return n.apiListen.Addr()
}

// closeFor bounds the end of requests under way.
const closeFor = 10 * time.Second

// Close ends everything in reverse order of Start, and the store last: only
// then the next start finds that it was closed cleanly. Idempotent.
func (n *Node) Close() error {
	var errs []error
	n.closed.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeFor)
		defer cancel()
		errs = append(errs, n.api.Shutdown(ctx))
		if n.gossip != nil {
			n.gossip.Close()
		}
		n.peers.Open(nil)
		if n.pool != nil {
			n.pool.Close()
		}
		if n.cancel != nil {
			n.cancel()
		}
		n.wg.Wait()
		errs = append(errs, n.custodian.Close())
		if o := n.opened.Load(); o != nil {
			errs = append(errs, o.close(n.log))
		}
	})
	return errors.Join(errs...)
}

func (o *opened) close(log *slog.Logger) error {
	var errs []error
	if o.repair != nil {
		errs = append(errs, o.repair.Close())
	}
	if o.runner != nil {
		errs = append(errs, o.runner.Close())
	}
	if o.rep != nil {
		errs = append(errs, o.rep.Close())
	}
	if o.log != nil {
		errs = append(errs, o.log.Close())
	}
	if o.store.Store != nil {
		errs = append(errs, o.store.Close())
	}
	if o.root != nil {
		o.root.Wipe()
	}
	err := errors.Join(errs...)
	if err != nil {
		log.Warn("close", "err", err)
	}
	return err
}
