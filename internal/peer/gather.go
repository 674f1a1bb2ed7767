package peer

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/replica"
)

// Reply is one holder's answer to a Gather, or why there is none.
type Reply struct {
	Node   dsv.NodeID
	Rank   int
	Answer replica.Answer
	Err    error
}

// Gathering asks the holders of one key, some at once and more as it is told.
// It is used by one goroutine; Close it.
type Gathering struct {
	peers   *Peers
	ctx     context.Context
	req     replica.FetchRequest
	proof   Proof
	frame   []byte
	holders []dsv.NodeID
	queue   []int // ranks not asked yet, in the order of asking
	asked   int
	got     int
	replies chan Reply
	cancels []func()
	late    atomic.Pointer[func(Reply)] // who gets replies after Leave
}

// Gather begins to ask: this node first where it is a holder, then connected
// holders in rank order, then the rest. Nothing is asked before More.
func (p *Peers) Gather(ctx context.Context, holders []dsv.NodeID, q replica.FetchRequest, proof Proof) *Gathering {
	g := &Gathering{peers: p, ctx: ctx, req: q, proof: proof, holders: holders,
		replies: make(chan Reply, len(holders)), queue: make([]int, 0, len(holders))}
	var rest []int
	for i, h := range holders { // each once, whatever becomes of its connection meanwhile
		switch {
		case h == p.self:
			g.queue = slices.Insert(g.queue, 0, i)
		case p.pool.Connected(h):
			g.queue = append(g.queue, i)
		default:
			rest = append(rest, i)
		}
	}
	g.queue = append(g.queue, rest...)
	return g
}

// Prefer moves the holders for which f is true to the front of those not asked.
func (g *Gathering) Prefer(f func(rank int) bool) {
	front, back := make([]int, 0, len(g.queue)), []int{}
	for _, r := range g.queue {
		if f(r) {
			front = append(front, r)
		} else {
			back = append(back, r)
		}
	}
	g.queue = append(front, back...)
}

// More asks up to n further holders and reports how many it asked.
func (g *Gathering) More(n int) int {
	n = min(n, len(g.queue))
	now := g.queue[:n]
	g.queue = g.queue[n:]
	g.asked += n
	local := -1
	for _, rank := range now { // remote ones first: they answer while this node reads its own
		if g.holders[rank] == g.peers.self {
			local = rank
			continue
		}
		g.askRemote(rank)
	}
	if local >= 0 {
		g.askLocal(local)
	}
	return n
}

func (g *Gathering) askLocal(rank int) {
	r := Reply{Node: g.peers.self, Rank: rank}
	if rep := g.peers.rep.Load(); rep != nil {
		r.Answer, r.Err = rep.Fetch(g.ctx, g.req)
	} else {
		r.Err = errSealed
	}
	g.replies <- r
}

func (g *Gathering) askRemote(rank int) {
	node := g.holders[rank]
	if g.frame == nil {
		g.frame = encodeFetch(g.req, g.proof)
	}
	cancel := g.peers.pool.Go(node, kindFetch, g.frame, func(resp []byte, err error) {
		r := Reply{Node: node, Rank: rank, Err: err}
		if err == nil {
			r.Answer, r.Err = decodeAnswer(resp)
		}
		g.replies <- r // room for each holder
		if g.late.Load() != nil {
			g.passOn()
		}
	})
	g.cancels = append(g.cancels, cancel)
}

// Outstanding is how many asked holders have not replied.
func (g *Gathering) Outstanding() int { return g.asked - g.got }

// Left is how many holders were not asked.
func (g *Gathering) Left() int { return len(g.queue) }

// Next waits for a reply. ok is false when hedge passed first (0 = no hedge),
// nothing is outstanding, or ctx ended.
func (g *Gathering) Next(ctx context.Context, hedge time.Duration) (Reply, bool) {
	select { // answers that are already here need no timer
	case r := <-g.replies:
		g.got++
		return r, true
	default:
	}
	if g.Outstanding() == 0 {
		return Reply{}, false
	}
	var timer <-chan time.Time
	if hedge > 0 {
		t := time.NewTimer(hedge)
		defer t.Stop()
		timer = t.C
	}
	select {
	case r := <-g.replies:
		g.got++
		return r, true
	case <-timer:
	case <-ctx.Done():
	}
	return Reply{}, false
}

// Leave ends the use of the gathering as Close does, but hands replies that
// still come to late, which must not block.
func (g *Gathering) Leave(late func(Reply)) {
	clear(g.frame)
	g.late.Store(&late)
	g.passOn()
}

// passOn hands what is in the channel to who gets late replies.
func (g *Gathering) passOn() {
	for {
		select {
		case r := <-g.replies:
			(*g.late.Load())(r)
		default:
			return
		}
	}
}

// Close drops what is outstanding.
func (g *Gathering) Close() {
	clear(g.frame) // the caller's token is in it
	for _, c := range g.cancels {
		c()
	}
}
