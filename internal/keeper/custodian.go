package keeper

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dsvault/dsv"
)

// Defaults of a Custodian.
const (
	DefaultPollEvery      = 5 * time.Second
	DefaultAttemptTimeout = 3 * time.Second
	DefaultThreshold      = 2
)

// Target is a keeper and where it listens.
type Target struct {
	ID   dsv.NodeID
	Addr string // host:port
}

// CustodianConfig is what a node knows about its keepers.
type CustodianConfig struct {
	Cluster string // id, 1 to 255 bytes
	Node    dsv.NodeID
	// Keepers are 2 to MaxKeepers; their order means nothing.
	Keepers []Target
	// Threshold is how many shares make the key, of as many as there are
	// keepers: at least 2 and more than half, so that no two root keys can both
	// have a threshold of keepers. It counts when a key is made; a key that
	// exists keeps its own.
	Threshold int
	// Dial opens a connection; nil is net.Dialer.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS is the client side of mutual TLS towards one keeper; it must check
	// that the server is that keeper.
	TLS func(keeper dsv.NodeID) *tls.Config
	// Insecure allows a nil TLS. For simulations only.
	Insecure bool
	Logger   *slog.Logger // nil: silent

	PollEvery      time.Duration // 0 = DefaultPollEvery
	AttemptTimeout time.Duration // of one request in all; 0 = DefaultAttemptTimeout
}

func (c CustodianConfig) validate() error {
	var faults []dsv.Fault
	bad := func(name, detail string) {
		faults = append(faults, dsv.Fault{Name: name, Code: dsv.CodeInvalid, Detail: detail})
	}
	if c.Cluster == "" || len(c.Cluster) > maxCluster {
		bad("cluster", "must be 1 to 255 bytes")
	}
	if _, err := dsv.ParseNodeID(string(c.Node)); err != nil {
		bad("node", dsv.AsError(err).Detail)
	}
	n := len(c.Keepers)
	if n < minThreshold || n > MaxKeepers {
		bad("keepers", fmt.Sprintf("are %d, must be 2 to %d", n, MaxKeepers))
	}
	if c.Threshold < minThreshold || c.Threshold > n || 2*c.Threshold <= n {
		bad("threshold", "must be at least 2, more than half of the keepers and at most all of them")
	}
	seen := map[string]bool{}
	for _, t := range c.Keepers {
		if _, err := dsv.ParseNodeID(string(t.ID)); err != nil {
			bad("keepers", "have an id that "+dsv.AsError(err).Detail)
		}
		if t.Addr == "" {
			bad("keepers", "have one without an address: "+string(t.ID))
		}
		if seen["id "+string(t.ID)] || seen["addr "+t.Addr] {
			bad("keepers", "name one twice: "+string(t.ID))
		}
		seen["id "+string(t.ID)], seen["addr "+t.Addr] = true, true
	}
	if (c.TLS == nil) != c.Insecure {
		bad("tls", "is missing, or set beside insecure")
	}
	if c.PollEvery < 0 || c.AttemptTimeout < 0 {
		bad("poll every, attempt timeout", "must not be negative")
	}
	return configError("keepers", faults)
}

// KeeperStatus is what a node knows of one keeper.
type KeeperStatus struct {
	ID         dsv.NodeID `json:"id"`
	Addr       string     `json:"addr"`
	Reachable  bool       `json:"reachable"`
	Holds      bool       `json:"holds"`      // a share of this node
	Generation uint64     `json:"generation"` // of that share
	LastSeen   time.Time  `json:"last_seen"`  // zero: never
	Problem    string     `json:"problem,omitempty"`
}

// Custodian is a node's side of the custody of its root key: it gets the key
// at start (Obtain) and keeps the keepers filled while the node lives (Run).
type Custodian struct {
	cfg   CustodianConfig // Keepers sorted by id
	log   *slog.Logger
	links []*link

	obtaining chan struct{} // a token: one Obtain at a time
	life      context.Context
	end       context.CancelCauseFunc // of life
	running   sync.WaitGroup          // Obtain and Run

	mu     sync.Mutex
	status []KeeperStatus
	reason string
	set    *set          // nil until Obtain succeeded and after Close
	assign []int         // keeper -> index of its share, -1 = none
	sure   []bool        // keeper holds its share of set for certain
	dirty  chan struct{} // a token when assign changed
}

// New checks all of cfg and reports every fault at once. It starts nothing.
func New(cfg CustodianConfig) (*Custodian, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Keepers = slices.SortedFunc(slices.Values(cfg.Keepers), func(a, b Target) int {
		return strings.Compare(string(a.ID), string(b.ID))
	})
	if cfg.PollEvery == 0 {
		cfg.PollEvery = DefaultPollEvery
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = DefaultAttemptTimeout
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	c := &Custodian{cfg: cfg, log: logger(cfg.Logger), reason: "sealed: no keeper was asked yet", dirty: make(chan struct{}, 1), obtaining: make(chan struct{}, 1)}
	c.life, c.end = context.WithCancelCause(context.Background())
	for _, t := range cfg.Keepers {
		var conf *tls.Config
		if cfg.TLS != nil {
			conf = cfg.TLS(t.ID)
		}
		c.links = append(c.links, newLink(t, cfg.Node, cfg.Dial, conf, cfg.AttemptTimeout))
		c.status = append(c.status, KeeperStatus{ID: t.ID, Addr: t.Addr, Problem: "has not answered yet"})
	}
	return c, nil
}

// Status is what is known of each keeper, sorted by id.
func (c *Custodian) Status() []KeeperStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.status)
}

// Reason says why there is no root key yet; "" once there is one.
func (c *Custodian) Reason() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Margin is how many keepers may be lost before a restart of this node leaves
// it sealed; negative if it already would, or if there is no root key yet.
func (c *Custodian) Margin() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set == nil {
		return -c.cfg.Threshold
	}
	held := map[int]bool{} // two keepers with one share count once
	for i, s := range c.status {
		if s.Reachable && c.sure[i] {
			held[c.assign[i]] = true
		}
	}
	return len(held) - c.set.threshold
}

// Close ends Obtain and Run, waits for them, wipes the shares and ends idle
// connections. It may be called more than once.
func (c *Custodian) Close() error {
	c.mu.Lock()
	c.end(errClosed)
	c.mu.Unlock()
	c.running.Wait()
	for _, l := range c.links {
		l.close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set.wipe()
	c.set = nil
	return nil
}

// enter begins Obtain or Run: the context ends with Close too. done must be
// called; false after Close.
func (c *Custodian) enter(ctx context.Context) (_ context.Context, done func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return nil, nil, false
	}
	c.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(context.Cause(c.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
		c.running.Done()
	}, true
}

func (c *Custodian) setReason(text string) {
	c.mu.Lock()
	changed := c.reason != text
	c.reason = text
	c.mu.Unlock()
	if changed && text != "" {
		c.log.Warn(text)
	}
}

// note records what was seen of a keeper and logs what changed.
func (c *Custodian) note(i int, seen KeeperStatus) {
	c.mu.Lock()
	old := c.status[i]
	seen.ID, seen.Addr = old.ID, old.Addr
	if seen.Reachable {
		seen.LastSeen = time.Now()
	} else {
		seen.LastSeen, seen.Holds, seen.Generation = old.LastSeen, old.Holds, old.Generation
	}
	c.status[i] = seen
	c.mu.Unlock()
	switch {
	case seen.Problem != "" && seen.Problem != old.Problem:
		c.log.Warn("keeper "+seen.Problem, "keeper", seen.ID, "addr", seen.Addr)
	case seen.Problem == "" && old.Problem != "" && seen.Reachable:
		c.log.Info("keeper is well", "keeper", seen.ID, "holds", seen.Holds, "generation", seen.Generation)
	}
}
