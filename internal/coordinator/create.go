package coordinator

import (
	"context"

	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/txn"
)

// Create stores the first version of a secret, or the next number after a
// delete. A live one is 409 exists.
func (c *Coordinator) Create(ctx context.Context, s *Session, w Write) (Written, error) {
	if err := s.Caller.Allow(auth.Create, w.Path.NS, w.Path.Key); err != nil {
		return Written{}, err
	}
	op := txn.Op{Kind: metapb.OpKind_CREATE, Key: w.Path.Key, Value: w.Value, IfVersion: w.IfVersion}
	return c.one(ctx, s, c.request(s, w.Path.NS, w.Meta, auth.Create, op), "create")
}
