package coordinator

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/repair"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
)

// Get reads one version with its value.
func (c *Coordinator) Get(ctx context.Context, s *Session, q Read) (Found, error) {
	return c.find(ctx, s, q, true)
}

// Head reads one version without its value; `local` needs nobody else.
func (c *Coordinator) Head(ctx context.Context, s *Session, q Read) (Found, error) {
	return c.find(ctx, s, q, false)
}

func (c *Coordinator) find(ctx context.Context, s *Session, q Read, value bool) (Found, error) {
	if err := s.Caller.Allow(auth.Read, q.Path.NS, q.Path.Key); err != nil {
		return Found{}, err
	}
	if q.Version > 0 && !q.At.IsZero() {
		return Found{}, dsv.Invalid("at", "excludes version: give one of them")
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	qu := &question{path: q.Path, proof: s.proof(auth.Read), value: value}
	notFinal, err := c.ready(ctx, q, qu)
	if err != nil {
		return Found{}, withOp(err, "get", q.Path.String())
	}
	qu.pick = picker(c.rep.PartitionOf(q.Path.NS), q)
	latest := value && q.Consistency == Strict && q.MinPosition == nil && q.Version == 0 && q.At.IsZero() && c.cfg.Repair != nil
	if latest {
		qu.late = func(v meta.Version, rep peer.Reply) {
			if rep.Err == nil && (rep.Answer.State == replica.ShardMissing || rep.Answer.State == replica.ShardDamaged) {
				c.cfg.Repair.ObserveLate(q.Path, v)
			}
		}
	}
	a, err := c.read(ctx, qu)
	if err == nil {
		err = a.err
	}
	if !value && q.Consistency == Local {
		if f, ok := c.hinted(q, a, err); ok {
			return f, nil
		}
	}
	if err != nil {
		return Found{}, withOp(err, "get", q.Path.String())
	}
	if latest { // reads of a number or an instant repair nothing
		c.cfg.Repair.Observe(ctx, repair.Seen{Path: q.Path, Version: a.version, States: a.states, Value: a.value})
	}
	f := Found{Version: versionOf(a.version), Value: a.value, Position: a.pos, NotFinal: notFinal, Lag: c.rep.Lag(a.pos.Partition)}
	f.Interval = intervalFor(a.version, q.At)
	return f, nil
}

// ready brings this node's state to where the read asks for and tells how the
// answer is to be proven.
func (c *Coordinator) ready(ctx context.Context, q Read, qu *question) (notFinal bool, err error) {
	p := c.rep.PartitionOf(q.Path.NS)
	switch {
	case q.MinPosition != nil:
		if q.MinPosition.Partition != p {
			return false, dsv.Invalid("DSV-Min-Position", "is of another partition than the namespace")
		}
		qu.proofBy = proofDone
		err := c.untilPosition(ctx, *q.MinPosition)
		return c.notFinal(q, p), err
	case q.Consistency == Local:
		qu.proofBy = proofDone
		return c.notFinal(q, p), nil
	case q.Consistency == Index:
		qu.proofBy = proofDone
		err := c.untilEnd(ctx, p)
		return c.notFinal(q, p), err
	case c.notFinal(q, p):
		// At or past T a barrier moves T; below it the answer changes no more
		// but by a destroy, so it is proven like any other.
		qu.proofBy = proofDone
		_, err := c.rep.Barrier(ctx, p)
		return c.notFinal(q, p), err
	}
	return false, nil
}

// notFinal reports whether a read asks for an instant at or past the log clock
// as this node has applied it: its answer may still change.
func (c *Coordinator) notFinal(q Read, p dsv.Partition) bool {
	return !q.At.IsZero() && q.At.UnixMicro() >= c.rep.Head(p).T
}

func (c *Coordinator) untilPosition(ctx context.Context, pos dsv.Position) error {
	if err := c.rep.Usable(pos.Partition); err != nil {
		return err
	}
	if err := c.rep.WaitApplied(ctx, pos); err != nil {
		return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeLogUnavailable, Phase: dsv.PhaseOrdering, RetryAfter: time.Second,
			Detail: "this node has not applied the position asked for in time", Err: err}
	}
	return nil
}

func (c *Coordinator) untilEnd(ctx context.Context, p dsv.Partition) error {
	if c.rep.Log().Silent(p) {
		return replica.ErrLogSilent
	}
	end, err := c.rep.Log().EndOffset(ctx, p)
	if err != nil {
		e := *replica.ErrLogSilent
		e.Err = err
		return &e
	}
	return c.untilPosition(ctx, dsv.Position{Partition: p, Offset: end - 1})
}

func notFound() error {
	return dsv.E(dsv.KindNotFound, dsv.CodeNotFound, "the secret or version does not exist")
}

func destroyed() error {
	return dsv.E(dsv.KindGone, dsv.CodeDestroyed, "the version was destroyed")
}

// picker evaluates a read's question on a snapshot.
func picker(p dsv.Partition, q Read) func(store.Txn) (choice, error) {
	return func(tx store.Txn) (choice, error) {
		var v meta.Version
		var ok bool
		var err error
		switch {
		case q.Version > 0:
			v, ok, err = meta.LookupVersion(tx, q.Path, q.Version)
		case !q.At.IsZero():
			v, ok, err = meta.AsOf(tx, q.Path, q.At.UnixMicro())
		default:
			v, ok, err = meta.NewestIn(tx, p, q.Path)
		}
		switch {
		case err != nil:
			return choice{}, err
		case !ok:
			return choice{err: notFound()}, nil
		case v.Destroyed:
			return choice{found: true, version: v, err: destroyed()}, nil
		}
		return choice{found: true, version: v}, nil
	}
}

// intervalFor is the interval that answers a read: the one that covers the
// instant asked for, else the last.
func intervalFor(v meta.Version, at time.Time) Interval {
	if len(v.Intervals) == 0 {
		return Interval{}
	}
	last := v.Intervals[len(v.Intervals)-1]
	if !at.IsZero() {
		t := at.UnixMicro()
		for _, iv := range v.Intervals {
			if iv.From <= t && (iv.To == 0 || t < iv.To) {
				last = iv
			}
		}
	}
	return Interval{micros(last.From), micros(last.To)}
}

// hinted answers a local existence query from gossip where that is newer than
// what this node has applied; the answer says so.
func (c *Coordinator) hinted(q Read, a answer, err error) (Found, bool) {
	if c.cfg.Hints == nil || q.Version > 0 || !q.At.IsZero() || err != nil && dsv.KindOf(err) != dsv.KindNotFound {
		return Found{}, false
	}
	version, live, from, to, offset, ok := c.cfg.Hints.Head(q.Path)
	p := c.rep.PartitionOf(q.Path.NS)
	if !ok || !live || offset <= c.rep.Applied(p) || err == nil && a.version.Number >= version {
		return Found{}, false
	}
	iv := Interval{from, to}
	return Found{Version: Version{Version: version, Current: true, Intervals: []Interval{iv}}, Interval: iv, FromHint: true,
		Position: a.pos, Lag: c.rep.Lag(p)}, true
}
