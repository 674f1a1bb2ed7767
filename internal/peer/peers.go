package peer

import (
	"context"
	"sync/atomic"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/replica"
)

// Peers speaks to the members of the cluster, this node included: what it asks
// of this node it asks of the replica directly.
type Peers struct {
	self dsv.NodeID
	pool *Pool
	rep  atomic.Pointer[replica.Replica]
}

// NewPeers makes the speaker of a node; the pool comes with Use because its
// Handler is Peers.Serve.
func NewPeers(self dsv.NodeID) *Peers { return &Peers{self: self} }

// Use gives the pool, before anything is asked.
func (p *Peers) Use(pool *Pool) { p.pool = pool }

// Open lets the node answer; before it, and after Open(nil), it is sealed.
func (p *Peers) Open(rep *replica.Replica) { p.rep.Store(rep) }

// Reachable reports whether a member can be asked now.
func (p *Peers) Reachable(n dsv.NodeID) bool { return n == p.self || p.pool.Connected(n) }

// Pool is the transport, for status.
func (p *Peers) Pool() *Pool { return p.pool }

// Stage asks one holder to store its part. done is called once, with the
// holder's store id when the part is durable there; for this node itself that
// is before Stage returns.
func (p *Peers) Stage(ctx context.Context, to dsv.NodeID, q replica.StageRequest, proof Proof, done func(dsv.StoreID, error)) (cancel func()) {
	if to == p.self {
		if rep := p.rep.Load(); rep != nil {
			done(rep.Stage(ctx, q))
		} else {
			done(dsv.StoreID{}, errSealed)
		}
		return func() {}
	}
	frame := encodeStage(q, proof)
	defer clear(frame) // Go copies it
	return p.pool.Go(to, kindStage, frame, func(resp []byte, err error) {
		var id dsv.StoreID
		if err == nil && len(resp) != len(id) {
			err = errMessage
		}
		copy(id[:], resp)
		done(id, err)
	})
}

var errSealed = &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeSealed, Detail: "this node is sealed"}

// Revoke asks a holder to drop what was staged there; nobody waits for it.
func (p *Peers) Revoke(ctx context.Context, to dsv.NodeID, t dsv.TxID, inc dsv.Incarnation) {
	if to == p.self {
		if rep := p.rep.Load(); rep != nil {
			_ = rep.Revoke(ctx, p.self, inc, t)
		}
		return
	}
	p.pool.Go(to, kindRevoke, encodeRevoke(t, inc), func([]byte, error) {})
}

// Info asks a member about its copy.
func (p *Peers) Info(ctx context.Context, to dsv.NodeID) (Info, error) {
	if to == p.self {
		rep := p.rep.Load()
		if rep == nil {
			return Info{}, errSealed
		}
		return infoOf(rep), nil
	}
	resp, err := p.pool.Call(ctx, to, kindInfo, nil)
	if err != nil {
		return Info{}, err
	}
	return decodeInfo(resp)
}
