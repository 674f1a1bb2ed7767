package meta

import (
	"fmt"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBroken, fmt.Sprintf(format, args...))
}

// AssertInvariants reads a whole partition and reports the first thing that
// must never be, wrapping ErrBroken: versions of a secret are not 1..m (I3),
// intervals are not ordered and disjoint or disagree with the secret (I10), a
// share set stands for two versions, pending transactions and their deadlines
// disagree, an idempotency key leads nowhere, a current store id was never
// seen, or the running digest is not that of the rows. For tests, simulation
// and audits.
func AssertInvariants(tx store.Txn, p dsv.Partition) error {
	a := audit{tx: tx, p: p, sets: make(map[dsv.ShareSet]string)}
	var err error
	if a.head, err = ReadHead(tx, p); err != nil {
		return err
	}
	for _, check := range [...]func() error{a.digest, a.secrets, a.transactions, a.answers, a.stores} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

type audit struct {
	tx   store.Txn
	p    dsv.Partition
	head Head
	sets map[dsv.ShareSet]string // share set -> the version that has it
}

func (a *audit) rows(kind byte, visit func(store.Item) error) error {
	return scan(a.tx, rowKey(a.p, kind, 0), store.Page{Limit: scanPage}, func(it store.Item) (bool, error) {
		return true, visit(it)
	})
}

func (a *audit) digest() error {
	d, err := DigestOf(a.tx, a.p)
	if err != nil {
		return err
	}
	if d != a.head.Digest {
		return broken("partition %d at %d: running digest %x, of the rows %x", a.p, a.head.Offset, a.head.Digest, d)
	}
	return nil
}

func (a *audit) secrets() error {
	versions := 0
	err := a.rows(kindSecret, func(it store.Item) error {
		path, ok := pathOf(it.Key[prefixLen:])
		if !ok {
			return corrupt(it.Key, "not a secret")
		}
		if part, _, err := partitionOf(a.tx, path.NS); err != nil || part != a.p {
			return broken("%s lies in partition %d (%v)", path, a.p, err)
		}
		s, _, err := secretAt(a.tx, a.p, path)
		if err != nil {
			return err
		}
		vs, err := History(a.tx, path)
		if err != nil {
			return err
		}
		versions += len(vs)
		return a.secret(path, s, vs)
	})
	if err != nil {
		return err
	}
	total, err := a.tx.Count(rowKey(a.p, kindVersion, 0))
	if err == nil && total != versions {
		err = broken("partition %d: %d versions of secrets, %d version rows", a.p, versions, total)
	}
	return err
}

func (a *audit) secret(path dsv.Path, s Secret, vs []Version) error {
	if s.LastVersion == 0 || s.LastVersion != uint64(len(vs)) {
		return broken("%s: last version %d, but %d versions", path, s.LastVersion, len(vs))
	}
	if s.ChangedOffset < 0 || s.ChangedOffset > a.head.Offset {
		return broken("%s: changed at %d, head at %d", path, s.ChangedOffset, a.head.Offset)
	}
	end := int64(0) // of the latest interval; -1 once one is open
	for i, v := range vs {
		name := fmt.Sprintf("%s@%d", path, v.Number)
		if v.Number != uint64(i+1) {
			return broken("%s: a gap or double, it is number %d", name, i+1)
		}
		if other, ok := a.sets[v.ShareSet]; ok {
			return broken("%s and %s have one share set", name, other)
		}
		a.sets[v.ShareSet] = name
		if len(v.Intervals) == 0 {
			return broken("%s: no interval", name)
		}
		for _, iv := range v.Intervals {
			if end < 0 || iv.From < max(end, 1) || (iv.To != 0 && iv.To <= iv.From) {
				return broken("%s: interval %v after %d", name, iv, end)
			}
			if end = iv.To; iv.To == 0 {
				end = -1
			}
		}
	}
	return a.boundary(path, s, vs[len(vs)-1])
}

// boundary compares the secret's row with its last version.
func (a *audit) boundary(path dsv.Path, s Secret, last Version) error {
	iv := last.Intervals[len(last.Intervals)-1]
	want := iv.To
	if iv.To == 0 {
		want = iv.From
	}
	switch {
	case s.Live != last.Live():
		return broken("%s: live %v, but its last interval is %v", path, s.Live, iv)
	case s.Live && last.Destroyed:
		return broken("%s: live and destroyed", path)
	case s.Boundary != want:
		return broken("%s: boundary %d, but its last interval is %v", path, s.Boundary, iv)
	}
	return nil
}

func (a *audit) transactions() error {
	m := machine{tx: a.tx, p: a.p}
	if _, err := m.loadHead(); err != nil {
		return err
	}
	deadlines, err := a.deadlines(m.head.GetNextDeadlineUs())
	if err != nil {
		return err
	}
	rows := 0
	err = a.rows(kindTx, func(it store.Item) error {
		rows++
		return a.transaction(it, deadlines)
	})
	switch {
	case err != nil:
		return err
	case len(deadlines) > 0:
		return broken("partition %d: %d deadlines of transactions that are not pending", a.p, len(deadlines))
	case rows > 0 && m.head.GetNextSweepUs() == 0:
		return broken("partition %d: outcomes that nothing will remove", a.p)
	}
	return nil
}

// deadlines reads the index; next is the E up to which the head promises that
// nothing expires.
func (a *audit) deadlines(next int64) (map[dsv.TxID]int64, error) {
	out := make(map[dsv.TxID]int64)
	var first int64
	err := scanDue(a.tx, a.p, 0, scanPage, func(d due) bool {
		if out[d.id] = d.deadline; first == 0 {
			first = d.deadline
		}
		return true
	})
	if err == nil && first != 0 && (next == 0 || next > first || first < a.head.E) {
		err = broken("partition %d: E %d, looks for deadlines after %d, but the first is %d", a.p, a.head.E, next, first)
	}
	return out, err
}

// transaction takes the deadline of a pending one out of the index.
func (a *audit) transaction(it store.Item, deadlines map[dsv.TxID]int64) error {
	id, ok := txOfKey(a.p, it.Key)
	if !ok {
		return corrupt(it.Key, "not a txid")
	}
	row := new(metapb.TxRow)
	if err := unmarshal(it, row); err != nil {
		return err
	}
	if row.GetState() != metapb.TxState_PENDING {
		return nil
	}
	if d, ok := deadlines[id]; !ok || d != deadlineOf(row) {
		return broken("%s: pending until %d, but the index says %d", id, deadlineOf(row), d)
	}
	delete(deadlines, id)
	return nil
}

func (a *audit) answers() error {
	return a.rows(kindIdem, func(it store.Item) error {
		id, err := dsv.TxIDFromBytes(it.Value)
		if err != nil {
			return corrupt(it.Key, err)
		}
		row := new(metapb.TxRow)
		b, err := get(a.tx, txKey(id), row)
		if err != nil {
			return err
		}
		want := idemKey(a.p, row.GetNamespace(), row.GetCaller(), row.GetIdempotencyKey())
		if b == nil || string(want) != string(it.Key) || len(row.GetResults()) == 0 {
			return broken("idempotency row %x leads to %s, which has no such answer", it.Key, id)
		}
		return nil
	})
}

func (a *audit) stores() error {
	row := new(metapb.StoresRow)
	if _, err := get(a.tx, storesKey(a.p), row); err != nil {
		return err
	}
	for i, e := range row.GetStores() {
		var id dsv.StoreID
		copy(id[:], e.GetStoreId())
		seen, err := get(a.tx, seenKey(a.p, id), nil)
		if err != nil {
			return err
		}
		if string(seen) != e.GetNode() || (i > 0 && row.GetStores()[i-1].GetNode() >= e.GetNode()) {
			return broken("store %s of %s was never seen as its, or is out of order", id, e.GetNode())
		}
	}
	return nil
}
