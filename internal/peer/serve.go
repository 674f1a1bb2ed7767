package peer

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
)

// serveTimeout bounds what one request of a peer may take here.
const serveTimeout = 5 * time.Second

// Serve answers one request of a member: it judges the caller by itself, then
// asks the replica. It is the Handler of the pool.
func (p *Peers) Serve(ctx context.Context, from dsv.NodeID, kind byte, req []byte) ([]byte, error) {
	rep := p.rep.Load()
	if rep == nil {
		return nil, errSealed
	}
	if kind == kindFetch { // it waits for nothing but settings, see judge
		return p.serveFetch(ctx, rep, from, req)
	}
	ctx, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	switch kind {
	case kindStage:
		return p.serveStage(ctx, rep, from, req)
	case kindRevoke:
		t, inc, err := decodeRevoke(req)
		if err != nil {
			return nil, err
		}
		return nil, rep.Revoke(ctx, from, inc, t)
	case kindInfo:
		return encodeInfo(infoOf(rep)), nil
	}
	return nil, dsv.Invalid("kind", "is not one this node knows")
}

func (p *Peers) serveStage(ctx context.Context, rep *replica.Replica, from dsv.NodeID, req []byte) ([]byte, error) {
	q, proof, err := decodeStage(req)
	if err != nil {
		return nil, err
	}
	if int(q.Tx.Partition) >= rep.Partitions() {
		return nil, dsv.Invalid("txid", "is of a partition that does not exist")
	}
	q.Coordinator = from
	for _, o := range q.Ops {
		repair := o.Kind == metapb.OpKind_REPAIR
		if repair != proof.Repair {
			return nil, dsv.Invalid("kind", "does not go with its proof")
		}
		verb, ok := VerbOf(o.Kind)
		if !ok {
			return nil, dsv.Invalid("kind", "is not one this node knows")
		}
		proof.Verbs = verb
		if err := p.judge(ctx, rep, from, proof, dsv.Path{NS: q.NS, Key: o.Key}); err != nil {
			return nil, err
		}
	}
	id, err := rep.Stage(ctx, q)
	if err != nil {
		return nil, err
	}
	return id[:], nil
}

func (p *Peers) serveFetch(ctx context.Context, rep *replica.Replica, from dsv.NodeID, req []byte) ([]byte, error) {
	q, proof, err := decodeFetch(req)
	if err != nil {
		return nil, err
	}
	if !proof.Repair && !q.Set.IsZero() && !q.Probe {
		proof.Verbs |= auth.Read
	}
	if err := p.judge(ctx, rep, from, proof, q.Path); err != nil {
		return nil, err
	}
	a, err := rep.Fetch(ctx, q)
	if err != nil {
		return nil, err
	}
	return encodeAnswer(a), nil
}

// VerbOf is the right that an operation needs; PUT needs update and create.
func VerbOf(k metapb.OpKind) (auth.Verb, bool) {
	switch k {
	case metapb.OpKind_CREATE:
		return auth.Create, true
	case metapb.OpKind_UPDATE:
		return auth.Update, true
	case metapb.OpKind_PUT:
		return auth.Create | auth.Update, true
	case metapb.OpKind_DELETE:
		return auth.Delete, true
	case metapb.OpKind_UNDELETE:
		return auth.Undelete, true
	case metapb.OpKind_DESTROY:
		return auth.Destroy, true
	case metapb.OpKind_REPAIR:
		return 0, true
	}
	return 0, false
}

// judge decides whether a request may be served: a repair by the identity of
// the node that asks (a holder of the namespace), everything else by the
// caller's own proof, at the revision the coordinator judged by or a newer one.
func (p *Peers) judge(ctx context.Context, rep *replica.Replica, from dsv.NodeID, proof Proof, path dsv.Path) error {
	if proof.Repair {
		holders, err := rep.Holders(path.NS)
		if err != nil {
			return err
		}
		for _, h := range holders {
			if h == from {
				return nil
			}
		}
		return dsv.E(dsv.KindDenied, dsv.CodeDenied, "only a holder of the namespace may repair it")
	}
	if proof.Verbs == 0 {
		return dsv.E(dsv.KindDenied, dsv.CodeDenied, "the caller may not do this here")
	}
	if err := rep.Judging(); err != nil {
		return err
	}
	if rep.Book().Revision() < proof.Revision {
		pos := dsv.Position{Partition: commitlog.Control, Offset: int64(proof.Revision) - 1}
		ctx, cancel := context.WithTimeout(ctx, serveTimeout)
		defer cancel()
		if err := rep.WaitApplied(ctx, pos); err != nil {
			return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, Detail: "this node has not applied the settings the request was judged by", Err: err}
		}
	}
	token, err := auth.ParseToken(proof.Token.Reveal())
	if err != nil {
		return dsv.E(dsv.KindUnauthenticated, dsv.CodeUnauthenticated, "the caller's proof is not valid")
	}
	caller, err := rep.Book().Authenticate(token, time.Now().UnixMicro())
	if err != nil {
		return err
	}
	return caller.Allow(proof.Verbs, path.NS, path.Key)
}

func infoOf(rep *replica.Replica) Info {
	st := rep.Stats()
	i := Info{Shards: st.Shards, Holes: st.Holes, Staged: st.Staged}
	for _, p := range st.Partitions {
		i.Position += p.Head.Offset + 1
	}
	return i
}
