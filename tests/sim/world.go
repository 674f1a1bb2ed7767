// Package sim runs a whole cluster inside a testing/synctest bubble: five real
// nodes with real Badger directories, keepers, gossip and the embedded broker,
// over networks in memory, on simulated time. What happens is drawn from a seed.
package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/gossip"
	"github.com/dsvault/dsv/internal/keeper"
	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/peer/memnet"
	"github.com/dsvault/dsv/internal/setup"
)

// world is the cluster and everything around it.
type world struct {
	t       *testing.T
	lay     setup.Layout
	topo    setup.Topology
	logNet  *commitlog.VirtualNetwork
	net     *memnet.Net
	gossip  *gossip.Memory
	broker  *commitlog.Broker
	log     *slog.Logger
	token   dsv.Secret
	nodes   []*slot
	keepers sync.WaitGroup
	stop    context.CancelFunc
}

// slot is the place of one node: the process in it changes.
type slot struct {
	id   dsv.NodeID
	host string
	mu   sync.Mutex
	node *node.Node
}

func host(i int) string { return "10.0.0." + strconv.Itoa(i+1) }

func newWorld(t *testing.T, dir string, out io.Writer) *world {
	w := &world{t: t, lay: setup.Layout{Dir: filepath.Join(dir, "cluster")}, logNet: commitlog.NewVirtualNetwork(), net: memnet.New(),
		gossip: gossip.NewMemory(), log: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	var err error
	w.broker, err = commitlog.StartBroker(commitlog.BrokerConfig{DataDir: filepath.Join(dir, "broker"), Network: w.logNet, Logger: w.log})
	w.must(err)
	w.topo = setup.Topology{Cluster: "sim", Quorum: node.QuorumConfig{N: 5, K: 3, W: 4}, Partitions: 3, Brokers: w.broker.Addrs(), Threshold: 2}
	for i := range 5 {
		id := dsv.NodeID("n" + strconv.Itoa(i+1))
		w.topo.Nodes = append(w.topo.Nodes, setup.Node{ID: id, Host: host(i), Ports: setup.Ports{API: 8400, Peer: 8401, Gossip: 8402}})
		w.nodes = append(w.nodes, &slot{id: id, host: host(i)})
	}
	for i := range 3 {
		w.topo.Keepers = append(w.topo.Keepers, setup.Keeper{ID: dsv.NodeID("k" + strconv.Itoa(i+1)), Host: "10.0.1." + strconv.Itoa(i+1), Port: 8410})
	}
	w.must(setup.Run(t.Context(), setup.Options{Dir: w.lay.Dir, Topology: w.topo, Dial: w.logNet.DialFrom("init"), Logger: w.log}, io.Discard))
	text, err := os.ReadFile(w.lay.OperatorToken())
	w.must(err)
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	w.token = dsv.SecretOf(text)
	w.startKeepers()
	for i := range w.nodes {
		w.start(i)
	}
	for i := range w.nodes {
		w.ready(i)
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) startKeepers() {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	for _, k := range w.topo.Keepers {
		l, err := w.net.Listen(net.JoinHostPort(k.Host, strconv.Itoa(k.Port)))
		w.must(err)
		s, err := keeper.NewServer(keeper.ServerConfig{Listener: l, Insecure: true, Logger: w.log})
		w.must(err)
		w.keepers.Go(func() { _ = s.Run(ctx) })
	}
}

// start builds the node of a slot from its configuration file and starts it.
func (w *world) start(i int) {
	s := w.nodes[i]
	cfg, err := node.LoadConfig(w.lay.NodeConfig(s.id), nil)
	w.must(err)
	cfg.API.Listen, cfg.Peer.Listen, cfg.Gossip.Listen = s.host+":8400", s.host+":8401", s.host+":8402"
	cfg.Limits.FreeFloorBytes, cfg.Limits.BallastBytes = 0, 0
	n, err := node.New(cfg, node.World{
		Logger:  w.log,
		Listen:  func(_, addr string) (net.Listener, error) { return w.net.Listen(addr) },
		Dial:    func(ctx context.Context, _, addr string) (net.Conn, error) { return w.net.Dial(ctx, s.host, addr) },
		DialLog: w.logNet.DialFrom(string(s.id)), Gossip: w.gossip, Insecure: true, PollKeepers: 5 * time.Second,
	})
	w.must(err)
	w.must(n.Start(context.Background()))
	s.mu.Lock()
	s.node = n
	s.mu.Unlock()
}

func (w *world) ready(i int) {
	n := w.nodes[i].get()
	select {
	case <-n.Ready():
	case <-n.Failed():
		w.t.Fatalf("node %d: %v", i, n.Err())
	case <-time.After(2 * time.Minute):
		w.t.Fatalf("node %d is not ready after two minutes", i)
	}
}

func (s *slot) get() *node.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// session is a caller at node i; ok is false while that does not serve.
func (w *world) session(i int) (*coordinator.Coordinator, *coordinator.Session, bool) {
	n := w.nodes[i].get()
	if n == nil {
		return nil, nil, false
	}
	select {
	case <-n.Ready():
	default:
		return nil, nil, false
	}
	c := n.Coordinator()
	s, err := c.Authenticate(context.Background(), w.token)
	return c, s, err == nil
}

// crash ends a node as a power cut would: what its store had synced is what
// the next start finds, with no mark of a clean close. wipe takes all of it.
func (w *world) crash(i int, wipe bool) {
	s := w.nodes[i]
	s.mu.Lock()
	n := s.node
	s.node = nil
	s.mu.Unlock()
	w.net.Crash(s.host)
	w.logNet.Reset(string(s.id))
	dir := filepath.Join(w.lay.Node(s.id), "data")
	kept := dir + ".crashed"
	w.must(os.CopyFS(kept, os.DirFS(dir)))
	_ = n.Close()
	w.must(os.RemoveAll(dir))
	if wipe {
		w.must(os.RemoveAll(kept))
		return
	}
	w.must(os.Rename(kept, dir))
}

func (w *world) close() {
	for _, s := range w.nodes {
		if n := s.get(); n != nil {
			if err := n.Close(); err != nil {
				w.t.Error(err)
			}
		}
	}
	w.stop()
	w.keepers.Wait()
	if err := w.broker.Close(); err != nil {
		w.t.Error(err)
	}
	w.logNet.Close()
	w.gossip.Drain()
}

// eventually waits on simulated time until f has nothing to say.
func (w *world) eventually(limit time.Duration, f func() error) {
	w.t.Helper()
	end := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			w.t.Fatal(fmt.Errorf("after %v: %w", limit, err))
		}
		time.Sleep(100 * time.Millisecond)
	}
}
