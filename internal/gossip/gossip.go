package gossip

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dsvault/dsv"
)

// Config is what a Gossip is made of.
type Config struct {
	Self dsv.NodeID
	// Bind is the IP and port to listen on, UDP and TCP; port 0 takes a free
	// one. Over a Memory network it is "host:port" with a host of that network.
	Bind string
	// Advertise is the host:port that others reach this node at; "" takes
	// Bind's, or a private address of the machine if that is 0.0.0.0.
	Advertise string
	Key       dsv.Secret // 32 bytes, the same on all nodes
	Join      []string   // host:port of others, asked until as many are alive
	Logger    *slog.Logger
	Network   *Memory // nil is UDP and TCP

	// Cadence; 0 takes the default.
	ProbeInterval    time.Duration // one other node is probed each, default 1s
	ProbeTimeout     time.Duration // for an answer, default 500ms
	GossipInterval   time.Duration // between packets, default 200ms
	PushPullInterval time.Duration // between exchanges of whole states, default 10s
	BroadcastEvery   time.Duration // between rounds of changed items, default 500ms
	RejoinEvery      time.Duration // between attempts to join who is missing, default 5s
	StreamTimeout    time.Duration // of one exchange, default 2s
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.ProbeInterval, time.Second)
	def(&c.ProbeTimeout, 500*time.Millisecond)
	def(&c.GossipInterval, 200*time.Millisecond)
	def(&c.PushPullInterval, 10*time.Second)
	def(&c.BroadcastEvery, 500*time.Millisecond)
	def(&c.RejoinEvery, 5*time.Second)
	def(&c.StreamTimeout, 2*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports every fault at once.
func (c Config) validate() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf("gossip: "+format, a...)) }
	if _, err := dsv.ParseNodeID(string(c.Self)); err != nil {
		bad("self: %w", err)
	}
	if c.Key.Len() != 32 {
		bad("key: has %d bytes, want 32", c.Key.Len())
	}
	host, _, err := hostPort(c.Bind)
	if err != nil {
		bad("bind: %w", err)
	} else if c.Network == nil && net.ParseIP(host) == nil {
		bad("bind: host %q is not an IP address", host)
	}
	if c.Advertise != "" {
		if _, _, err := hostPort(c.Advertise); err != nil {
			bad("advertise: %w", err)
		}
	}
	for _, j := range c.Join {
		if _, _, err := hostPort(j); err != nil {
			bad("join: %w", err)
		}
	}
	for _, d := range []time.Duration{c.ProbeInterval, c.ProbeTimeout, c.GossipInterval, c.PushPullInterval, c.BroadcastEvery, c.RejoinEvery, c.StreamTimeout} {
		if d < 0 {
			bad("a cadence is negative: %v", d)
		}
	}
	return errors.Join(faults...)
}

func hostPort(s string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not host:port", s)
	}
	return host, int(n), nil
}

// Gossip is this node among the others. Make it with New.
type Gossip struct {
	cfg  Config
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	ml   *memberlist.Memberlist // set by Start
	addr string                 // set by Start

	wake     chan struct{} // someone is in dirty
	metaWake chan struct{} // the metadata changed

	mu       sync.Mutex
	started  bool
	closed   bool
	self     meta
	own      *items
	pending  pendingItems // of own, not yet broadcast
	members  map[dsv.NodeID]*member
	dirty    map[dsv.NodeID]bool // changed since the last OnChange
	onChange func(Member)
	garbage  uint64
	stale    uint64
}

type member struct {
	meta   meta
	addr   string // of its gossip port
	items  *items
	status Status // Alive or Dead: Suspect and Left are worked out when asked
	seen   time.Time
}

// New checks a configuration; every fault is reported at once. Nothing is
// opened before Start.
func New(cfg Config) (*Gossip, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg: cfg.withDefaults(), wake: make(chan struct{}, 1), metaWake: make(chan struct{}, 1),
		own: newItems(), pending: newPending(), members: map[dsv.NodeID]*member{}, dirty: map[dsv.NodeID]bool{},
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	return g, nil
}

// Start opens the port and begins to spread and to join, until ctx ends or
// Close. The error is that of the port or of an address that does not
// resolve. It is called once.
func (g *Gossip) Start(ctx context.Context) error {
	mc, err := g.memberlistConfig(ctx)
	if err != nil {
		return err
	}
	g.mu.Lock()
	again := g.started || g.closed
	g.started = true
	g.mu.Unlock()
	if again {
		return errors.New("gossip: started twice, or after Close")
	}
	ml, err := memberlist.Create(mc)
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	local := ml.LocalNode()
	g.mu.Lock()
	g.ml, g.addr = ml, nodeAddr(local)
	g.mu.Unlock()
	context.AfterFunc(ctx, g.shutdown)
	g.wg.Go(g.joinLoop)
	g.wg.Go(g.broadcastLoop)
	g.wg.Go(g.metaLoop)
	g.wg.Go(g.notifyLoop)
	return nil
}

func (g *Gossip) memberlistConfig(ctx context.Context) (*memberlist.Config, error) {
	c := g.cfg
	mc := memberlist.DefaultLANConfig()
	mc.Name = string(c.Self)
	mc.BindAddr, mc.BindPort, _ = hostPort(c.Bind)
	mc.AdvertisePort = mc.BindPort
	mc.SecretKey = c.Key.Reveal()
	mc.ProbeInterval, mc.ProbeTimeout = c.ProbeInterval, c.ProbeTimeout
	mc.GossipInterval, mc.PushPullInterval, mc.TCPTimeout = c.GossipInterval, c.PushPullInterval, c.StreamTimeout
	mc.EnableCompression = false
	mc.DeadNodeReclaimTime = time.Millisecond // a node may come back at another address as soon as it is dead
	mc.DNSConfigPath = os.DevNull             // names are resolved here
	mc.Logger = log.New(&logLines{log: c.Logger}, "", 0)
	d := &delegate{g}
	mc.Delegate, mc.Events, mc.Alive, mc.Ping = d, d, d, d
	if c.Network != nil {
		mc.Transport = c.Network.transport(c.Bind)
		return mc, nil
	}
	if c.Advertise != "" {
		host, port, _ := hostPort(c.Advertise)
		ip, err := resolve(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("gossip: advertise: %w", err)
		}
		mc.AdvertiseAddr, mc.AdvertisePort = ip, port
	}
	return mc, nil
}

// resolve gives one IP address of a host, IPv4 if it has one.
func resolve(ctx context.Context, host string) (string, error) {
	if net.ParseIP(host) != nil {
		return host, nil
	}
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	for _, ip := range ips {
		if ip.To4() != nil {
			return ip.String(), nil
		}
	}
	return ips[0].String(), nil
}

// Addr is the address that others reach this node at, "" before Start.
func (g *Gossip) Addr() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.addr
}

func nodeAddr(n *memberlist.Node) string {
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

func (g *Gossip) list() *memberlist.Memberlist {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ml
}

// Leave tells the others that this node goes on purpose, waiting at most
// limit; call it before Close.
func (g *Gossip) Leave(limit time.Duration) {
	g.mu.Lock()
	ml := g.ml
	if g.closed {
		ml = nil
	}
	g.mu.Unlock()
	if ml != nil {
		g.tell([][]byte{g.farewell()})
		if err := ml.Leave(limit); err != nil {
			g.cfg.Logger.Warn("gossip: leave", "err", err)
		}
	}
}

// farewell marks this node as leaving and is the message that says so.
func (g *Gossip) farewell() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own.counter++
	g.own.leaving = true
	return message{node: g.cfg.Self, incarnation: g.self.incarnation, counter: g.own.counter, leaving: true}.append(nil)
}

// Close ends it, within about StreamTimeout. Without Leave the others find out
// by themselves. It may be called again. Memberlist's own goroutines end a
// little later (within a probe, 8 s at most).
func (g *Gossip) Close() {
	g.shutdown()
	g.wg.Wait()
}

func (g *Gossip) shutdown() {
	g.mu.Lock()
	ml, first := g.ml, !g.closed
	g.closed = true
	g.mu.Unlock()
	g.stop()
	if ml != nil && first {
		if err := ml.Shutdown(); err != nil {
			g.cfg.Logger.Warn("gossip: shutdown", "err", err)
		}
	}
}

// Stats are counts since New.
type Stats struct {
	Garbage uint64 // messages that were not well-formed
	Stale   uint64 // messages about a former process or a stranger
}

// Stats returns the counts.
func (g *Gossip) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Stats{g.garbage, g.stale}
}
