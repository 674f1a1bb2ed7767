package coordinator

import (
	"context"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

// MaxList is the most names of one page.
const MaxList = 1000

// List pages through the names of a namespace in byte order. Strict appends a
// barrier: a list is one point in the order.
func (c *Coordinator) List(ctx context.Context, s *Session, q ListRequest) (Names, error) {
	if err := s.Caller.AllowNamespace(auth.List, q.NS); err != nil {
		return Names{}, err
	}
	if q.Limit < 1 || q.Limit > MaxList {
		return Names{}, dsv.Invalid("limit", "must be 1 to 1000")
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	p := c.rep.PartitionOf(q.NS)
	if err := c.listReady(ctx, p, q); err != nil {
		return Names{}, withOp(err, "list", q.NS.String())
	}
	out := Names{Position: dsv.Position{Partition: p, Offset: c.rep.Applied(p)}, Lag: c.rep.Lag(p)}
	err := c.rep.View(func(tx store.Txn) error {
		var opts []meta.ListOption
		if q.Deleted {
			opts = append(opts, meta.WithDeleted)
		}
		names, more, err := meta.List(tx, q.NS, q.Prefix, q.After, q.Limit, opts...)
		for _, n := range names {
			out.Names = append(out.Names, Name{Key: n.Key, Version: n.Version, Deleted: !n.Live})
		}
		if more {
			out.Next = names[len(names)-1].Key.String()
		}
		return err
	})
	return out, withOp(err, "list", q.NS.String())
}

func (c *Coordinator) listReady(ctx context.Context, p dsv.Partition, q ListRequest) error {
	if err := c.rep.Usable(p); err != nil {
		return err
	}
	switch {
	case q.MinPosition != nil:
		if q.MinPosition.Partition != p {
			return dsv.Invalid("DSV-Min-Position", "is of another partition than the namespace")
		}
		return c.untilPosition(ctx, *q.MinPosition)
	case q.Consistency == Local:
		return nil
	case q.Consistency == Index:
		return c.untilEnd(ctx, p)
	}
	_, err := c.rep.Barrier(ctx, p)
	return err
}
