package coordinator

import (
	"context"
	"sync"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/txn"
)

var batchKinds = map[BatchKind]metapb.OpKind{
	BatchCreate: metapb.OpKind_CREATE, BatchUpdate: metapb.OpKind_UPDATE, BatchPut: metapb.OpKind_PUT,
	BatchDelete: metapb.OpKind_DELETE, BatchUndelete: metapb.OpKind_UNDELETE, BatchDestroy: metapb.OpKind_DESTROY,
}

// Batch runs all operations or none, at one point in the order: either writes,
// or gets behind one barrier. Equal values are not compared.
func (c *Coordinator) Batch(ctx context.Context, s *Session, b Batch) (BatchResult, error) {
	gets, err := c.checkBatch(s, b)
	if err != nil {
		return BatchResult{}, err
	}
	if gets {
		return c.batchGet(ctx, s, b)
	}
	ops := make([]txn.Op, len(b.Ops))
	for i, o := range b.Ops {
		ops[i] = txn.Op{Kind: batchKinds[o.Kind], Key: o.Key, Value: o.Value, IfVersion: o.IfVersion}
		if o.Kind == BatchDestroy {
			d, err := destroyOp(o.Key, o.Versions, o.All)
			if err != nil {
				return BatchResult{}, at(err, i)
			}
			d.IfVersion = o.IfVersion
			ops[i] = d
		}
	}
	out, pos, err := c.write(ctx, s, c.request(s, b.NS, b.Meta, 0, ops...), "batch")
	return BatchResult{Written: out, Position: pos}, err
}

func at(err error, i int) error {
	e := *dsv.AsError(err)
	e.Index = i + 1
	return &e
}

// checkBatch judges rights and shape; gets tells that all operations are gets.
func (c *Coordinator) checkBatch(s *Session, b Batch) (gets bool, err error) {
	if len(b.Ops) == 0 || len(b.Ops) > dsv.MaxBatchOps {
		return false, dsv.Invalid("operations", "must be 1 to 256")
	}
	seen := make(map[dsv.Key]bool, len(b.Ops))
	n := 0
	for i, o := range b.Ops {
		verb := auth.Read
		if o.Kind == BatchGet {
			n++
		} else {
			kind, ok := batchKinds[o.Kind]
			if !ok {
				return false, at(dsv.Invalid("op", "is not get, create, update, put, delete, undelete or destroy"), i)
			}
			verb = verbOfKind[kind]
		}
		if err := s.Caller.Allow(verb, b.NS, o.Key); err != nil {
			return false, err
		}
		if o.Kind != BatchGet && seen[o.Key] {
			return false, at(dsv.Invalid("key", "is named twice"), i)
		}
		seen[o.Key] = true
	}
	if n > 0 && n < len(b.Ops) {
		return false, dsv.Invalid("operations", "mix gets with writes: send two batches")
	}
	return n > 0, nil
}

// getsAtOnce bounds the reads of one batch that are under way together.
const getsAtOnce = 16

func (c *Coordinator) batchGet(ctx context.Context, s *Session, b Batch) (BatchResult, error) {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	p := c.rep.PartitionOf(b.NS)
	pos, err := c.rep.Barrier(ctx, p)
	if err != nil {
		return BatchResult{}, withOp(err, "batch", b.NS.String())
	}
	tx, err := c.beginView()
	if err != nil {
		return BatchResult{}, err
	}
	defer func() { _ = tx.Abort() }()
	questions := make([]*question, len(b.Ops))
	for i, o := range b.Ops { // one snapshot for all: one point in the order
		path := dsv.Path{NS: b.NS, Key: o.Key}
		ch, err := picker(p, Read{Path: path, Version: o.Version})(tx)
		if err != nil {
			return BatchResult{}, err
		}
		if ch.err != nil {
			return BatchResult{}, at(withOp(ch.err, "batch", path.String()), i)
		}
		questions[i] = &question{path: path, proof: s.proof(auth.Read), value: true, proofBy: proofDone,
			pick: picker(p, Read{Path: path, Version: ch.version.Number})}
	}
	out := BatchResult{Found: make([]Found, len(b.Ops)), Position: pos}
	errs := make([]error, len(b.Ops))
	var wg sync.WaitGroup
	slots := make(chan struct{}, getsAtOnce)
	for i, q := range questions {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			a, err := c.read(ctx, q)
			if err == nil {
				err = a.err
			}
			errs[i] = err
			out.Found[i] = Found{Version: versionOf(a.version), Value: a.value, Position: pos}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return BatchResult{}, at(withOp(err, "batch", questions[i].path.String()), i)
		}
	}
	return out, nil
}
