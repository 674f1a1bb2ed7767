package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
)

// Handler answers the requests of peers. It runs on a goroutine of the pool,
// many at once. ctx ends with the connection and at the caller's deadline, if
// that one has any. req is the handler's until it returns, no longer; the pool
// copies resp and is then done with it. An error that is or wraps a *dsv.Error
// reaches the caller as such, without its cause; any other as an internal
// error without its text.
type Handler func(ctx context.Context, from dsv.NodeID, kind byte, req []byte) (resp []byte, err error)

// PoolConfig is what a Pool is made of.
type PoolConfig struct {
	Self    dsv.NodeID
	Members map[dsv.NodeID]string // addresses; Self may be among them and is ignored
	// Listener is where smaller nodes connect; the pool closes it.
	Listener net.Listener
	// Dial opens a plain connection; nil dials TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// ServerTLS, ClientTLS and PeerName are given all or none. None is for
	// simulation: a hello is then believed.
	ServerTLS *tls.Config
	ClientTLS func(dsv.NodeID) *tls.Config
	PeerName  func(*tls.ConnectionState) (dsv.NodeID, error)

	Handler     Handler
	MaxFrame    int // bytes of one frame, default 8 MiB
	MaxInFlight int // requests of one peer handled at once, default 1024; more are answered KindTooMany
	Logger      *slog.Logger
}

// Defaults and limits.
const (
	DefaultMaxFrame    = 8 << 20
	DefaultMaxInFlight = 1024

	maxHandshakes = 128             // unproven connections at once
	handshakeTime = 3 * time.Second // dial, TLS and hellos
	closeTime     = 10 * time.Second
)

// Pool holds one connection to each other member and calls over it.
type Pool struct {
	cfg       PoolConfig
	nonce     [16]byte
	log       *slog.Logger
	tooMany   []byte // the encoded answer
	maxQueued int    // bytes waiting for one peer
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup // everything the pool started
	work      chan job       // to an idle worker
	idle      atomic.Int32
	hands     chan struct{} // a token per handshake of a stranger
	bufs      buffers
	waiters   sync.Pool
	stats     counters

	mu      sync.RWMutex
	remotes map[dsv.NodeID]*remote
	started bool
	closed  bool
	refusal string // what logRefusal last said, and when
	refused time.Time
}

// NewPool makes a pool; nothing runs before Start.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.MaxFrame == 0 {
		cfg.MaxFrame = DefaultMaxFrame
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = DefaultMaxInFlight
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	if cfg.ServerTLS != nil {
		cfg.ServerTLS = wholeRecords(cfg.ServerTLS)
	}
	p := &Pool{
		cfg: cfg, log: cfg.Logger, tooMany: encodeError(errTooMany), maxQueued: 2 * cfg.MaxFrame,
		work: make(chan job), hands: make(chan struct{}, maxHandshakes), remotes: map[dsv.NodeID]*remote{},
	}
	_, _ = rand.Read(p.nonce[:])
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.waiters.New = func() any { return newWaiter() }
	for id, addr := range cfg.Members {
		if id != cfg.Self {
			p.remotes[id] = newRemote(id, addr)
		}
	}
	return p
}

// wholeRecords turns off the small records that crypto/tls begins with: they
// would cut every batch into many writes.
func wholeRecords(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.DynamicRecordSizingDisabled = true
	return c
}

// Start accepts and dials until ctx ends or Close. It is called once.
func (p *Pool) Start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started || p.closed {
		return
	}
	p.started = true
	context.AfterFunc(ctx, p.stop)
	if p.cfg.Listener != nil {
		p.wg.Go(p.acceptLoop)
	}
	for _, r := range p.remotes {
		p.startDialing(r)
	}
}

func (p *Pool) startDialing(r *remote) {
	if p.cfg.Self < r.id {
		p.wg.Go(func() { p.dialLoop(r) })
	}
}

// Close ends every connection and call and waits for what the pool started, at
// most 10 s for handlers that do not heed their context. It may be called
// again.
func (p *Pool) Close() {
	p.stop()
	done := make(chan struct{})
	go func() { p.wg.Wait(); close(done) }()
	limit := time.NewTimer(closeTime)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
		p.log.Error("peer: handlers still run after the pool was closed")
	}
}

func (p *Pool) stop() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	remotes := make([]*remote, 0, len(p.remotes))
	for _, r := range p.remotes {
		remotes = append(remotes, r)
	}
	p.mu.Unlock()
	p.cancel()
	if p.cfg.Listener != nil {
		_ = p.cfg.Listener.Close()
	}
	for _, r := range remotes {
		r.close()
	}
}

func (p *Pool) remote(id dsv.NodeID) *remote {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.remotes[id]
}

// SetAddr sets where a node is dialled from now on, at once if it is not
// connected. An unknown node becomes a member.
func (p *Pool) SetAddr(id dsv.NodeID, addr string) {
	if id == p.cfg.Self {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.remotes[id]; r != nil {
		r.setAddr(addr)
		return
	}
	r := newRemote(id, addr)
	p.remotes[id] = r
	if p.started && !p.closed {
		p.startDialing(r)
	}
}

// Connected reports whether a call to the node would be sent now.
func (p *Pool) Connected(id dsv.NodeID) bool {
	r := p.remote(id)
	return r != nil && r.cur.Load() != nil
}

// WaitConnected returns when there is a connection to the node, or ctx's
// error. ErrNotConnected for a node that is no member.
func (p *Pool) WaitConnected(ctx context.Context, id dsv.NodeID) error {
	r := p.remote(id)
	if r == nil {
		return ErrNotConnected
	}
	for {
		changed := r.change()
		if r.cur.Load() != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// RTT is the smoothed round trip to the node, measured each second; false
// without a connection or before the first measurement.
func (p *Pool) RTT(id dsv.NodeID) (time.Duration, bool) {
	if r := p.remote(id); r != nil {
		if m := r.cur.Load(); m != nil {
			d := m.rtt.Load()
			return time.Duration(d), d > 0
		}
	}
	return 0, false
}

// Stats are counts since NewPool.
type Stats struct {
	Connects  uint64 // connections that came to be
	FramesOut uint64
	WritesOut uint64 // each carried one or more frames
	Late      uint64 // answers that nobody waited for any more
	TooMany   uint64 // requests refused over MaxInFlight
}

type counters struct{ connects, framesOut, writesOut, late, tooMany atomic.Uint64 }

// Stats returns the counts.
func (p *Pool) Stats() Stats {
	c := &p.stats
	return Stats{c.connects.Load(), c.framesOut.Load(), c.writesOut.Load(), c.late.Load(), c.tooMany.Load()}
}
