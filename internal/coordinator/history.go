package coordinator

import (
	"context"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// History lists every version of a secret, the first one first, without
// values; also of a deleted one.
func (c *Coordinator) History(ctx context.Context, s *Session, q Read) ([]Version, dsv.Position, error) {
	if err := s.Caller.Allow(auth.History, q.Path.NS, q.Path.Key); err != nil {
		return nil, dsv.Position{}, err
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	qu := &question{path: q.Path, proof: s.proof(auth.History)}
	if _, err := c.ready(ctx, Read{Path: q.Path, Consistency: q.Consistency, MinPosition: q.MinPosition}, qu); err != nil {
		return nil, dsv.Position{}, withOp(err, "history", q.Path.String())
	}
	var versions []meta.Version
	qu.pick = func(tx store.Txn) (ch choice, err error) {
		versions, err = meta.History(tx, q.Path)
		if err == nil && len(versions) == 0 {
			ch.err = notFound()
		}
		return ch, err
	}
	a, err := c.read(ctx, qu)
	if err == nil {
		err = a.err
	}
	if err != nil {
		return nil, dsv.Position{}, withOp(err, "history", q.Path.String())
	}
	out := make([]Version, len(versions))
	for i, v := range versions {
		out[i] = versionOf(v)
	}
	return out, a.pos, nil
}
