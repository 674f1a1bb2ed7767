package coordinator

import (
	"context"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/txn"
)

// Update stores a new version of a live secret (404 missing). With the value
// that is current already, by a caller who may read it, nothing changes.
func (c *Coordinator) Update(ctx context.Context, s *Session, w Write) (Written, error) {
	if err := s.Caller.Allow(auth.Update, w.Path.NS, w.Path.Key); err != nil {
		return Written{}, err
	}
	return c.replace(ctx, s, w, metapb.OpKind_UPDATE, auth.Update, "update")
}

// Put is create or update, whichever fits when it is decided.
func (c *Coordinator) Put(ctx context.Context, s *Session, w Write) (Written, error) {
	if err := s.Caller.Allow(auth.Create|auth.Update, w.Path.NS, w.Path.Key); err != nil {
		return Written{}, err
	}
	return c.replace(ctx, s, w, metapb.OpKind_PUT, auth.Create|auth.Update, "put")
}

func (c *Coordinator) replace(ctx context.Context, s *Session, w Write, kind metapb.OpKind, verb auth.Verb, op string) (Written, error) {
	o := txn.Op{Kind: kind, Key: w.Path.Key, Value: w.Value, IfVersion: w.IfVersion}
	req := c.request(s, w.Path.NS, w.Meta, verb, o)
	if s.Caller.Allow(auth.Read, w.Path.NS, w.Path.Key) == nil {
		req.Gate = c.compare(s, w)
	}
	return c.one(ctx, s, req, op)
}

// compare is the gate of an update: it rebuilds the current value while the
// new one is staged. The version it compares is proven current by k holders'
// answers (this transaction left out) or by the transaction's own PREPARE
// applied here, whichever comes first. Another padded size, another version
// than if_version names, or a value not rebuilt in time counts as different:
// the log then decides.
func (c *Coordinator) compare(s *Session, w Write) txn.Gate {
	return func(ctx context.Context, a txn.Attempt) (txn.Verdict, error) {
		ctx, cancel := context.WithTimeout(ctx, compareFor)
		defer cancel()
		q := &question{path: w.Path, proof: s.proof(auth.Read), value: true, pick: picker(c.rep.PartitionOf(w.Path.NS), Read{Path: w.Path}),
			exclude: a.Tx, prepared: a.Prepared, samePads: shard.PaddedSize(w.Value.Len())}
		got, err := c.read(ctx, q)
		if err != nil {
			if k := dsv.KindOf(err); k == dsv.KindDenied || k == dsv.KindUnauthenticated {
				return txn.Verdict{}, err
			}
			return txn.Verdict{}, nil
		}
		if got.err != nil || got.value.Reveal() == nil || w.IfVersion != nil && *w.IfVersion != got.version.Number {
			return txn.Verdict{}, nil
		}
		if got.value.Equal(w.Value) {
			return txn.Verdict{Unchanged: got.version.Number}, nil
		}
		return txn.Verdict{}, nil
	}
}
