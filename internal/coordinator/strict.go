package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/store"
)

const (
	hedgeAfter = 8 * time.Millisecond // no answer: ask the rest
	settleFor  = 4 * time.Millisecond // a staged transaction's decision is normally on its way
	behindFor  = 50 * time.Millisecond
	maxRounds  = 8 // share sets that were switched under one read
)

// question is what a read asks of one key. pick evaluates it on a snapshot.
type question struct {
	path     dsv.Path
	proof    peer.Proof
	pick     func(store.Txn) (choice, error)
	value    bool // the value is wanted, where the choice has one
	proofBy  proofKind
	exclude  dsv.TxID        // the reader's own transaction, left out of S
	prepared <-chan struct{} // closed: a record of the reader's own, appended after the read began, is applied
	samePads int             // > 0: only a version of this padded size is rebuilt
	// late gets replies that come behind the answer, with the version they are
	// about; it must not block.
	late func(meta.Version, peer.Reply)
}

type proofKind uint8

const (
	proofHolders proofKind = iota // the k answers, or one barrier
	proofDone                     // the state here is recent enough already
)

// choice is the answer at one applied position. Not found is an answer too.
type choice struct {
	found   bool
	version meta.Version
	err     error // 404 or 410, final at that position
}

func (c choice) set() dsv.ShareSet {
	if !c.found || c.err != nil || c.version.Destroyed {
		return dsv.ShareSet{}
	}
	return c.version.ShareSet
}

// reading is one strict read under way.
//
// The rule (protocol.md, strict_read.md): k answers of distinct holders, each
// one snapshot taken after the read began, prove the newest state: once this
// node has applied up to the largest d and knows the decision of every
// transaction in every S, its own state THEN is the answer. Test first, then
// look. A transaction that stays undecided is passed by one barrier.
type reading struct {
	c       *Coordinator
	q       *question
	part    dsv.Partition
	holders []dsv.NodeID
	k       int

	seq    int64 // applied here before the snapshot of ch
	ch     choice
	g      *peer.Gathering
	shards map[int][]byte
	states map[int]replica.ShardState
	failed error

	answers int
	maxD    int64
	staged  map[dsv.TxID]struct{}
	proven  bool
	rounds  int
}

// answer is the end of a read.
type answer struct {
	choice
	value   dsv.Secret
	states  map[int]replica.ShardState
	holders []dsv.NodeID
	pos     dsv.Position
}

// read answers a question by the rule.
func (c *Coordinator) read(ctx context.Context, q *question) (answer, error) {
	p := c.rep.PartitionOf(q.path.NS)
	if err := c.rep.Usable(p); err != nil {
		return answer{}, err
	}
	holders, err := c.rep.Holders(q.path.NS)
	if err != nil {
		return answer{}, err
	}
	r := c.newReading(q, holders)
	defer r.leave()
	if err := r.look(); err != nil {
		return answer{}, err
	}
	if err := r.known(); err != nil {
		return answer{}, err
	}
	return r.run(ctx)
}

func (c *Coordinator) newReading(q *question, holders []dsv.NodeID) *reading {
	return &reading{c: c, q: q, part: c.rep.PartitionOf(q.path.NS), holders: holders, k: c.rep.Quorum().K, maxD: -1,
		shards: make(map[int][]byte, 4), states: make(map[int]replica.ShardState, 5), proven: q.proofBy == proofDone}
}

func (r *reading) leave() {
	if r.g == nil {
		return
	}
	if late, v := r.q.late, r.ch.version; late != nil && r.g.Outstanding() > 0 && !r.ch.set().IsZero() {
		r.g.Leave(func(rep peer.Reply) { late(v, rep) })
		return
	}
	r.g.Close()
}

// known refuses at once what is known to be gone: a value that fewer than k
// reachable holders could rebuild.
func (r *reading) known() error {
	if r.q.proofBy == proofDone && (!r.wantsValue() || r.ch.set().IsZero()) {
		return nil
	}
	up := 0
	for _, h := range r.holders {
		if r.c.peers.Reachable(h) {
			up++
		}
	}
	if up >= r.k {
		return nil
	}
	if r.wantsValue() && !r.ch.set().IsZero() {
		return r.tooFew(up)
	}
	return nil
}

func (r *reading) wantsValue() bool {
	return r.q.value && (r.q.samePads == 0 || r.ch.version.PaddedSize == r.q.samePads)
}

// look evaluates the question on a snapshot of now.
func (r *reading) look() error {
	r.seq = r.c.rep.Applied(r.part)
	return r.c.rep.View(func(tx store.Txn) error {
		var err error
		r.ch, err = r.q.pick(tx)
		return err
	})
}

// ask starts a round for the share set of the choice.
func (r *reading) ask(ctx context.Context) {
	if r.g != nil {
		r.g.Close()
	}
	clear(r.shards)
	clear(r.states)
	req := replica.FetchRequest{Path: r.q.path}
	if r.wantsValue() {
		req.Set = r.ch.set()
	}
	r.g = r.c.peers.Gather(ctx, r.holders, req, r.q.proof)
	r.preferUnnamed()
	r.g.More(r.k + 1)
}

// preferUnnamed asks holders first that the COMMIT does not name under their
// current store id: if they have a hole, this read sees it.
func (r *reading) preferUnnamed() {
	if len(r.ch.version.Acks) == len(r.holders) || r.ch.set().IsZero() {
		return
	}
	named := make([]bool, len(r.holders))
	for _, a := range r.ch.version.Acks {
		if a.Rank < len(named) {
			named[a.Rank] = true
		}
	}
	r.g.Prefer(func(rank int) bool { return !named[rank] })
}

func (r *reading) done() (answer, error) {
	return answer{choice: r.ch, states: r.states, holders: r.holders,
		pos: dsv.Position{Partition: r.part, Offset: max(r.seq, r.c.rep.Applied(r.part))}}, nil
}

func (r *reading) run(ctx context.Context) (answer, error) {
	if r.proven && (!r.wantsValue() || r.ch.set().IsZero()) {
		return r.done()
	}
	r.ask(ctx)
	for {
		if !r.proven && r.answers >= r.k {
			if err := r.prove(ctx); err != nil {
				return answer{}, err
			}
			continue
		}
		if r.proven {
			if !r.wantsValue() || r.ch.set().IsZero() {
				return r.done()
			}
			if len(r.shards) >= r.k {
				a, err := r.combine()
				if !errors.Is(err, errBadShard) {
					return a, err
				}
			}
		}
		more, err := r.next(ctx)
		if err != nil {
			return answer{}, err
		}
		if !more {
			if err := r.exhausted(ctx); err != nil {
				return answer{}, err
			}
		}
	}
}

// next waits for one reply. more is false when all holders have replied or
// failed and it is still not enough.
func (r *reading) next(ctx context.Context) (more bool, err error) {
	rep, ok := r.g.Next(ctx, hedgeAfter)
	switch {
	case ok:
		r.take(rep)
		return true, nil
	case ctx.Err() != nil:
		return false, r.tooFew(len(r.shards))
	case r.g.Left() > 0:
		r.g.More(r.g.Left())
		return true, nil
	case r.g.Outstanding() > 0:
		return true, nil
	}
	return false, nil
}

func (r *reading) take(rep peer.Reply) {
	if _, again := r.states[rep.Rank]; again {
		return // k answers are those of k holders
	}
	if rep.Err != nil {
		if k := dsv.KindOf(rep.Err); r.failed == nil || k == dsv.KindDenied || k == dsv.KindUnauthenticated {
			r.failed = rep.Err
		}
		r.g.More(1)
		return
	}
	if r.c.rep.ReplacedStore(r.part, rep.Node, rep.Answer.Store) {
		r.g.More(1)
		return
	}
	if !r.proven {
		r.answers++
		for _, t := range rep.Answer.Staged {
			if t != r.q.exclude {
				if r.staged == nil {
					r.staged = map[dsv.TxID]struct{}{}
				}
				r.staged[t] = struct{}{}
			}
		}
	}
	r.maxD = max(r.maxD, rep.Answer.Decided)
	r.states[rep.Rank] = rep.Answer.State
	switch rep.Answer.State {
	case replica.ShardGood:
		if shard.Check(rep.Answer.Shard, r.ch.version.ShareSet, rep.Rank, digestAt(r.ch.version, rep.Rank)) == nil {
			r.shards[rep.Rank] = rep.Answer.Shard
			return
		}
		r.states[rep.Rank] = replica.ShardDamaged
		r.c.cfg.Logger.Warn("a holder's shard does not match its digest", "holder", rep.Node, "path", r.q.path)
		r.g.More(1)
	case replica.ShardMissing, replica.ShardDamaged:
		r.g.More(1)
	}
}

func digestAt(v meta.Version, rank int) []byte {
	if rank < len(v.Digests) {
		return v.Digests[rank]
	}
	return nil
}

// prove makes the k answers a proof, then looks; if that moves the answer to
// another share set, its shards are asked for. The proof stays good.
func (r *reading) prove(ctx context.Context) error {
	simple := len(r.staged) == 0 && r.maxD <= r.seq
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.proven = true
	if simple && r.c.rep.Applied(r.part) == r.seq {
		return nil // nothing was applied since the snapshot: it is the state now
	}
	return r.lookAgain(ctx)
}

func (r *reading) lookAgain(ctx context.Context) error {
	before := r.ch.set()
	if err := r.look(); err != nil {
		return err
	}
	if set := r.ch.set(); r.wantsValue() && !set.IsZero() && set != before {
		if r.rounds++; r.rounds > maxRounds {
			return r.tooFew(0)
		}
		r.ask(ctx)
	}
	return nil
}

// settle waits until this node knows everything the answers name.
func (r *reading) settle(ctx context.Context) error {
	caught, err := r.catchUp(ctx)
	if err != nil {
		return err
	}
	if caught {
		open, err := r.undecided()
		if err != nil || len(open) == 0 {
			return err
		}
		if r.c.awaitDecisions(ctx, open, r.q.prepared) {
			return nil
		}
	}
	_, err = r.c.rep.Barrier(ctx, r.part)
	return err
}

// catchUp waits until this node has applied up to the largest d, for a while:
// what is in the log is normally on its way here, and a holder may name an
// offset that no log has. A barrier then proves as much.
func (r *reading) catchUp(ctx context.Context) (bool, error) {
	if r.c.rep.Applied(r.part) >= r.maxD {
		return true, nil
	}
	short, cancel := context.WithTimeout(ctx, behindFor)
	defer cancel()
	err := r.c.rep.WaitApplied(short, dsv.Position{Partition: r.part, Offset: r.maxD})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, replica.ErrStopped):
		return false, err
	case ctx.Err() != nil:
		return false, replica.ErrLogSilent
	}
	return false, nil
}

// undecided are the transactions of S whose decision is not applied here.
func (r *reading) undecided() ([]dsv.TxID, error) {
	var open []dsv.TxID
	if len(r.staged) == 0 {
		return nil, nil
	}
	err := r.c.rep.View(func(tx store.Txn) error {
		for t := range r.staged {
			s, err := meta.LookupTx(tx, t)
			if err != nil {
				return err
			}
			if s.State == meta.TxNone || s.State == meta.TxPending {
				open = append(open, t)
			}
		}
		return nil
	})
	return open, err
}

// awaitDecisions waits a few milliseconds for all decisions to be applied here,
// or for a barrier of the caller's own; false: append one.
func (c *Coordinator) awaitDecisions(ctx context.Context, open []dsv.TxID, own <-chan struct{}) bool {
	timer := time.NewTimer(settleFor)
	defer timer.Stop()
	for _, t := range open {
		ok := c.awaitDecision(ctx, t, own, timer.C)
		if !ok {
			return false
		}
	}
	return true
}

func (c *Coordinator) awaitDecision(ctx context.Context, t dsv.TxID, own <-chan struct{}, timer <-chan time.Time) bool {
	events, stop := c.rep.Follow(t)
	defer stop()
	var s meta.TxStatus
	err := c.rep.View(func(tx store.Txn) (err error) {
		s, err = meta.LookupTx(tx, t)
		return err
	})
	if err != nil || s.State != meta.TxNone && s.State != meta.TxPending {
		return err == nil
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return false
			}
			if e.Decided != nil {
				return true
			}
		case <-own:
			return true
		case <-timer:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

var errBadShard = errors.New("coordinator: too few good shards")

func (r *reading) combine() (answer, error) {
	b := shard.Binding{ClusterID: r.c.rep.ClusterID(), Path: r.q.path, Set: r.ch.version.ShareSet}
	v, report, err := shard.Combine(r.c.rep.Quorum(), b, r.ch.version.Digests, r.shards)
	if err != nil {
		for _, bad := range report.Bad {
			delete(r.shards, bad.Rank)
		}
		if errors.Is(err, shard.ErrTooFew) {
			return answer{}, errBadShard
		}
		return answer{}, &dsv.Error{Kind: dsv.KindInternal, Code: dsv.CodeInternal, Op: "combine", Path: r.q.path.String(), Err: err}
	}
	a, err := r.done()
	a.value = v
	return a, err
}

// exhausted is when nobody is left to ask: a share set that a repair switched
// under this read is looked at again; a question without a value is answered
// behind a barrier; anything else is a 503, never an older version.
func (r *reading) exhausted(ctx context.Context) error {
	if !r.proven && (!r.q.value || r.ch.set().IsZero()) {
		if denied := r.denial(); denied != nil {
			return denied
		}
		if _, err := r.c.rep.Barrier(ctx, r.part); err != nil {
			return err
		}
		r.proven = true
		return r.lookAgain(ctx)
	}
	if r.proven && r.moved(ctx) {
		return r.lookAgain(ctx)
	}
	return r.tooFew(len(r.shards))
}

// moved reports whether what this node can apply now changes the share set.
func (r *reading) moved(ctx context.Context) bool {
	caught, err := r.catchUp(ctx)
	if err == nil && !caught {
		_, err = r.c.rep.Barrier(ctx, r.part)
	}
	if err != nil {
		return false
	}
	before := r.ch.set()
	var now choice
	err = r.c.rep.View(func(tx store.Txn) (err error) {
		now, err = r.q.pick(tx)
		return err
	})
	return err == nil && now.set() != before
}

func (r *reading) denial() error {
	if r.failed != nil {
		if k := dsv.KindOf(r.failed); k == dsv.KindDenied || k == dsv.KindUnauthenticated {
			return r.failed
		}
	}
	return nil
}

func (r *reading) tooFew(have int) error {
	if err := r.denial(); err != nil {
		return err
	}
	e := &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotEnoughShards, Path: r.q.path.String(),
		Detail: "too few holders answered with a good shard", Have: have, Need: r.k, RetryAfter: time.Second, Err: r.failed}
	for rank, h := range r.holders {
		if _, ok := r.states[rank]; !ok {
			if rank < len(r.holders) && !r.c.peers.Reachable(h) || r.g != nil {
				e.Silent = append(e.Silent, string(h))
			}
		}
	}
	return e
}
