package repair

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/internal/txn"
)

// Config of a repairer.
type Config struct {
	Replica       *replica.Replica
	Peers         *peer.Peers
	Runner        *txn.Runner
	TriggerBuffer int           // repairTriggerBuffer, default 1
	Deadline      time.Duration // how long a read waits for its repair, default 50 ms
	ScanRate      float64       // repairs a second of the scan, default 20
	Logger        *slog.Logger
}

// Repairer repairs for one node.
type Repairer struct {
	cfg    Config
	rep    *replica.Replica
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards active, ended, and that nothing joins wg after it
	active map[versionID]struct{}
	ended  bool

	stats struct{ done, failed atomic.Int64 }
}

type versionID struct {
	path    dsv.Path
	version uint64
}

// maxActive bounds the repairs under way on one node.
const maxActive = 64

// grace is how long after its COMMIT a share set may still be on its way to
// late holders.
const grace = int64(10 * time.Second / time.Microsecond)

// New makes a repairer; Start begins the scan, Close ends everything.
func New(cfg Config) *Repairer {
	if cfg.Deadline <= 0 {
		cfg.Deadline = 50 * time.Millisecond
	}
	if cfg.ScanRate <= 0 {
		cfg.ScanRate = 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Repairer{cfg: cfg, rep: cfg.Replica, active: map[versionID]struct{}{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Start begins the scan.
func (r *Repairer) Start() { r.own(r.scanLoop) }

// own runs f on a goroutine that Close waits for; false: it is closing.
func (r *Repairer) own(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.wg.Go(f)
	}
	return !r.ended
}

// Close ends the scan and repairs under way; what they staged expires.
func (r *Repairer) Close() error {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
	return nil
}

// Stats of repairs by this node since its start.
type Stats struct{ Done, Failed int64 }

// Stats returns counters.
func (r *Repairer) Stats() Stats {
	return Stats{Done: r.stats.done.Load(), Failed: r.stats.failed.Load()}
}

// Seen is what a latest read saw: the version, what holders said of its shards
// by rank, and the value.
type Seen struct {
	Path    dsv.Path
	Version meta.Version
	States  map[int]replica.ShardState
	Value   dsv.Secret
}

// Observe repairs the version of a latest read where that is called for. It
// waits Deadline at most; the repair goes on behind the answer.
func (r *Repairer) Observe(ctx context.Context, s Seen) {
	if !holesIn(s.States) || s.Version.ShareSet.IsZero() {
		return
	}
	done := r.begin(s.Path, s.Version, s.Value)
	if done == nil {
		return
	}
	timer := time.NewTimer(r.cfg.Deadline)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// ObserveLate is Observe for a hole that was told behind a read's answer. It
// does not block.
func (r *Repairer) ObserveLate(path dsv.Path, v meta.Version) { r.begin(path, v, dsv.Secret{}) }

// begin starts a read repair unless the version is too young or one is under
// way; the channel is closed at its end.
func (r *Repairer) begin(path dsv.Path, v meta.Version, value dsv.Secret) <-chan struct{} {
	id := versionID{path, v.Number}
	if !r.settled(path, v) || !r.enter(id) {
		return nil
	}
	done := make(chan struct{})
	value = dsv.SecretOf(append([]byte(nil), value.Reveal()...)) // the reader's own is wiped
	began := r.own(func() {
		defer close(done)
		defer r.leave(id)
		defer value.Wipe()
		ctx, cancel := context.WithTimeout(r.ctx, repairFor)
		defer cancel()
		if now, ok, err := r.lookup(path, v.Number); err != nil || !ok || now.Destroyed || now.ShareSet != v.ShareSet {
			return // it was repaired meanwhile, or is gone
		}
		r.count(r.repair(ctx, path, v, value, true))
	})
	if !began {
		r.leave(id)
		value.Wipe()
		return nil
	}
	return done
}

// repairFor bounds one repair.
const repairFor = 10 * time.Second

func holesIn(states map[int]replica.ShardState) bool {
	for _, s := range states {
		if s == replica.ShardMissing || s == replica.ShardDamaged {
			return true
		}
	}
	return false
}

// settled reports whether a version's share set is old enough that a missing
// shard is a hole.
func (r *Repairer) settled(path dsv.Path, v meta.Version) bool {
	return r.rep.EstimateE(r.rep.PartitionOf(path.NS)) >= v.ShareSetE+grace
}

func (r *Repairer) enter(id versionID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.active[id]; ok || len(r.active) >= maxActive || r.ctx.Err() != nil {
		return false
	}
	r.active[id] = struct{}{}
	return true
}

func (r *Repairer) leave(id versionID) {
	r.mu.Lock()
	delete(r.active, id)
	r.mu.Unlock()
}

func (r *Repairer) count(did bool, err error) {
	switch {
	case err != nil:
		r.stats.failed.Add(1)
		r.cfg.Logger.Debug("repair failed", "err", err)
	case did:
		r.stats.done.Add(1)
	}
}

// repair asks all n holders, and re-splits the value where the holes call for
// it. value may be empty: then it is rebuilt. onRead applies the trigger.
func (r *Repairer) repair(ctx context.Context, path dsv.Path, v meta.Version, value dsv.Secret, onRead bool) (bool, error) {
	holders, err := r.rep.Holders(path.NS)
	if err != nil {
		return false, err
	}
	q := r.rep.Quorum()
	good, holes := r.survey(ctx, path, v, holders)
	reachable := 0
	for _, h := range holders {
		if r.cfg.Peers.Reachable(h) {
			reachable++
		}
	}
	buffer := r.cfg.TriggerBuffer
	if !onRead {
		buffer = q.N // the scan refills every hole
	}
	if !calledFor(q, buffer, holes, reachable) {
		return false, nil
	}
	if len(value.Reveal()) == 0 {
		b := shard.Binding{ClusterID: r.rep.ClusterID(), Path: path, Set: v.ShareSet}
		if value, _, err = shard.Combine(q, b, v.Digests, good); err != nil {
			return false, err
		}
		defer value.Wipe()
	}
	req := &txn.Request{
		NS: path.NS, Caller: "node:" + string(r.rep.Node()), Proof: peer.Proof{Repair: true}, RequestedAt: time.Now(),
		MinAcks: acksFor(q, holes),
		Ops:     []txn.Op{{Kind: metapb.OpKind_REPAIR, Key: path.Key, Value: value, Version: v.Number, From: v.ShareSet}},
	}
	if _, err := r.cfg.Runner.Run(ctx, req); err != nil {
		if dsv.CodeOf(err) == dsv.CodeVersionMismatch || dsv.KindOf(err) == dsv.KindGone || dsv.KindOf(err) == dsv.KindNotFound {
			return false, nil // another repair won, or the version is gone
		}
		return false, err
	}
	return true, nil
}

// calledFor is the trigger: there is a hole, at most k + buffer holders may
// still have a good shard, and a write is possible at all.
func calledFor(q dsv.Quorum, buffer, holes, reachable int) bool {
	return holes > 0 && q.N-holes <= q.K+buffer && reachable >= q.W
}

// acksFor is how many holders must have the new shards before the old ones go:
// no fewer than may have an old one.
func acksFor(q dsv.Quorum, holes int) int { return max(q.W, q.N-holes) }

// surveyFor bounds the question to all holders.
const surveyFor = 2 * time.Second

// survey asks every holder for its shard of the current share set. What does
// not fit its digest is damaged, whatever its holder thinks of it.
func (r *Repairer) survey(ctx context.Context, path dsv.Path, v meta.Version, holders []dsv.NodeID) (good map[int][]byte, holes int) {
	ctx, cancel := context.WithTimeout(ctx, surveyFor)
	defer cancel()
	g := r.cfg.Peers.Gather(ctx, holders, replica.FetchRequest{Path: path, Set: v.ShareSet}, peer.Proof{Repair: true})
	defer g.Close()
	g.More(len(holders))
	good = map[int][]byte{}
	for {
		rep, ok := g.Next(ctx, 0)
		if !ok {
			return good, holes
		}
		if rep.Err != nil || rep.Rank >= len(v.Digests) || r.rep.ReplacedStore(v.ShareSet.Tx.Partition, rep.Node, rep.Answer.Store) {
			continue
		}
		switch {
		case rep.Answer.State == replica.ShardGood && shard.Check(rep.Answer.Shard, v.ShareSet, rep.Rank, v.Digests[rep.Rank]) == nil:
			good[rep.Rank] = rep.Answer.Shard
		case rep.Answer.State != replica.ShardNotAsked:
			holes++
		}
	}
}

// lookup is the version as it stands here now.
func (r *Repairer) lookup(path dsv.Path, n uint64) (v meta.Version, ok bool, err error) {
	err = r.rep.View(func(tx store.Txn) error {
		v, ok, err = meta.LookupVersion(tx, path, n)
		return err
	})
	return v, ok, err
}
