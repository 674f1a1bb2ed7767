package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
)

// Errors of the transport. An error of the remote handler is a *dsv.Error
// instead.
var (
	// ErrNotConnected: there is no connection to that node; nothing was sent.
	ErrNotConnected = errors.New("peer: not connected")
	// ErrConnLost: the connection ended before the answer came. The request
	// may or may not have been handled.
	ErrConnLost = errors.New("peer: connection lost before the answer")
	// ErrTooLarge: the request does not fit MaxFrame; nothing was sent.
	ErrTooLarge = errors.New("peer: request larger than a frame may be")
	// ErrBusy: too many bytes wait to be sent to that node; nothing was sent.
	ErrBusy = errors.New("peer: send queue is full")
)

// Why a connection ended.
var (
	errClosed   = errors.New("peer: closed here")
	errReplaced = errors.New("peer: replaced by a newer connection")
	errHung     = errors.New("peer: no answer to a ping")
	errFlooded  = errors.New("peer: the peer does not read its answers")
)

const (
	pingEvery = time.Second
	hungAfter = 3 * time.Second
	chunkSize = 64 << 10 // progress of larger frames counts as a sign of life
)

var errTooMany = dsv.E(dsv.KindTooMany, dsv.CodeTooMany, "too many requests of this node are being handled")

// mux is one connection after its hellos: a reader, a writer and a keepalive,
// owned by run.
//
// Invariant: a request's entry in pending is removed by exactly one of its
// answer, its caller's forget and fail, and only the remover acts on it. So
// done runs at most once, and never after a forget that returned true.
type mux struct {
	pool   *Pool
	remote *remote
	nonce  [16]byte // of the dialer's process
	dial   uint64   // the dialer's count
	nc     net.Conn
	raw    net.Conn // under nc's TLS: closing it never blocks
	r      *bufio.Reader
	ctx    context.Context // of the handlers
	cancel context.CancelFunc

	mu      sync.Mutex
	room    sync.Cond // the writer took what was queued, or the end
	out     []byte    // whole frames, not yet taken by the writer
	spare   []byte
	lastID  uint64
	pending map[uint64]func([]byte, error)
	err     error // why it ended; set once

	wake     chan struct{} // out is no longer empty
	done     chan struct{} // closed by fail
	handling atomic.Int32
	progress atomic.Int64 // ns since born: a piece of a large frame moved
	pingID   atomic.Uint64
	pingAt   atomic.Int64 // ns since born
	pongID   atomic.Uint64
	rtt      atomic.Int64 // ns, smoothed; 0 = none yet
	born     time.Time
}

func newMux(p *Pool, r *remote, h hello, nc, raw net.Conn, br *bufio.Reader) *mux {
	m := &mux{
		pool: p, remote: r, nonce: h.nonce, dial: h.dial, nc: nc, raw: raw, r: br,
		pending: map[uint64]func([]byte, error){},
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		born:    time.Now(),
	}
	m.room.L = &m.mu
	m.ctx, m.cancel = context.WithCancel(p.ctx)
	return m
}

// run serves the connection until it fails and returns why.
func (m *mux) run() error {
	var wg sync.WaitGroup
	wg.Go(m.writeLoop)
	wg.Go(m.keepalive)
	m.fail(m.readLoop())
	wg.Wait()
	return m.err
}

// fail ends the connection once: nobody can call any more, every pending call
// is answered, the handlers' context ends.
func (m *mux) fail(err error) {
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return
	}
	m.err = err
	lost := m.pending
	m.pending = nil
	clear(m.out)
	m.out = nil
	m.room.Broadcast()
	m.mu.Unlock()

	close(m.done)
	m.cancel()
	_ = m.raw.Close()
	m.remote.drop(m)
	if len(lost) > 0 {
		cause := fmt.Errorf("%w: %w", ErrConnLost, err)
		for _, done := range lost {
			done(nil, cause)
		}
	}
}

// request queues a request and registers done for its answer.
func (m *mux) request(kind byte, left time.Duration, body []byte, done func([]byte, error)) (uint64, error) {
	if frameOverhead+requestHead+len(body) > m.pool.cfg.MaxFrame {
		return 0, ErrTooLarge
	}
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return 0, ErrNotConnected
	}
	if len(m.out) > m.pool.maxQueued {
		m.mu.Unlock()
		return 0, ErrBusy
	}
	m.lastID++
	id := m.lastID
	m.pending[id] = done
	idle := len(m.out) == 0
	m.out = appendRequest(m.out, id, kind, left, body)
	m.mu.Unlock()
	m.queued(idle)
	return id, nil
}

// forget gives a call up: true if its done has not run and will not.
func (m *mux) forget(id uint64) bool { return m.take(id) != nil }

func (m *mux) take(id uint64) func([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := m.pending[id]
	delete(m.pending, id)
	return done
}

func (m *mux) waiting(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pending[id] != nil
}

// answer queues a handler's result; it waits while the queue is full, and its
// request counts as being handled until then.
func (m *mux) answer(id uint64, resp []byte, err error) {
	typ := frameResponse
	if err == nil && frameOverhead+len(resp) > m.pool.cfg.MaxFrame {
		err = dsv.E(dsv.KindInternal, dsv.CodeInternal, "the answer is larger than a frame may be")
	}
	if err != nil {
		typ, resp = frameError, encodeError(err)
	}
	m.mu.Lock()
	for len(m.out) > m.pool.maxQueued && m.err == nil {
		m.room.Wait()
	}
	m.handling.Add(-1) // before the caller can have the answer and ask again
	m.enqueue(typ, id, resp)
}

// control queues a small frame without waiting; a peer that lets them pile up
// is cut off.
func (m *mux) control(typ frameType, id uint64, payload []byte) {
	m.mu.Lock()
	if len(m.out) > 2*m.pool.maxQueued {
		m.mu.Unlock()
		m.fail(errFlooded)
		return
	}
	m.enqueue(typ, id, payload)
}

// enqueue appends a frame and unlocks m.mu.
func (m *mux) enqueue(typ frameType, id uint64, payload []byte) {
	if m.err != nil {
		m.mu.Unlock()
		return
	}
	idle := len(m.out) == 0
	m.out = append(appendHeader(m.out, typ, id, len(payload)), payload...)
	m.mu.Unlock()
	m.queued(idle)
}

func (m *mux) queued(wasIdle bool) {
	m.pool.stats.framesOut.Add(1)
	if !wasIdle {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mux) age() int64 { return int64(time.Since(m.born)) }
