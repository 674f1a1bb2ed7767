package txn

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/shard"
)

// Runner runs transactions for one node.
type Runner struct {
	rep   *replica.Replica
	peers *peer.Peers
	log   *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex // guards ended, and that nothing joins wg after it
	ended  bool
	wg     sync.WaitGroup
	late   chan lateFill
}

// New makes a runner; Close ends its late fills.
func New(rep *replica.Replica, peers *peer.Peers, log *slog.Logger) *Runner {
	r := &Runner{rep: rep, peers: peers, log: log, late: make(chan lateFill, 4096)}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.own(r.lateLoop)
	return r
}

// own runs f on a goroutine that Close waits for; false: it is closing.
func (r *Runner) own(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.wg.Go(f)
	}
	return !r.ended
}

// Close stops late fills and waits for what the runner started.
func (r *Runner) Close() error {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
	return nil
}

// errAgain asks for another attempt under a new txid.
var errAgain = errors.New("txn: void for its T0")

// Run runs one transaction to its end or to ctx's deadline. A PREPARE that is
// void for its T0 is tried once more under a new txid. Errors are *dsv.Error:
// a 503 means no effect, a 504 carries the operation's id.
func (r *Runner) Run(ctx context.Context, req *Request) (Result, error) {
	for try := 0; ; try++ {
		res, err := r.attempt(ctx, req)
		if !errors.Is(err, errAgain) {
			return res, err
		}
		if try > 0 {
			return res, &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeLogUnavailable, Phase: dsv.PhaseOrdering,
				Detail: "the log's clock is more than 10 s away from this node's estimate; nothing took effect", RetryAfter: time.Second}
		}
	}
}

// admit refuses at once what cannot succeed: a silent or diverged log, or a
// write quorum known to be gone.
func (r *Runner) admit(p dsv.Partition, holders []dsv.NodeID, need int) error {
	if err := r.rep.Usable(p); err != nil {
		return err
	}
	if r.rep.Log().Silent(p) {
		return replica.ErrLogSilent
	}
	up := 0
	var silent []string
	for _, h := range holders {
		if r.peers.Reachable(h) {
			up++
		} else {
			silent = append(silent, string(h))
		}
	}
	if up < need {
		return quorumError(up, need, silent, nil)
	}
	return nil
}

func quorumError(have, need int, silent []string, cause error) error {
	e := &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeWriteQuorum, Phase: dsv.PhaseWriting,
		Detail: "too few holders acknowledged the write; nothing took effect", Have: have, Need: need,
		Silent: silent, RetryAfter: time.Second, Err: cause}
	if c := dsv.AsError(cause); c != nil {
		switch c.Kind {
		case dsv.KindDiskFull, dsv.KindTooMany:
			e.Kind, e.Code, e.Detail = c.Kind, c.Code, c.Detail
		case dsv.KindDenied, dsv.KindUnauthenticated:
			return c
		}
	}
	return e
}

func (r *Runner) attempt(ctx context.Context, req *Request) (Result, error) {
	p := r.rep.PartitionOf(req.NS)
	holders, err := r.rep.Holders(req.NS)
	if err != nil {
		return Result{}, err
	}
	need := max(req.MinAcks, r.rep.Quorum().W)
	if err := r.admit(p, holders, need); err != nil {
		return Result{}, err
	}
	if err := r.rep.Warm(ctx, p); err != nil {
		return Result{}, err
	}
	a := &attempt{
		r: r, req: req, need: need, holders: holders,
		tx:    dsv.NewTxID(p, r.rep.EstimateE(p)),
		acks:  make(chan ackMsg, len(holders)),
		acked: make([]dsv.StoreID, len(holders)),
		state: make([]holderState, len(holders)),
	}
	if err := a.seal(); err != nil {
		return Result{}, err
	}
	return a.run(ctx)
}

// seal splits every value under the attempt's own share sets.
func (a *attempt) seal() error {
	a.sealed = make([]shard.Sealed, len(a.req.Ops))
	for i, o := range a.req.Ops {
		if !o.hasValue() {
			continue
		}
		b := shard.Binding{ClusterID: a.r.rep.ClusterID(), Path: dsv.Path{NS: a.req.NS, Key: o.Key}, Set: dsv.ShareSet{Tx: a.tx, Op: uint16(i)}}
		var err error
		if a.sealed[i], err = shard.Seal(a.r.rep.Quorum(), b, o.Value); err != nil {
			return err
		}
	}
	return nil
}

func (a *attempt) prepareRecord() *metapb.Record {
	q := a.r.rep.Quorum()
	p := &metapb.Prepare{
		Txid: a.tx.Bytes(), Coordinator: string(a.r.rep.Node()), TtlUs: dsv.DefaultTTLMicros, Namespace: a.req.NS.String(),
		K: uint32(q.K), N: uint32(q.N), W: uint32(q.W), RequestedAtUs: a.req.RequestedAt.UnixMicro(), Caller: a.req.Caller,
		RequestId: a.req.RequestID, IdempotencyKey: a.req.IdempotencyKey, PolicyRevision: a.req.Proof.Revision,
	}
	for _, h := range a.holders {
		p.Holders = append(p.Holders, string(h))
	}
	for i, o := range a.req.Ops {
		op := &metapb.Op{Key: o.Key.String(), Kind: o.Kind, IfVersion: o.IfVersion, All: o.All, Versions: o.Versions, RepairVersion: o.Version}
		if !o.From.IsZero() {
			op.FromShareSet = o.From.Bytes()
		}
		if s := a.sealed[i]; s.Shards != nil {
			op.PaddedSize = uint32(s.PaddedSize)
			for j := range s.Digests {
				op.Digests = append(op.Digests, s.Digests[j][:])
			}
		}
		p.Ops = append(p.Ops, op)
	}
	return &metapb.Record{Version: 1, Body: &metapb.Record_Prepare{Prepare: p}}
}

// stageRequest is what one holder is sent.
func (a *attempt) stageRequest(rank int) replica.StageRequest {
	q := replica.StageRequest{Tx: a.tx, NS: a.req.NS, Coordinator: a.r.rep.Node(), Incarnation: a.r.rep.Incarnation()}
	for i, o := range a.req.Ops {
		op := replica.StageOp{Op: uint16(i), Kind: o.Kind, Key: o.Key}
		if s := a.sealed[i]; s.Shards != nil {
			op.Shard = s.Shards[rank]
		}
		q.Ops = append(q.Ops, op)
	}
	return q
}

// stage sends one holder its part; this node stores its own on a goroutine of
// the runner.
func (r *Runner) stage(a *attempt, rank int, done func(dsv.StoreID, error)) {
	to, q := a.holders[rank], a.stageRequest(rank)
	if to != r.rep.Node() {
		r.peers.Stage(r.ctx, to, q, a.req.Proof, done)
		return
	}
	if !r.own(func() { r.peers.Stage(r.ctx, to, q, a.req.Proof, done) }) {
		done(dsv.StoreID{}, replica.ErrStopped)
	}
}

// record is one to append, and who is told its offset: nobody, if nil.
type record struct {
	*metapb.Record
	done func(offset int64, err error)
}

// hand hands records over to the log together, all or none.
func (r *Runner) hand(p dsv.Partition, records ...record) error {
	entries := make([]commitlog.Entry, len(records))
	for i, rec := range records {
		body, err := meta.Encode(rec.Record)
		if err != nil {
			return err
		}
		entries[i] = commitlog.Entry{Body: body, Done: rec.done}
	}
	return r.rep.Log().AppendAll(p, entries...)
}
