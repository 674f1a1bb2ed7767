package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// ErrRefused is the cause of a dial to an address where nobody listens.
var ErrRefused = fmt.Errorf("memnet: %w", syscall.ECONNREFUSED)

// ErrReset is the cause of a read or write on a connection whose other side
// crashed.
var ErrReset = fmt.Errorf("memnet: %w", syscall.ECONNRESET)

// Net is one network. Make it with New; all methods are safe for concurrent
// use. A Net that is used inside a synctest bubble must be made there.
type Net struct {
	mu        sync.Mutex
	changed   sync.Cond // a heal, a listener, a dial's end
	listeners map[string]*listener
	links     map[link]*linkState
	conns     map[*conn]struct{}
	ports     int
}

type link struct{ from, to string }

type linkState struct {
	cut   bool
	delay func() time.Duration
}

// New makes a network without hosts, delays or cuts.
func New() *Net {
	n := &Net{
		listeners: map[string]*listener{},
		links:     map[link]*linkState{},
		conns:     map[*conn]struct{}{},
	}
	n.changed.L = &n.mu
	return n
}

func hostOf(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}

func (n *Net) link(from, to string) *linkState {
	l := link{from, to}
	if n.links[l] == nil {
		n.links[l] = &linkState{}
	}
	return n.links[l]
}

// Delay sets how long each piece of data takes from one host to another (one
// direction). The function is never called by two goroutines at once; nil is
// no delay. Order is kept.
func (n *Net) Delay(from, to string, d func() time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).delay = d
}

// Cut stops one direction. Two calls cut both.
func (n *Net) Cut(from, to string) { n.setCut(from, to, true) }

// Heal undoes Cut for one direction; what was held back arrives.
func (n *Net) Heal(from, to string) { n.setCut(from, to, false) }

// CutBoth stops both directions between two hosts.
func (n *Net) CutBoth(a, b string) { n.Cut(a, b); n.Cut(b, a) }

// HealBoth undoes CutBoth.
func (n *Net) HealBoth(a, b string) { n.Heal(a, b); n.Heal(b, a) }

func (n *Net) setCut(from, to string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(from, to).cut = cut
	for c := range n.conns {
		if c.local.host == from && c.remote.host == to {
			c.out.setCut(cut)
			if c.closed && !cut {
				delete(n.conns, c)
			}
		}
	}
	n.changed.Broadcast()
}

// Crash closes the listeners of a host and resets its connections. The host
// may listen and dial again at once.
func (n *Net) Crash(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for addr, l := range n.listeners {
		if hostOf(addr) == host {
			l.shut()
			delete(n.listeners, addr)
		}
	}
	for c := range n.conns {
		if c.local.host == host {
			c.reset()
		}
	}
	n.changed.Broadcast()
}

// Listen opens a listener at "host:port".
func (n *Net) Listen(addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, &net.OpError{Op: "listen", Net: "mem", Addr: address(addr), Err: syscall.EADDRINUSE}
	}
	l := &listener{n: n, addr: addr}
	n.listeners[addr] = l
	n.changed.Broadcast()
	return l, nil
}

// Dial opens a connection from a host to an address. Where nobody listens it
// fails at once with ErrRefused; over a link that is cut in either direction
// it waits for the heal or the end of ctx.
func (n *Net) Dial(ctx context.Context, from, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "mem", Source: address(from), Addr: address(addr), Err: err}
	}
	to := hostOf(addr)
	if err := n.reach(ctx, from, to); err != nil {
		return fail(err)
	}
	if err := n.roundTrip(ctx, from, to); err != nil {
		return fail(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[addr]
	if l == nil {
		return fail(ErrRefused)
	}
	n.ports++
	return l.connect(endpoint{from, fmt.Sprintf("%s:%d", from, 40000+n.ports)}), nil
}

// reach waits until both directions are open.
func (n *Net) reach(ctx context.Context, from, to string) error {
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed.Broadcast()
	})
	defer stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.link(from, to).cut || n.link(to, from).cut {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n.changed.Wait()
	}
	return ctx.Err()
}

func (n *Net) roundTrip(ctx context.Context, from, to string) error {
	d := n.delay(from, to) + n.delay(to, from)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Net) delay(from, to string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if d := n.link(from, to).delay; d != nil {
		return d()
	}
	return 0
}

type address string

func (address) Network() string  { return "mem" }
func (a address) String() string { return string(a) }

type endpoint struct{ host, addr string }

// listener hands out the far ends of dialled connections; its fields are
// under the network's lock.
type listener struct {
	n      *Net
	addr   string
	queue  []*conn
	closed bool
}

func (l *listener) connect(from endpoint) net.Conn {
	here := endpoint{hostOf(l.addr), l.addr}
	there, back := newPipe(l.n, from.host, here.host), newPipe(l.n, here.host, from.host)
	near := &conn{n: l.n, local: from, remote: here, out: there, in: back}
	far := &conn{n: l.n, local: here, remote: from, out: back, in: there}
	l.n.conns[near], l.n.conns[far] = struct{}{}, struct{}{}
	l.queue = append(l.queue, far)
	l.n.changed.Broadcast()
	return near
}

func (l *listener) Accept() (net.Conn, error) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	for len(l.queue) == 0 {
		if l.closed {
			return nil, &net.OpError{Op: "accept", Net: "mem", Addr: address(l.addr), Err: net.ErrClosed}
		}
		l.n.changed.Wait()
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

// shut closes the listener and resets what nobody accepted; the lock is held.
func (l *listener) shut() {
	l.closed = true
	for _, c := range l.queue {
		c.reset()
	}
	l.queue = nil
}

func (l *listener) Close() error {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.shut()
	if l.n.listeners[l.addr] == l {
		delete(l.n.listeners, l.addr)
	}
	l.n.changed.Broadcast()
	return nil
}

func (l *listener) Addr() net.Addr { return address(l.addr) }
