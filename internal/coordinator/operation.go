package coordinator

import (
	"context"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/store"
)

func (c *Coordinator) beginView() (store.Txn, error) { return c.rep.BeginView() }

// Operation tells what became of a write. Its caller, and admins, may ask; for
// anybody else it does not exist. An undecided one is answered behind a
// barrier, so "pending" means: not decided when the question was asked.
func (c *Coordinator) Operation(ctx context.Context, s *Session, t dsv.TxID) (Outcome, error) {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	if int(t.Partition) >= c.rep.Partitions() {
		return Outcome{}, dsv.Invalid("operation", "is not an operation id of this cluster")
	}
	if err := c.rep.Usable(t.Partition); err != nil {
		return Outcome{}, err
	}
	st, err := c.lookupTx(t)
	if err == nil && !st.State.Final() && st.State != meta.TxForgotten {
		if _, err = c.rep.Barrier(ctx, t.Partition); err == nil {
			st, err = c.lookupTx(t)
		}
	}
	if err != nil {
		return Outcome{}, withOp(err, "operation", "")
	}
	if st.State == meta.TxForgotten {
		return Outcome{}, dsv.E(dsv.KindGone, dsv.CodeForgotten, "the operation is older than outcomes are kept; this does not mean that it had no effect")
	}
	if st.Caller != "" && st.Caller != s.Caller.ID && s.Caller.AllowAdmin() != nil {
		return Outcome{}, dsv.E(dsv.KindNotFound, dsv.CodeNotFound, "no operation of this caller has this id")
	}
	pos := dsv.Position{Partition: t.Partition, Offset: st.DecidedOffset}
	out := Outcome{Operation: t, State: st.State.String(), Code: st.Code, Position: pos, Results: results(st, t, pos)}
	if st.State == meta.TxNone {
		out.State = "pending"
	}
	if st.Unchanged {
		out.State = "committed"
	}
	return out, nil
}

func (c *Coordinator) lookupTx(t dsv.TxID) (st meta.TxStatus, err error) {
	err = c.rep.View(func(tx store.Txn) error {
		st, err = meta.LookupTx(tx, t)
		return err
	})
	return st, err
}
