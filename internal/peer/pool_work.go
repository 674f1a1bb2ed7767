package peer

import (
	"context"
	"sync"

	"github.com/dsvault/dsv"
)

// maxIdle is how many idle workers a pool keeps: their grown stacks are what
// makes them cheaper than a fresh goroutine.
const maxIdle = 64

// maxPooled is the largest request buffer that is used again.
const maxPooled = 64 << 10

// job is one request; its handler has been counted in m.handling.
type job struct {
	m   *mux
	id  uint64
	buf *[]byte
}

// dispatch hands a job to an idle worker or starts one. It never waits: the
// number of jobs is bounded by MaxInFlight per connection.
func (p *Pool) dispatch(j job) {
	select {
	case p.work <- j:
	default:
		p.wg.Go(func() { p.worker(j) })
	}
}

func (p *Pool) worker(j job) {
	for {
		p.serve(j)
		if p.idle.Add(1) > maxIdle {
			p.idle.Add(-1)
			return
		}
		select {
		case j = <-p.work:
			p.idle.Add(-1)
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *Pool) serve(j job) {
	m := j.m
	kind, left, body := splitRequest(*j.buf)
	ctx := m.ctx
	if left > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	resp, err := p.handle(ctx, m.remote.id, kind, body)
	m.answer(j.id, resp, err)
	p.bufs.put(j.buf)
}

func (p *Pool) handle(ctx context.Context, from dsv.NodeID, kind byte, body []byte) ([]byte, error) {
	if p.cfg.Handler == nil {
		return nil, dsv.E(dsv.KindUnavailable, dsv.CodeNotReady, "this node answers no peers")
	}
	resp, err := p.cfg.Handler(ctx, from, kind, body)
	if err != nil && ctx.Err() == nil && dsv.KindOf(err) == dsv.KindInternal {
		p.log.Error("peer: a request failed", "from", from, "kind", kind, "err", err)
	}
	return resp, err
}

// buffers are request buffers, wiped before they are used again.
type buffers struct{ pool sync.Pool }

func (b *buffers) get(n int) *[]byte {
	if x, ok := b.pool.Get().(*[]byte); ok && cap(*x) >= n {
		*x = (*x)[:n]
		return x
	}
	x := make([]byte, n, max(n, 1024))
	return &x
}

func (b *buffers) put(x *[]byte) {
	clear(*x)
	if cap(*x) <= maxPooled {
		b.pool.Put(x)
	}
}
