package peer

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
)

// Call sends a request and waits for its answer, which is the caller's own.
// ErrNotConnected, ErrTooLarge and ErrBusy mean that nothing was sent; ctx's
// error and ErrConnLost leave open whether the request was handled; anything
// else is the *dsv.Error of the handler (KindTooMany: it was not run). ctx's
// deadline goes along, so the handler stops too. A pool has no connection to
// its own node.
func (p *Pool) Call(ctx context.Context, to dsv.NodeID, kind byte, req []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := p.mux(to)
	if err != nil {
		return nil, err
	}
	var left time.Duration
	if t, ok := ctx.Deadline(); ok {
		if left = time.Until(t); left <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	w := p.waiters.Get().(*waiter)
	id, err := m.request(kind, left, req, w.done)
	if err != nil {
		p.waiters.Put(w)
		return nil, err
	}
	select {
	case r := <-w.answer:
		p.waiters.Put(w)
		return r.resp, r.err
	case <-ctx.Done():
		if m.forget(id) { // else an answer is on its way into w: it is not used again
			p.waiters.Put(w)
		}
		return nil, ctx.Err()
	}
}

// Go is Call without a goroutine and without a deadline: done gets the result,
// once. It runs on a goroutine that serves the connection, or on the caller's
// before Go returns if nothing could be sent; it must not block, and the
// caller must hold no lock that done takes. cancel gives the call up: done
// does not run any more, unless it has begun to.
func (p *Pool) Go(to dsv.NodeID, kind byte, req []byte, done func(resp []byte, err error)) (cancel func()) {
	m, err := p.mux(to)
	var id uint64
	if err == nil {
		id, err = m.request(kind, 0, req, done)
	}
	if err != nil {
		done(nil, err)
		return func() {}
	}
	return func() { m.forget(id) }
}

func (p *Pool) mux(to dsv.NodeID) (*mux, error) {
	if r := p.remote(to); r != nil {
		if m := r.cur.Load(); m != nil {
			return m, nil
		}
	}
	return nil, ErrNotConnected
}

type result struct {
	resp []byte
	err  error
}

// waiter is the receiving end of a Call, used again and again.
type waiter struct {
	answer chan result
	done   func([]byte, error)
}

func newWaiter() *waiter {
	w := &waiter{answer: make(chan result, 1)}
	w.done = func(resp []byte, err error) { w.answer <- result{resp, err} }
	return w
}
