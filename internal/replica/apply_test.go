package replica_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/core"
)

// small is a store whose transactions hold few bytes.
type small struct {
	store.Store
	limit int
	full  atomic.Int64 // how often one was too big
}

func (s *small) Begin(m store.Mode) (store.Txn, error) {
	tx, err := s.Store.Begin(m)
	return &smallTxn{tx, s, 0}, err
}

type smallTxn struct {
	store.Txn
	s *small
	n int
}

func (t *smallTxn) Put(pairs ...store.Pair) error {
	for _, p := range pairs {
		t.n += len(p.Key) + len(p.Value)
	}
	if t.n > t.s.limit {
		t.s.full.Add(1)
		return store.ErrTxnTooBig
	}
	return t.Txn.Put(pairs...)
}

// One fetch can bring more than fits one store transaction: it is applied in
// parts, and nothing is left locked.
func TestMoreRecordsThanOneTransaction(t *testing.T) {
	bubble(t, core.Options{Stopped: true}, func(t *testing.T, c *core.Cluster) {
		for _, n := range c.Nodes[1:] {
			n.Start()
		}
		for _, n := range c.Nodes[1:] {
			n.Ready()
		}
		var last *core.Hand
		var off int64
		for range 20 {
			last = c.Begin("app", core.Op{Kind: metapb.OpKind_PUT, Key: "A", Value: "v"}, core.Op{Kind: metapb.OpKind_PUT, Key: "B", Value: "w"})
			last.Prepare()
			last.Stage(1, 2, 3, 4)
			off = last.Commit()
		}
		s := &small{Store: store.OpenMemory(store.Options{}), limit: 8 << 10}
		n := c.Nodes[0]
		n.Store = s
		n.Start()
		c.Eventually(time.Minute, func() error {
			if err := n.Rep.Err(); err != nil {
				return err
			}
			return n.Rep.Ready()
		})
		n.Applied(0, off)
		if s.full.Load() == 0 {
			t.Error("no transaction was too big: this shows nothing")
		}
		if st := last.Status(0); st.State != meta.TxCommitted || st.Results[1].Version != 20 {
			t.Errorf("the last batch is %+v", st)
		}
		if err := c.Begin("app", create("K", "v")).TryStage(0); err != nil {
			t.Errorf("stage afterwards: %v", err)
		}
	})
}

// Waiters go when their wait ends, and nobody waits on a replica that stopped.
func TestWaitersEnd(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		rep := c.Nodes[0].Rep
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := rep.WaitApplied(ctx, dsv.Position{Offset: 1 << 40}); err == nil {
			t.Error("a position that is not there was applied")
		}
		done := make(chan error, 3)
		go func() { done <- rep.WaitApplied(context.Background(), dsv.Position{Offset: 1 << 40}) }()
		go func() {
			_, err := rep.Barrier(context.Background(), 0)
			for err == nil {
				time.Sleep(time.Millisecond) // else the bubble's clock stands
				_, err = rep.Barrier(context.Background(), 0)
			}
			done <- err
		}()
		events, stop := rep.Follow(dsv.TxID{})
		defer stop()
		time.Sleep(time.Second)
		c.Nodes[0].Stop()
		for range 2 {
			err := <-done
			if err == nil {
				t.Error("a waiter on a stopped replica was told that all is well")
			} else if k := dsv.KindOf(err); k != dsv.KindUnavailable {
				t.Errorf("%v is of kind %d: it must be a 503", err, k)
			}
		}
		if _, ok := <-events; ok {
			t.Error("an event of a stopped replica")
		}
		if events, _ := rep.Follow(dsv.TxID{}); events != nil {
			if _, ok := <-events; ok {
				t.Error("an event of a stopped replica")
			}
		}
	})
}
