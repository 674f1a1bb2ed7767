package core

import (
	"context"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/store"
)

// Op is one operation of a transaction done by hand.
type Op struct {
	Kind      metapb.OpKind
	Key       string
	Value     string // of kinds with shards
	IfVersion *uint64
	All       bool
	Versions  []uint64
	Version   uint64 // REPAIR
	From      dsv.ShareSet
}

// Hand is a transaction whose steps a test does itself, in any order, as a
// coordinator of the hand's incarnation.
type Hand struct {
	c      *Cluster
	Tx     dsv.TxID
	NS     dsv.Namespace
	Caller string
	Idem   string
	TTL    int64
	ops    []Op
	sealed []shard.Sealed
	acks   map[int]dsv.StoreID // by rank
}

// Coordinator is who a hand's transactions say they are of.
const Coordinator = dsv.NodeID("n1")

// Begin draws a transaction at the log clock of the first node that runs and
// splits its values.
func (c *Cluster) Begin(ns string, ops ...Op) *Hand {
	c.T.Helper()
	n, err := dsv.ParseNamespace(ns)
	c.Must(err)
	p := meta.PartitionOf(n, c.opt.Partitions)
	return c.BeginAt(ns, c.running().Rep.EstimateE(p), ops...)
}

func (c *Cluster) running() *Node {
	for _, n := range c.Nodes {
		if n.Rep != nil {
			return n
		}
	}
	c.T.Fatal("no node runs")
	return nil
}

// BeginAt is Begin with a T0 of one's own.
func (c *Cluster) BeginAt(ns string, t0 int64, ops ...Op) *Hand {
	c.T.Helper()
	n, err := dsv.ParseNamespace(ns)
	c.Must(err)
	h := &Hand{c: c, NS: n, Tx: dsv.NewTxID(meta.PartitionOf(n, c.opt.Partitions), t0), Caller: "hand", TTL: dsv.DefaultTTLMicros,
		ops: ops, sealed: make([]shard.Sealed, len(ops)), acks: map[int]dsv.StoreID{}}
	for i, o := range ops {
		if !hasShards(o.Kind) {
			continue
		}
		b := shard.Binding{ClusterID: ClusterID, Path: Path(ns, o.Key), Set: h.Set(i)}
		h.sealed[i], err = shard.Seal(c.opt.Quorum, b, dsv.SecretOf([]byte(o.Value)))
		c.Must(err)
	}
	return h
}

func hasShards(k metapb.OpKind) bool {
	switch k {
	case metapb.OpKind_CREATE, metapb.OpKind_UPDATE, metapb.OpKind_PUT, metapb.OpKind_REPAIR:
		return true
	}
	return false
}

// Set is the share set of an operation.
func (h *Hand) Set(op int) dsv.ShareSet { return dsv.ShareSet{Tx: h.Tx, Op: uint16(op)} }

// Shard is what the holder of a rank gets of an operation.
func (h *Hand) Shard(op, rank int) []byte { return h.sealed[op].Shards[rank] }

// PrepareRecord is the PREPARE as a coordinator would send it.
func (h *Hand) PrepareRecord() *metapb.Record {
	q := h.c.opt.Quorum
	p := &metapb.Prepare{Txid: h.Tx.Bytes(), Coordinator: string(Coordinator), TtlUs: h.TTL, Namespace: h.NS.String(),
		K: uint32(q.K), N: uint32(q.N), W: uint32(q.W), Caller: h.Caller, IdempotencyKey: h.Idem}
	for _, n := range h.c.Config().Holders(h.NS) {
		p.Holders = append(p.Holders, string(n))
	}
	for i, o := range h.ops {
		op := &metapb.Op{Key: o.Key, Kind: o.Kind, IfVersion: o.IfVersion, All: o.All, Versions: o.Versions, RepairVersion: o.Version}
		if !o.From.IsZero() {
			op.FromShareSet = o.From.Bytes()
		}
		if s := h.sealed[i]; s.Shards != nil {
			op.PaddedSize = uint32(s.PaddedSize)
			for j := range s.Digests {
				op.Digests = append(op.Digests, s.Digests[j][:])
			}
		}
		p.Ops = append(p.Ops, op)
	}
	return &metapb.Record{Version: 1, Body: &metapb.Record_Prepare{Prepare: p}}
}

// Prepare appends PREPARE and returns its offset.
func (h *Hand) Prepare() int64 {
	h.c.T.Helper()
	return h.c.Append(h.Tx.Partition, h.PrepareRecord())
}

// StageRequest is what a node would be sent. A node that is no holder gets the
// first holder's part.
func (h *Hand) StageRequest(i int) replica.StageRequest {
	q := replica.StageRequest{Tx: h.Tx, NS: h.NS, Coordinator: Coordinator, Incarnation: h.c.inc}
	for n, o := range h.ops {
		op := replica.StageOp{Op: uint16(n), Kind: o.Kind, Key: Path(h.NS.String(), o.Key).Key}
		if s := h.sealed[n]; s.Shards != nil {
			op.Shard = s.Shards[max(h.c.Nodes[i].Rank(h.NS), 0)]
		}
		q.Ops = append(q.Ops, op)
	}
	return q
}

// TryStage stores the part of node i there and notes its acknowledgement.
func (h *Hand) TryStage(i int) error {
	id, err := h.c.Nodes[i].Rep.Stage(context.Background(), h.StageRequest(i))
	if err == nil {
		h.acks[h.c.Nodes[i].Rank(h.NS)] = id
	}
	return err
}

// Stage is TryStage at several nodes, which must all accept.
func (h *Hand) Stage(nodes ...int) *Hand {
	h.c.T.Helper()
	for _, i := range nodes {
		if err := h.TryStage(i); err != nil {
			h.c.T.Fatalf("stage at %s: %v", h.c.Nodes[i].ID, err)
		}
	}
	return h
}

// Ack claims an acknowledgement of node i under a store id.
func (h *Hand) Ack(i int, id dsv.StoreID) { h.acks[h.c.Nodes[i].Rank(h.NS)] = id }

// CommitRecord names every acknowledgement so far.
func (h *Hand) CommitRecord() *metapb.Record {
	m := &metapb.Commit{Txid: h.Tx.Bytes()}
	for rank := range h.c.opt.Quorum.N {
		if id, ok := h.acks[rank]; ok {
			m.Acks = append(m.Acks, &metapb.Ack{Holder: uint32(rank), StoreId: id[:]})
		}
	}
	return &metapb.Record{Version: 1, Body: &metapb.Record_Commit{Commit: m}}
}

// Commit appends COMMIT and returns its offset.
func (h *Hand) Commit() int64 {
	h.c.T.Helper()
	return h.c.Append(h.Tx.Partition, h.CommitRecord())
}

// Abort appends ABORT and returns its offset.
func (h *Hand) Abort() int64 {
	h.c.T.Helper()
	return h.c.Append(h.Tx.Partition, &metapb.Record{Version: 1, Body: &metapb.Record_Abort{
		Abort: &metapb.Abort{Txid: h.Tx.Bytes(), Reason: metapb.AbortReason_DEADLINE}}})
}

// Revoke revokes at node i.
func (h *Hand) Revoke(i int) error {
	return h.c.Nodes[i].Rep.Revoke(context.Background(), Coordinator, h.c.inc, h.Tx)
}

// All runs the whole transaction at all holders that run and returns the
// offset of its COMMIT.
func (h *Hand) All() int64 {
	h.c.T.Helper()
	h.Prepare()
	for i, n := range h.c.Nodes {
		if n.Rep != nil && n.Rank(h.NS) >= 0 {
			h.Stage(i)
		}
	}
	return h.Commit()
}

// Status is what a node knows of the transaction.
func (h *Hand) Status(i int) (s meta.TxStatus) {
	h.c.Nodes[i].View(func(tx store.Txn) (err error) {
		s, err = meta.LookupTx(tx, h.Tx)
		return err
	})
	return s
}

// Answer is what node i would tell a reader of an operation's key, with its
// shard of that operation.
func (h *Hand) Answer(i, op int) (replica.Answer, error) {
	return h.c.Nodes[i].Rep.Fetch(context.Background(), replica.FetchRequest{Path: Path(h.NS.String(), h.ops[op].Key), Set: h.Set(op)})
}
