package replica_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/core"
)

// hooked is a store that lets a test step in between: once behind the beginning
// of the next snapshot, and once before the end of the next commit. It counts
// the rows that scans return.
type hooked struct {
	store.Store
	view, commit atomic.Pointer[func()]
	scanned      atomic.Int64
}

func once(at *atomic.Pointer[func()], f func()) { at.Store(&f) }

func call(at *atomic.Pointer[func()]) {
	if f := at.Swap(nil); f != nil {
		(*f)()
	}
}

func (h *hooked) Begin(m store.Mode) (store.Txn, error) {
	tx, err := h.Store.Begin(m)
	if m == store.ReadOnly {
		call(&h.view)
	}
	return &hookedTxn{tx, h}, err
}

type hookedTxn struct {
	store.Txn
	h *hooked
}

// Commit ends as one whose caller leaves while it is being written.
func (t *hookedTxn) Commit(ctx context.Context) (uint64, error) {
	call(&t.h.commit)
	rev, err := t.Txn.Commit(context.WithoutCancel(ctx))
	if err == nil && ctx.Err() != nil {
		return 0, store.ErrUnknown
	}
	return rev, err
}

func (t *hookedTxn) Scan(prefix []byte, page store.Page) ([]store.Item, bool, error) {
	items, more, err := t.Txn.Scan(prefix, page)
	t.h.scanned.Add(int64(len(items)))
	return items, more, err
}

// hook puts a node onto a store with hooks.
func hook(n *core.Node) *hooked {
	n.Stop()
	h := &hooked{Store: n.Store}
	n.Store = h
	n.Start()
	n.Ready()
	return h
}

// M11: a holder that applies a COMMIT between looking at what is staged and
// looking at what is decided names the transaction all the same.
func TestAnswerIsNotTorn(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[1]
		st := hook(n)
		n.Applied(0, c.Begin("app", create("K", "v")).All())
		h := c.Begin("app", update("K", "w"))
		h.Stage(0, 1, 2, 3, 4)
		n.Applied(0, h.Prepare())
		c.CutLog(1)
		off := h.Commit() // from here on every answer has to name it
		once(&st.view, func() {
			c.HealLog(1)
			n.Applied(0, off)
		})
		a, err := h.Answer(1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(a.Staged, h.Tx) && a.Decided < off {
			t.Errorf("neither staged nor decided: d = %d, COMMIT at %d", a.Decided, off)
		}
		if a.State != replica.ShardGood {
			t.Errorf("its shard is %v", a.State)
		}
	})
}

// Whose caller leaves while rows are written: they count as what they are.
func TestCallerLeavesDuringTheWrite(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		st := hook(n)
		leave := func() context.Context {
			ctx, cancel := context.WithCancel(context.Background())
			once(&st.commit, cancel)
			return ctx
		}
		h := c.Begin("app", create("K", "v"))
		_, _ = n.Rep.Stage(leave(), h.StageRequest(0))
		if s := n.Rep.Stats(); s.Staged != 1 || s.Shards != 1 || s.StagedBytes <= 0 {
			t.Errorf("after a stage: %+v", s)
		}
		_ = n.Rep.Revoke(leave(), core.Coordinator, h.StageRequest(0).Incarnation, h.Tx)
		quiet(t, n, 0, 0)

		h = c.Begin("app", create("K", "v"))
		h.Prepare()
		h.Stage(1, 2, 3, 4)
		n.Applied(0, h.Commit())
		quiet(t, n, 0, 1)
		_, _ = n.Rep.Stage(leave(), h.StageRequest(0))
		quiet(t, n, 1, 0)
		change(c, n, func(tx store.Txn) error { return tx.Put(store.Pair{Key: shardKey(h.Set(0)), Value: []byte("x")}) })
		_ = n.Rep.NoteHole(leave(), core.Path("app", "K"), 1, h.Set(0))
		quiet(t, n, 1, 1)
	})
}
