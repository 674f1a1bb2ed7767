package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
)

const (
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
	steadyTime = 5 * time.Second // a connection that held so long ends a streak of failures
	readBuffer = 64 << 10
)

// remote is another member and the connection to it, if any.
type remote struct {
	id  dsv.NodeID
	cur atomic.Pointer[mux] // written under mu

	mu      sync.Mutex
	addr    string
	newAddr chan struct{} // cap 1: addr has changed
	changed chan struct{} // closed and made anew when cur changes
	nonce   [16]byte      // of the newest hello that was let in
	dial    uint64
	closed  bool
}

func newRemote(id dsv.NodeID, addr string) *remote {
	return &remote{id: id, addr: addr, newAddr: make(chan struct{}, 1), changed: make(chan struct{})}
}

// install puts a connection in the place of the one before, which is ended
// afterwards. It refuses one that its dialer made before the newest known.
func (r *remote) install(m *mux) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return errClosed
	}
	if m.nonce == r.nonce && m.dial < r.dial {
		r.mu.Unlock()
		return errReplaced
	}
	r.nonce, r.dial = m.nonce, m.dial
	old := r.cur.Swap(m)
	r.notify()
	r.mu.Unlock()
	if old != nil {
		old.fail(errReplaced)
	}
	return nil
}

// drop forgets a connection that has ended, if it is still the current one.
func (r *remote) drop(m *mux) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur.CompareAndSwap(m, nil) {
		r.notify()
	}
}

func (r *remote) close() {
	r.mu.Lock()
	r.closed = true
	m := r.cur.Load()
	r.mu.Unlock()
	if m != nil {
		m.fail(errClosed)
	}
}

func (r *remote) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *remote) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *remote) setAddr(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.addr == addr {
		return
	}
	r.addr = addr
	select {
	case r.newAddr <- struct{}{}:
	default:
	}
}

func (r *remote) address() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addr
}

// dialLoop keeps one connection to a larger node.
func (p *Pool) dialLoop(r *remote) {
	backoff, said := backoffMin, ""
	for n := uint64(1); p.ctx.Err() == nil; n++ {
		addr := r.address()
		m, err := p.connect(r, addr, n)
		if err == nil {
			p.log.Info("peer: connected", "peer", r.id, "addr", addr)
			err = m.run()
			if said = ""; time.Since(m.born) >= steadyTime {
				backoff = backoffMin
			}
		}
		if p.ctx.Err() != nil {
			return
		}
		if err.Error() != said {
			said = err.Error()
			p.log.Warn("peer: no connection", "peer", r.id, "addr", addr, "err", err)
		}
		if p.pause(backoff/2+rand.N(backoff/2+1), r.newAddr) {
			backoff = backoffMin
		} else {
			backoff = min(2*backoff, backoffMax)
		}
	}
}

// pause waits; true if early came first.
func (p *Pool) pause(d time.Duration, early <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-early:
		return true
	case <-t.C:
	case <-p.ctx.Done():
	}
	return false
}

// connect dials, proves both sides and installs the connection.
func (p *Pool) connect(r *remote, addr string, n uint64) (*mux, error) {
	if addr == "" {
		return nil, errors.New("peer: its address is not known")
	}
	ctx, cancel := context.WithTimeout(p.ctx, handshakeTime)
	defer cancel()
	raw, err := p.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	raw = eagerly(raw)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	m, err := p.greet(ctx, r, raw, n)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err == nil {
		err = r.install(m)
	}
	if err != nil {
		stop()
		_ = raw.Close()
		return nil, err
	}
	p.stats.connects.Add(1)
	return m, nil
}

func (p *Pool) greet(ctx context.Context, r *remote, raw net.Conn, n uint64) (*mux, error) {
	nc := raw
	if p.cfg.ClientTLS != nil {
		tc := tls.Client(raw, wholeRecords(p.cfg.ClientTLS(r.id)))
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		if err := p.checkName(tc, r.id); err != nil {
			return nil, err
		}
		nc = tc
	}
	mine := hello{nonce: p.nonce, dial: n, node: p.cfg.Self}
	if _, err := nc.Write(mine.append(nil)); err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(nc, readBuffer)
	theirs, err := readHello(br)
	if err != nil {
		return nil, err
	}
	if theirs.node != r.id || theirs.dial != n {
		return nil, fmt.Errorf("%w: %s answered as %s", errFrame, r.id, theirs.node)
	}
	return newMux(p, r, mine, nc, raw, br), nil
}

func (p *Pool) checkName(tc *tls.Conn, want dsv.NodeID) error {
	cs := tc.ConnectionState()
	got, err := p.cfg.PeerName(&cs)
	if err == nil && got != want {
		err = fmt.Errorf("peer: the certificate is of %s, not %s", got, want)
	}
	return err
}

// readHello takes a hello, or the error frame that refuses ours.
func readHello(r io.Reader) (hello, error) {
	var scratch [lengthSize + frameOverhead]byte
	h, err := readHeader(r, &scratch, maxHello)
	if err != nil {
		return hello{}, err
	}
	b := make([]byte, h.size)
	if _, err := io.ReadFull(r, b); err != nil {
		return hello{}, err
	}
	switch {
	case h.typ == frameHello:
		return parseHello(b)
	case h.typ == frameError && h.id == 0:
		return hello{}, fmt.Errorf("peer: refused: %w", decodeError(b))
	}
	return hello{}, fmt.Errorf("%w: type %d before the hello", errFrame, h.typ)
}
