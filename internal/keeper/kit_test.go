package keeper

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
)

// memNet is a network in memory.
type memNet struct {
	mu        sync.Mutex
	listeners map[string]*memListener
	latency   func() time.Duration                             // of one write; nil: none
	wrap      func(id dsv.NodeID, h http.Handler) http.Handler // around a keeper's routes; nil: none
}

func newMemNet() *memNet { return &memNet{listeners: map[string]*memListener{}} }

type memListener struct {
	net  *memNet
	addr string
	in   chan net.Conn
	done chan struct{}
	once sync.Once
}

func (n *memNet) listen(addr string) *memListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &memListener{net: n, addr: addr, in: make(chan net.Conn), done: make(chan struct{})}
	n.listeners[addr] = l
	return l
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.in:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.listeners[l.addr] == l {
			delete(l.net.listeners, l.addr)
		}
	})
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr(l.addr) }

type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }

func (n *memNet) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	l, latency := n.listeners[addr], n.latency
	n.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	if latency != nil {
		a, b = slow(a, latency), slow(b, latency)
	}
	select {
	case l.in <- b:
		return a, nil
	case <-l.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// slowConn delivers what is written later, in order, also what was written
// before it was closed: who gave up waiting cannot take back what is under way.
type slowConn struct {
	net.Conn
	latency func() time.Duration
	out     chan []byte // nil: close
	closed  *atomic.Bool
}

func slow(c net.Conn, latency func() time.Duration) net.Conn {
	s := slowConn{c, latency, make(chan []byte, 1000), new(atomic.Bool)}
	go func() {
		for b := range s.out {
			if b == nil {
				_ = c.Close()
				return
			}
			time.Sleep(latency())
			if _, err := c.Write(b); err != nil {
				_ = c.Close()
				return
			}
		}
	}()
	return s
}

func (c slowConn) Write(b []byte) (int, error) {
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	c.out <- bytes.Clone(b)
	return len(b), nil
}

// Close wakes who reads here, but the other side sees it in its turn.
func (c slowConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.out <- nil
	}
	return c.Conn.SetReadDeadline(time.Unix(1, 0))
}

// proc is a keeper process in a test.
type proc struct {
	*Server
	id   dsv.NodeID
	stop func() // like kill: memory is gone
}

func (n *memNet) start(t testing.TB, id dsv.NodeID) *proc {
	t.Helper()
	s, err := NewServer(ServerConfig{Listener: n.listen(string(id)), Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if n.wrap != nil {
		s.http.Handler = n.wrap(id, s.http.Handler)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background()) }()
	stop := sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Errorf("keeper %s: close: %v", id, err)
		}
		if err := <-done; err != nil {
			t.Errorf("keeper %s: %v", id, err)
		}
	})
	t.Cleanup(stop)
	return &proc{s, id, stop}
}

func (p *proc) share(node dsv.NodeID) []byte {
	a, _ := p.shelf.get(node)
	return a.body
}

// plant puts bytes into a keeper behind the back of its rules.
func (p *proc) plant(t testing.TB, node dsv.NodeID, generation uint64, b []byte) {
	t.Helper()
	p.shelf.mu.Lock()
	delete(p.shelf.slots, node)
	p.shelf.mu.Unlock()
	if _, err := p.shelf.put(node, generation, nil, b); err != nil {
		t.Fatal(err)
	}
}

// world is a network with three keepers, k1 to k3.
type world struct {
	*memNet
	t    *testing.T
	k    []*proc
	logs *logBuffer
}

func newWorld(t *testing.T) *world {
	w := &world{memNet: newMemNet(), t: t, logs: &logBuffer{}}
	for _, id := range []dsv.NodeID{"k1", "k2", "k3"} {
		w.k = append(w.k, w.start(t, id))
	}
	return w
}

func (w *world) restart(i int) {
	w.k[i].stop()
	w.k[i] = w.start(w.t, w.k[i].id)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) custodian(node dsv.NodeID) *Custodian {
	w.t.Helper()
	c, err := New(CustodianConfig{
		Cluster: "c1", Node: node, Threshold: 2, Dial: w.dial, Insecure: true,
		Keepers: []Target{{"k3", "k3"}, {"k1", "k1"}, {"k2", "k2"}},
		Logger:  textLogger(w.logs),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// obtain waits for a root key for up to an hour of the bubble's time.
func (w *world) obtain(c *Custodian, opt ObtainOptions) (*Root, Collected) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	root, got, err := c.Obtain(ctx, opt)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(root.Wipe)
	if root.Check() != got.Check {
		w.t.Fatal("the root key is not the one collected")
	}
	return root, got
}

// sealed demands that no root key is had within d.
func (w *world) sealed(c *Custodian, opt ObtainOptions, d time.Duration) error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_, _, err := c.Obtain(ctx, opt)
	if dsv.CodeOf(err) != dsv.CodeSealed || dsv.KindOf(err) != dsv.KindUnavailable || !errors.Is(err, context.DeadlineExceeded) {
		w.t.Fatalf("not sealed: %v", err)
	}
	return err
}

// dayZero makes the root key of node n1 and returns it with its three shares.
func (w *world) dayZero() (Check, dsv.Secret, [][]byte) {
	w.t.Helper()
	c := w.custodian("n1")
	root, got := w.obtain(c, ObtainOptions{NewDirectory: true})
	if !got.Fresh {
		w.t.Fatal("the key is not new")
	}
	key := root.Derive("test")
	_ = c.Close()
	var shares [][]byte
	for _, k := range w.k {
		shares = append(shares, k.share("n1"))
	}
	return got.Check, key, shares
}

func (w *world) old(check Check) ObtainOptions { return ObtainOptions{Known: &check} }

// run runs Run until stop is called.
func (w *world) run(c *Custodian, v Vault) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, v) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

type memVault struct {
	mu    sync.Mutex
	b     []byte
	saves int
	fail  error
}

func (v *memVault) LoadShares(context.Context) ([]byte, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return bytes.Clone(v.b), v.b != nil, v.fail
}

func (v *memVault) SaveShares(_ context.Context, b []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail != nil {
		return v.fail
	}
	v.b, v.saves = bytes.Clone(b), v.saves+1
	return nil
}

// kept is what the vault has, and how often it was written.
func (v *memVault) kept() ([]kept, int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	list, err := decodeKept(bytes.Clone(v.b))
	return list, v.saves, err
}

func (v *memVault) written() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.saves
}

// problem is what Status says of a keeper.
func problem(c *Custodian, id dsv.NodeID) string {
	for _, s := range c.Status() {
		if s.ID == id {
			return s.Problem
		}
	}
	return "no such keeper"
}

func wantProblem(t testing.TB, c *Custodian, id dsv.NodeID, part string) {
	t.Helper()
	if got := problem(c, id); part == "" && got != "" || !strings.Contains(got, part) {
		t.Errorf("keeper %s: problem %q, want %q", id, got, part)
	}
}

// bubble runs f with a clock of its own; every goroutine f starts must end.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func clone(list [][]byte) [][]byte {
	out := slices.Clone(list)
	for i, b := range out {
		out[i] = bytes.Clone(b)
	}
	return out
}

func randomBelow(r *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(d)))
}

func textLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
