package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/internal/txn"
)

// write runs one request's operations as a transaction, after it looked
// whether its idempotency key is answered already.
func (c *Coordinator) write(ctx context.Context, s *Session, req *txn.Request, op string) ([]Written, dsv.Position, error) {
	where := req.NS.String()
	if len(req.Ops) == 1 {
		where = dsv.Path{NS: req.NS, Key: req.Ops[0].Key}.String()
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	if len(req.IdempotencyKey) > dsv.MaxIdempotency {
		return nil, dsv.Position{}, dsv.Invalid("Idempotency-Key", "must be 1 to 128 characters")
	}
	if err := c.bounded(req); err != nil {
		return nil, dsv.Position{}, withOp(err, op, where)
	}
	if first, ok, err := c.answered(req); err != nil || ok {
		if err != nil {
			return nil, dsv.Position{}, withOp(err, op, where)
		}
		out, pos, err := c.repeat(ctx, s, req, first)
		return out, pos, withOp(err, op, where)
	}
	res, err := c.cfg.Runner.Run(ctx, req)
	if err != nil {
		return nil, dsv.Position{}, withOp(err, op, where)
	}
	if !res.Duplicate.IsZero() {
		if res.Status.Code == dsv.CodeIdempotencyReuse {
			return nil, dsv.Position{}, withOp(reused(), op, where)
		}
		out, pos, err := c.repeat(ctx, s, req, res.Duplicate)
		return out, pos, withOp(err, op, where)
	}
	return results(res.Status, res.Tx, res.Position), res.Position, nil
}

func results(st meta.TxStatus, tx dsv.TxID, pos dsv.Position) []Written {
	out := make([]Written, len(st.Results))
	for i, r := range st.Results {
		out[i] = written(r, tx, pos)
	}
	return out
}

// bounded checks sizes before anything is staged.
func (c *Coordinator) bounded(req *txn.Request) error {
	limit := c.cfg.MaxValue
	if limit <= 0 || limit > dsv.MaxValue {
		limit = dsv.MaxValue
	}
	total := 0
	for _, o := range req.Ops {
		if o.Value.Len() > limit {
			return &dsv.Error{Kind: dsv.KindTooLarge, Code: dsv.CodeTooLarge, Field: "value", Detail: "is larger than this cluster accepts"}
		}
		total += o.Value.Len()
	}
	if total > dsv.MaxBatchBytes {
		return &dsv.Error{Kind: dsv.KindTooLarge, Code: dsv.CodeTooLarge, Field: "operations", Detail: "hold more than 4 MiB of values"}
	}
	return nil
}

func reused() error {
	return &dsv.Error{Kind: dsv.KindUnprocessable, Code: dsv.CodeIdempotencyReuse, Field: "Idempotency-Key",
		Detail: "was used for another request; use a new one"}
}

// answered finds the transaction that answered the request's idempotency key,
// in what this node has applied. An outcome is final, so finding it is enough;
// not finding it decides nothing.
func (c *Coordinator) answered(req *txn.Request) (first dsv.TxID, ok bool, err error) {
	if req.IdempotencyKey == "" {
		return first, false, nil
	}
	err = c.rep.View(func(tx store.Txn) error {
		first, _, ok, err = meta.IdempotencyOutcome(tx, req.NS, req.Caller, req.IdempotencyKey)
		return err
	})
	return first, ok, err
}

// repeat answers a repetition from the kept outcome: the same operations (the
// log compares their shape) with the same values, where the caller may read
// and they can be rebuilt; anything else is a reuse of the key.
func (c *Coordinator) repeat(ctx context.Context, s *Session, req *txn.Request, first dsv.TxID) ([]Written, dsv.Position, error) {
	var st meta.TxStatus
	err := c.rep.View(func(tx store.Txn) (err error) {
		st, err = meta.LookupTx(tx, first)
		return err
	})
	if err != nil {
		return nil, dsv.Position{}, err
	}
	if !sameShapes(st.Shapes, req.Ops) {
		return nil, dsv.Position{}, reused()
	}
	for i, o := range req.Ops {
		if o.Value.Reveal() == nil || s.Caller.Allow(auth.Read, req.NS, o.Key) != nil || i >= len(st.Results) {
			continue
		}
		path := dsv.Path{NS: req.NS, Key: o.Key}
		q := &question{path: path, proof: s.proof(auth.Read), value: true, proofBy: proofDone,
			pick: picker(first.Partition, Read{Path: path, Version: st.Results[i].Version})}
		vctx, cancel := context.WithTimeout(ctx, compareFor)
		a, err := c.read(vctx, q)
		cancel()
		if err == nil && a.err == nil && !a.value.Equal(o.Value) {
			return nil, dsv.Position{}, reused()
		}
	}
	pos := dsv.Position{Partition: first.Partition, Offset: st.DecidedOffset}
	return results(st, first, pos), pos, nil
}

func sameShapes(shapes []*metapb.OpShape, ops []txn.Op) bool {
	if len(shapes) != len(ops) {
		return false
	}
	for i, o := range ops {
		s := shapes[i]
		same := s.GetKey() == o.Key.String() && s.GetKind() == o.Kind && s.GetAll() == o.All &&
			(s.IfVersion == nil) == (o.IfVersion == nil) && (o.IfVersion == nil || *s.IfVersion == *o.IfVersion) &&
			slices.Equal(s.GetVersions(), o.Versions)
		if !same {
			return false
		}
	}
	return true
}

// compareFor bounds the rebuilding of a value only to compare it.
const compareFor = 500 * time.Millisecond

// one runs a single operation and returns its only result.
func (c *Coordinator) one(ctx context.Context, s *Session, req *txn.Request, op string) (Written, error) {
	out, pos, err := c.write(ctx, s, req, op)
	if err != nil {
		return Written{}, err
	}
	if len(out) == 0 {
		return Written{Position: pos}, nil
	}
	return out[0], nil
}
