package coordinator

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
)

// Shards tells, for every version of a secret, what each holder says of its
// shard. It rebuilds nothing.
func (c *Coordinator) Shards(ctx context.Context, s *Session, path dsv.Path) ([]ShardStatus, error) {
	if err := s.Caller.Allow(auth.History, path.NS, path.Key); err != nil {
		return nil, err
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	if err := c.rep.Usable(c.rep.PartitionOf(path.NS)); err != nil {
		return nil, err
	}
	holders, err := c.rep.Holders(path.NS)
	if err != nil {
		return nil, err
	}
	versions, err := c.versionsOf(ctx, s, path)
	if err != nil {
		return nil, withOp(err, "shards", path.String())
	}
	var out []ShardStatus
	for _, v := range versions {
		if !v.Destroyed {
			out = append(out, c.shardsOf(ctx, s, path, v, holders))
		}
	}
	return out, nil
}

// versionsOf are the versions by a strict read; where none is possible, as this
// node knows them: the survey is for a cluster that misses holders, too.
func (c *Coordinator) versionsOf(ctx context.Context, s *Session, path dsv.Path) ([]meta.Version, error) {
	var versions []meta.Version
	qu := &question{path: path, proof: s.proof(auth.History)}
	qu.pick = func(tx store.Txn) (ch choice, err error) {
		versions, err = meta.History(tx, path)
		if err == nil && len(versions) == 0 {
			ch.err = notFound()
		}
		return ch, err
	}
	strict, cancel := context.WithTimeout(ctx, surveyHedge)
	defer cancel()
	a, err := c.read(strict, qu)
	if err == nil {
		return versions, a.err
	}
	if len(versions) > 0 && dsv.KindOf(err) == dsv.KindUnavailable {
		return versions, nil
	}
	return nil, err
}

func (c *Coordinator) shardsOf(ctx context.Context, s *Session, path dsv.Path, v meta.Version, holders []dsv.NodeID) ShardStatus {
	st := ShardStatus{Version: v.Number, ShareSet: v.ShareSet.String()}
	for rank, h := range holders {
		st.Holders = append(st.Holders, HolderShard{Node: h, Rank: rank, State: "silent"})
	}
	q := replica.FetchRequest{Path: path, Set: v.ShareSet, Probe: true}
	g := c.peers.Gather(ctx, holders, q, s.proof(auth.History))
	defer g.Close()
	g.More(len(holders))
	for {
		rep, ok := g.Next(ctx, surveyHedge)
		if !ok {
			return st
		}
		if rep.Err == nil {
			st.Holders[rep.Rank].State = rep.Answer.State.String()
		}
	}
}

// surveyHedge is how long a silent holder is waited for.
const surveyHedge = time.Second
