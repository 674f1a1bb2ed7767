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
	var versions []meta.Version
	err = c.rep.View(func(tx store.Txn) (err error) {
		versions, err = meta.History(tx, path)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, withOp(notFound(), "shards", path.String())
	}
	var out []ShardStatus
	for _, v := range versions {
		if !v.Destroyed {
			out = append(out, c.shardsOf(ctx, s, path, v, holders))
		}
	}
	return out, nil
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
