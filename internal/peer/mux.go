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
// Where next to nothing is going on, who queues a frame also sends it, so that
// no other goroutine has to be woken first; as soon as there is company the
// writer does, and what is queued meanwhile makes its next batch.
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

	eager *eagerConn // under nc; nil: it always waits

	mu      sync.Mutex
	room    sync.Cond // what was queued was taken to be written, or the end
	out     []byte    // whole frames, not yet taken
	spare   []byte
	writing bool // somebody sees to out: the writer, or who just queued a frame
	lastID  uint64
	pending map[uint64]func([]byte, error)
	err     error // why it ended; set once

	wake     chan struct{} // the writer is to see to out
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
	m.eager, _ = raw.(*eagerConn)
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
	m.out = appendRequest(m.out, id, kind, left, body)
	m.queued(len(m.pending) <= alone)
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
	left := m.handling.Add(-1) // before the caller can have the answer and ask again
	m.enqueue(typ, id, resp, left < alone)
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
	m.enqueue(typ, id, payload, false)
}

// alone is how many requests may be under way for a frame to be sent by who
// queues it.
const alone = 2

// enqueue appends a frame and unlocks m.mu.
func (m *mux) enqueue(typ frameType, id uint64, payload []byte, few bool) {
	if m.err != nil {
		m.mu.Unlock()
		return
	}
	m.out = append(appendHeader(m.out, typ, id, len(payload)), payload...)
	m.queued(few)
}

// queued has what is queued sent, here if few and the kernel takes it at once.
// It unlocks m.mu.
func (m *mux) queued(few bool) {
	m.pool.stats.framesOut.Add(1)
	if m.writing {
		m.mu.Unlock()
		return
	}
	m.writing = true
	if !few || m.eager == nil || len(m.out) > maxEager {
		m.mu.Unlock()
		m.wake <- struct{}{} // one slot, for who has set writing
		return
	}
	buf := m.takeOut()
	m.mu.Unlock()

	m.eager.setEager(true)
	_, err := m.nc.Write(buf)
	m.eager.setEager(false)
	m.written(buf)
	if err != nil {
		m.fail(err)
		return
	}
	more := m.eager.pending()
	m.mu.Lock()
	more = more || len(m.out) > 0
	m.writing = more
	m.mu.Unlock()
	if more {
		m.wake <- struct{}{}
	}
}

// takeOut takes the frames that are queued. Called locked.
func (m *mux) takeOut() []byte {
	buf := m.out
	m.out, m.spare = m.spare, nil
	m.room.Broadcast()
	return buf
}

// written ends the use of a batch.
func (m *mux) written(buf []byte) {
	m.pool.stats.writesOut.Add(1)
	clear(buf)
	if cap(buf) <= maxSpare {
		m.mu.Lock()
		m.spare = buf[:0]
		m.mu.Unlock()
	}
}

func (m *mux) age() int64 { return int64(time.Since(m.born)) }
