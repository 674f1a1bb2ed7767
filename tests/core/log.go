package core

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// Logged is one record as it lies in the log; Record is nil for a void one.
type Logged struct {
	Offset      int64
	Incarnation dsv.Incarnation
	Record      *metapb.Record
}

// ReadLog reads a partition from its beginning to its end.
func (c *Cluster) ReadLog(p dsv.Partition) (out []Logged) {
	c.T.Helper()
	l := c.OpenLog("reader", dsv.NewIncarnation())
	defer func() { _ = l.Close() }()
	end, err := l.EndOffset(context.Background(), p)
	c.Must(err)
	c.Must(l.Start(nil))
	for int64(len(out)) < end {
		b, err := l.Poll(context.Background())
		c.Must(err)
		for _, r := range b.Records {
			if r.Partition != p || int64(len(out)) >= end {
				continue
			}
			x := Logged{Offset: r.Offset, Incarnation: r.Incarnation}
			if m, err := meta.Decode(r.Body); r.Body != nil && err == nil {
				x.Record = m
			}
			out = append(out, x)
		}
	}
	return out
}

// Of are the records of one transaction: P, C and A in the order of the log.
func (c *Cluster) Of(t dsv.TxID) (kinds string) {
	c.T.Helper()
	for _, x := range c.ReadLog(t.Partition) {
		var id []byte
		kind := ""
		switch b := x.Record.GetBody().(type) {
		case *metapb.Record_Prepare:
			id, kind = b.Prepare.GetTxid(), "P"
		case *metapb.Record_Commit:
			id, kind = b.Commit.GetTxid(), "C"
		case *metapb.Record_Abort:
			id, kind = b.Abort.GetTxid(), "A"
		}
		if string(id) == string(t.Bytes()) {
			kinds += kind
		}
	}
	return kinds
}

// Transactions are the txids of all PREPAREs of a node's process.
func (c *Cluster) Transactions(p dsv.Partition, n *Node) (txs []dsv.TxID) {
	c.T.Helper()
	for _, x := range c.ReadLog(p) {
		if x.Incarnation == n.Rep.Incarnation() && x.Record.GetPrepare() != nil {
			t, err := dsv.TxIDFromBytes(x.Record.GetPrepare().GetTxid())
			c.Must(err)
			txs = append(txs, t)
		}
	}
	return txs
}

// Settled waits until no running node holds anything staged or pending.
func (c *Cluster) Settled(limit time.Duration) {
	c.T.Helper()
	c.SettledBut(limit)
}

// SettledBut is Settled without some nodes.
func (c *Cluster) SettledBut(limit time.Duration, but ...int) {
	c.T.Helper()
	c.Eventually(limit, func() error {
		for i, n := range c.Nodes {
			if n.Rep == nil || slices.Contains(but, i) {
				continue
			}
			if st := n.Rep.Stats(); st.Staged != 0 || st.StagedBytes != 0 {
				return fmt.Errorf("%s: %d staged rows, %d bytes", n.ID, st.Staged, st.StagedBytes)
			}
			for p := range c.opt.Partitions {
				if k, err := n.Rep.Pending(dsv.Partition(p)); err != nil || k != 0 {
					return fmt.Errorf("%s: %d pending in partition %d, %w", n.ID, k, p, err)
				}
			}
		}
		return nil
	})
}

// AllHold waits until every holder of a namespace has that many shards, the
// other nodes none, and nobody a hole: a holder that came late is offered its
// shards still.
func (c *Cluster) AllHold(ns dsv.Namespace, shards int64) {
	c.T.Helper()
	c.Eventually(time.Minute, func() error {
		for _, n := range c.Nodes {
			want := shards
			if n.Rank(ns) < 0 {
				want = 0
			}
			if st := n.Rep.Stats(); st.Shards != want || st.Holes != 0 {
				return fmt.Errorf("%s: %d shards, want %d, and %d holes", n.ID, st.Shards, want, st.Holes)
			}
		}
		return nil
	})
}

// StatusOf is what a node knows of a transaction.
func (c *Cluster) StatusOf(i int, t dsv.TxID) (s meta.TxStatus) {
	c.T.Helper()
	c.Nodes[i].View(func(tx store.Txn) (err error) {
		s, err = meta.LookupTx(tx, t)
		return err
	})
	return s
}

// Final waits until a node knows the outcome of a transaction.
func (c *Cluster) Final(i int, t dsv.TxID) (s meta.TxStatus) {
	c.T.Helper()
	c.Eventually(time.Minute, func() error {
		if s = c.StatusOf(i, t); !s.State.Final() {
			return fmt.Errorf("%s: %v", c.Nodes[i].ID, s.State)
		}
		return nil
	})
	return s
}

// Newest is the live version as a node has applied it.
func (c *Cluster) Newest(i int, path dsv.Path) (v meta.Version, ok bool) {
	c.T.Helper()
	c.Nodes[i].View(func(tx store.Txn) (err error) {
		v, ok, err = meta.Newest(tx, path)
		return err
	})
	return v, ok
}

// Version is one version as a node has applied it.
func (c *Cluster) Version(i int, path dsv.Path, n uint64) (v meta.Version, ok bool) {
	c.T.Helper()
	c.Nodes[i].View(func(tx store.Txn) (err error) {
		v, ok, err = meta.LookupVersion(tx, path, n)
		return err
	})
	return v, ok
}
