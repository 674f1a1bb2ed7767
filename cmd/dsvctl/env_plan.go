package main

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/dotenv"
)

// plan finds the plaintext of every enc() in e: what was handed in, the file
// itself, the environment where that was asked for, a prompt on a terminal.
func (a *app) plan(e *envFile, s *sources, values map[string]dsv.Secret) (dotenv.Plan, error) {
	plan, faults := e.file.Template(values)
	if len(faults) > 0 {
		return plan, faulty(e.name, faults)
	}
	if len(plan.Missing) > 0 {
		missing := plan.Missing
		plan.Wipe()
		for _, r := range missing {
			v, ok, err := a.ask(s, r)
			if err != nil {
				return dotenv.Plan{}, err
			}
			if !ok {
				faults = append(faults, dsv.Fault{Line: r.Line, Name: r.String(), Code: dsv.CodeInvalid, Detail: "has no plaintext: give --value " + r.Key.String() + "=@FILE"})
				continue
			}
			values[r.Key.String()] = v
		}
		if len(faults) > 0 {
			return dotenv.Plan{}, faulty(e.name, faults)
		}
		if plan, faults = e.file.Template(values); len(faults) > 0 {
			return plan, faulty(e.name, faults)
		}
	}
	for _, name := range plan.Requoted {
		a.note("note: %s will be rendered with other quotes than it had", name)
	}
	return plan, a.fits(e, plan)
}

// ask asks the environment and the terminal for one plaintext.
func (a *app) ask(s *sources, r dotenv.Ref) (dsv.Secret, bool, error) {
	if s.fromEnv {
		if v := a.getenv(r.Key.String()); v != "" {
			return dsv.SecretOf([]byte(v)), true, nil
		}
	}
	if !terminal(a.stdin) {
		return dsv.Secret{}, false, nil
	}
	v, err := a.prompt(r.Key.String())
	return v, err == nil, err
}

// fits refuses a plan that no batch takes, before anything is asked.
func (a *app) fits(e *envFile, plan dotenv.Plan) error {
	total := 0
	for _, st := range plan.Stores {
		total += st.Value.Len()
	}
	if len(plan.Stores) > dsv.MaxBatchOps || total > dsv.MaxBatchBytes {
		return dsv.E(dsv.KindTooLarge, dsv.CodeTooLarge, e.name+" stores more than 256 secrets or 4 MiB: split it")
	}
	return nil
}

// mayStore looks whether the names to store are free, and returns a fault for
// each that is not. A caller who may not read them hears it from the batch.
func (a *app) mayStore(ctx context.Context, c *client.Client, e *envFile, plan dotenv.Plan) ([]dsv.Fault, error) {
	faults := make([]*dsv.Fault, len(plan.Stores))
	err := each(len(plan.Stores), func(i int) error {
		st := plan.Stores[i]
		_, err := c.Head(ctx, dsv.Path{NS: e.ns, Key: st.Key}, nil)
		switch {
		case err == nil:
			faults[i] = exists(st)
		case dsv.KindOf(err) != dsv.KindNotFound && dsv.KindOf(err) != dsv.KindGone && dsv.KindOf(err) != dsv.KindDenied:
			return err
		}
		return nil
	})
	var out []dsv.Fault
	for _, f := range faults {
		if f != nil {
			out = append(out, *f)
		}
	}
	return out, err
}

func exists(st dotenv.Store) *dsv.Fault {
	return &dsv.Fault{Line: st.Line, Name: "enc(" + st.Key.String() + ")", Code: dsv.CodeExists, Detail: "exists already: it must be new"}
}

// store makes all secrets of the plan, or none, at one point in the order.
func (a *app) store(ctx context.Context, c *client.Client, e *envFile, plan dotenv.Plan) error {
	if len(plan.Stores) == 0 {
		return nil
	}
	ops := make([]client.Op, len(plan.Stores))
	for i, st := range plan.Stores {
		ops[i] = client.Op{Kind: client.OpCreate, Key: st.Key, Value: st.Value}
	}
	_, err := c.Batch(ctx, e.ns, ops, nil)
	if got := dsv.AsError(err); err != nil && got.Kind == dsv.KindUnknownOutcome && got.Operation != "" {
		err = a.settle(ctx, c, got)
	}
	if err == nil {
		a.note("stored %d secrets in %s", len(ops), e.ns)
		return nil
	}
	got := dsv.AsError(err)
	if got.Index < 1 || got.Index > len(plan.Stores) {
		return err
	}
	st := plan.Stores[got.Index-1]
	if got.Code == dsv.CodeExists {
		return faulty(e.name, []dsv.Fault{*exists(st)})
	}
	return faulty(e.name, []dsv.Fault{{Line: st.Line, Name: "enc(" + st.Key.String() + ")", Code: got.Code, Detail: got.Detail}})
}

// settleTime bounds the wait for the outcome of a write: within 10 s and its
// life of 10 s every operation is settled.
const settleTime = 25 * time.Second

// settle waits for the outcome of a write that was not known in time: a file
// must not stay as it was where its secrets were stored. It returns unknown
// where the outcome stays so.
func (a *app) settle(ctx context.Context, c *client.Client, unknown *dsv.Error) error {
	id, err := dsv.ParseTxID(unknown.Operation)
	if err != nil {
		return unknown
	}
	a.note("the outcome is not known yet; asking for operation %s", id)
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	tick := time.NewTicker(time.Second / 2)
	defer tick.Stop()
	for {
		switch o, err := c.Operation(ctx, id); {
		case err == nil && o.State == client.Committed:
			return nil
		case err == nil && o.State != client.Pending:
			return dsv.E(dsv.KindUnavailable, dsv.CodeNotReady, "the write was not made ("+o.State+"): try again")
		}
		select {
		case <-ctx.Done():
			return unknown
		case <-tick.C:
		}
	}
}
