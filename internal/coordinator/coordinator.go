package coordinator

import (
	"context"
	"log/slog"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/peer"
	"github.com/dsvault/dsv/internal/repair"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/txn"
)

// Config of a coordinator.
type Config struct {
	Replica  *replica.Replica
	Peers    *peer.Peers
	Runner   *txn.Runner
	Repair   *repair.Repairer
	Hints    Hints // may be nil
	Probe    Probe // what Status asks of the rest of the node
	Timeout  time.Duration
	MaxValue int
	Logger   *slog.Logger
}

// Hints are what gossip says of a key's newest decided head: a hint for local
// existence queries, never for anything else.
type Hints interface {
	Head(dsv.Path) (version uint64, live bool, from, to time.Time, offset int64, ok bool)
}

// Coordinator serves requests of one node.
type Coordinator struct {
	cfg   Config
	rep   *replica.Replica
	peers *peer.Peers
}

// New makes a coordinator.
func New(cfg Config) *Coordinator {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 4 * time.Second
	}
	return &Coordinator{cfg: cfg, rep: cfg.Replica, peers: cfg.Peers}
}

// Session is an authenticated caller with the proof its requests carry on to
// the holders.
type Session struct {
	Caller *auth.Caller
	Proof  dsv.Secret // the token's text
}

// Authenticate tells who presents a token. It reads this node's applied
// settings only.
func (c *Coordinator) Authenticate(_ context.Context, proof dsv.Secret) (*Session, error) {
	t, err := auth.ParseToken(proof.Reveal())
	if err != nil {
		return nil, err
	}
	if err := c.rep.Judging(); err != nil {
		return nil, err
	}
	caller, err := c.rep.Book().Authenticate(t, time.Now().UnixMicro())
	if err != nil {
		return nil, err
	}
	return &Session{Caller: caller, Proof: proof}, nil
}

func (s *Session) proof(v auth.Verb) peer.Proof {
	return peer.Proof{Token: s.Proof, Verbs: v, Revision: s.Caller.Revision}
}

func (c *Coordinator) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.Timeout)
}

// micros is a log clock's instant; 0 is the zero time.
func micros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func versionOf(v meta.Version) Version {
	out := Version{Version: v.Number, RequestedAt: micros(v.RequestedAt), Author: v.Author, PaddedSize: v.PaddedSize,
		Destroyed: v.Destroyed, Current: v.Live(), Intervals: make([]Interval, len(v.Intervals))}
	for i, iv := range v.Intervals {
		out.Intervals[i] = Interval{micros(iv.From), micros(iv.To)}
	}
	return out
}

func (c *Coordinator) request(s *Session, ns dsv.Namespace, m RequestMeta, verb auth.Verb, ops ...txn.Op) *txn.Request {
	at := m.RequestedAt
	if at.IsZero() {
		at = time.Now()
	}
	return &txn.Request{NS: ns, Ops: ops, Caller: s.Caller.ID, Proof: s.proof(verb), RequestID: m.RequestID,
		IdempotencyKey: m.IdempotencyKey, RequestedAt: at}
}

// withOp tells in an error what was being done to what.
func withOp(err error, op string, path string) error {
	if err == nil {
		return nil
	}
	e := *dsv.AsError(err)
	if e.Op == "" {
		e.Op = op
	}
	if e.Path == "" {
		e.Path = path
	}
	return &e
}

func written(r meta.OpResult, tx dsv.TxID, pos dsv.Position) Written {
	return Written{Version: r.Version, ValidFrom: micros(r.ValidFrom), ValidTo: micros(r.ValidTo), Unchanged: r.Unchanged, Operation: tx, Position: pos}
}

var verbOfKind = map[metapb.OpKind]auth.Verb{
	metapb.OpKind_CREATE: auth.Create, metapb.OpKind_UPDATE: auth.Update, metapb.OpKind_PUT: auth.Create | auth.Update,
	metapb.OpKind_DELETE: auth.Delete, metapb.OpKind_UNDELETE: auth.Undelete, metapb.OpKind_DESTROY: auth.Destroy,
}
