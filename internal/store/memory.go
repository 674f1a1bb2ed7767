package store

import (
	"bytes"

	"github.com/google/btree"
)

// OpenMemory returns an empty store in memory. Commit is as durable as the
// process. It panics if the options make no sense.
func OpenMemory(opt Options) Store {
	opt, err := opt.complete(false)
	if err != nil {
		panic("store: OpenMemory: " + err.Error())
	}
	opt.FreeFloor = 0
	c, err := newCore(newMemory(), opt)
	if err != nil {
		panic("store: OpenMemory: " + err.Error()) // nothing in it to fail on
	}
	return &memoryStore{c}
}

func newMemory() *memory { return &memory{tree: btree.NewG(32, memLess)} }

type memoryStore struct{ *core }

// Close drops everything.
func (s *memoryStore) Close() error { return s.close(func(err error) error { return err }) }

// memory is the engine of OpenMemory: a B-tree, and a copy-on-write clone of
// it for views.
type memory struct {
	tree  *btree.BTreeG[*memRow]
	shown memView
}

type memRow struct {
	key, value []byte
	rev        uint64
}

func memLess(a, b *memRow) bool { return bytes.Compare(a.key, b.key) < 0 }

func (m *memory) newest() uint64               { return 0 }
func (m *memory) cost(key, value []byte) int64 { return int64(len(key) + len(value)) }
func (m *memory) limits() (int, int64)         { return 2 * MaxTxnRows, 4 * MaxTxnBytes }
func (m *memory) publish(uint64)               { m.shown = memView{m.tree.Clone()} }
func (m *memory) view(uint64) view             { return m.shown }
func (m *memory) discard(uint64)               {}
func (m *memory) sync() error                  { return nil }
func (m *memory) close() error                 { return nil }

func (m *memory) apply(b *batch) error {
	for i := range b.rows {
		r := &b.rows[i]
		if r.del {
			m.tree.Delete(&memRow{key: r.key})
			continue
		}
		m.tree.ReplaceOrInsert(&memRow{r.key, r.value, revision(b.tick, r.slot)})
	}
	return nil
}

type memView struct{ tree *btree.BTreeG[*memRow] }

func (v memView) get(key []byte) (Item, error) {
	r, ok := v.tree.Get(&memRow{key: key})
	if !ok {
		return Item{}, ErrNotFound
	}
	return newItem(r.key, r.value, r.rev), nil
}

func (v memView) scan(s span, w walk, yield func(key, value []byte, rev uint64) bool) error {
	visit := func(r *memRow) bool {
		if w.keysOnly {
			return yield(r.key, nil, r.rev)
		}
		return yield(r.key, r.value, r.rev)
	}
	lo, hi := &memRow{key: s.lo}, &memRow{key: s.hi}
	if !w.reverse {
		v.tree.AscendRange(lo, hi, visit)
		return nil
	}
	v.tree.DescendLessOrEqual(hi, func(r *memRow) bool {
		if bytes.Equal(r.key, s.hi) {
			return true
		}
		return bytes.Compare(r.key, s.lo) >= 0 && visit(r)
	})
	return nil
}
