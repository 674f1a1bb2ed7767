package replica

import (
	"sync"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// stagedIndex finds the staged transactions of one partition, by key and by
// age, without walking over the removed rows that an ordered store keeps until
// it compacts. The rows 'x' are the truth: the index holds, at every moment, at
// least what they hold. A transaction enters before its rows are written, and
// so before its acknowledgement; it leaves after the removal is committed, and so
// after every new snapshot knows its decision. A reader looks here first and
// takes its snapshot then (strict_read.md, H2): a transaction that is in
// neither was decided in that snapshot, or staged after the read began.
type stagedIndex struct {
	mu     sync.Mutex
	txs    map[dsv.TxID]*stagedEntry
	byPath map[dsv.Path][]dsv.TxID // repairs left out: they change no value
}

type stagedEntry struct {
	paths   []dsv.Path
	writing bool // its rows are being written
}

func newStagedIndex() *stagedIndex {
	return &stagedIndex{txs: map[dsv.TxID]*stagedEntry{}, byPath: map[dsv.Path][]dsv.TxID{}}
}

// begin notes a transaction whose rows are about to be written.
func (x *stagedIndex) begin(t dsv.TxID, ns dsv.Namespace, ops []stagedOp) {
	e := &stagedEntry{writing: true}
	for _, o := range ops {
		if o.kind != metapb.OpKind_REPAIR {
			e.paths = append(e.paths, dsv.Path{NS: ns, Key: o.key})
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.txs[t]; ok { // what an earlier, failed write left
		x.removeLocked(t)
	}
	x.txs[t] = e
	for _, p := range e.paths {
		x.byPath[p] = append(x.byPath[p], t)
	}
}

// written notes that the write has ended. Without rows, known for sure, the
// transaction leaves.
func (x *stagedIndex) written(t dsv.TxID, rows bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.txs[t]; e != nil {
		e.writing = false
		if !rows {
			x.removeLocked(t)
		}
	}
}

// remove drops a transaction whose removal is committed.
func (x *stagedIndex) remove(t dsv.TxID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.txs[t]; e != nil && !e.writing {
		x.removeLocked(t)
	}
}

func (x *stagedIndex) removeLocked(t dsv.TxID) {
	for _, p := range x.txs[t].paths {
		list := x.byPath[p]
		for i := range list {
			if list[i] == t {
				list[i] = list[len(list)-1]
				list = list[:len(list)-1]
				break
			}
		}
		if len(list) == 0 {
			delete(x.byPath, p)
		} else {
			x.byPath[p] = list
		}
	}
	delete(x.txs, t)
}

// has reports whether a transaction may be staged; false is sure, as long as
// the caller has its latch.
func (x *stagedIndex) has(t dsv.TxID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.txs[t]
	return ok
}

// of is what is staged for one key, the caller's own copy.
func (x *stagedIndex) of(p dsv.Path) []dsv.TxID {
	x.mu.Lock()
	defer x.mu.Unlock()
	if list := x.byPath[p]; len(list) > 0 {
		return append([]dsv.TxID(nil), list...)
	}
	return nil
}

// older is up to limit transactions begun before t0 whose rows are not just
// being written.
func (x *stagedIndex) older(t0 int64, limit int) (out []dsv.TxID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for t, e := range x.txs {
		if t.T0 < t0 && !e.writing {
			if out = append(out, t); len(out) == limit {
				break
			}
		}
	}
	return out
}
