package meta

import (
	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

const (
	sweepRows  = 64                  // outcomes removed at one record
	sweepEvery = dsv.MicrosPerSecond // least log time between two sweeps that left nothing due
	sweepSlack = 60 * dsv.MicrosPerSecond
	minTime    = int64(-1 << 63)
)

// due is one row of the deadline index.
type due struct {
	deadline int64
	id       dsv.TxID
}

// expire decides every pending transaction whose deadline E has passed.
// NextDeadlineUs keeps records that expire nothing from looking.
func (m *machine) expire() error {
	h := m.head
	if h.GetNextDeadlineUs() == 0 || h.GetEUs() <= h.GetNextDeadlineUs() {
		return nil
	}
	var found []due
	from := h.GetNextDeadlineUs()
	h.NextDeadlineUs = 0
	err := scanDue(m.tx, m.p, from, scanPage, func(d due) bool {
		if h.GetEUs() <= d.deadline {
			h.NextDeadlineUs = d.deadline
			return false
		}
		found = append(found, d)
		return true
	})
	if err != nil {
		return err
	}
	for _, d := range found {
		t, err := m.loadPending(d.id)
		if err != nil {
			return err
		}
		if t == nil {
			return corrupt(dueKey(d.deadline, d.id), "not pending")
		}
		if err := m.finish(t, &metapb.TxRow{State: metapb.TxState_EXPIRED}, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// scanDue walks the pending transactions with deadlines from `from` on, in that
// order, until visit returns false. The head's NextDeadlineUs is a good start:
// nothing is pending below it, and an ordered store walks over what was removed
// there until it compacts.
func scanDue(tx store.Txn, p dsv.Partition, from int64, limit int, visit func(due) bool) error {
	page := store.Page{From: dueKey(from, dsv.TxID{Partition: p, T0: minTime}), Limit: limit, KeysOnly: true}
	return scan(tx, rowKey(p, kindDue, 0), page, func(it store.Item) (bool, error) {
		deadline, id, ok := dueOfKey(p, it.Key)
		if !ok {
			return false, corrupt(it.Key, "not a deadline")
		}
		return visit(due{deadline, id}), nil
	})
}

// sweep removes outcomes that are kept no longer. Lookups forget them by E
// alone, so when they are removed makes no difference but to the rows.
func (m *machine) sweep() error {
	h := m.head
	if h.GetNextSweepUs() == 0 || h.GetEUs() <= h.GetNextSweepUs() {
		return nil
	}
	// Nothing older is left: NextSweepUs was set for the oldest outcome, or a
	// sweepEvery after the last sweep; a PREPARE may be 20 s younger in T0.
	from := dsv.TxID{Partition: m.p, T0: h.GetNextSweepUs() - keepFor - sweepSlack}
	page := store.Page{From: txKey(from), Limit: sweepRows + 1}
	items, _, err := m.tx.Scan(rowKey(m.p, kindTx, 0), page)
	if err != nil {
		return err
	}
	for i, it := range items {
		id, ok := txOfKey(m.p, it.Key)
		if !ok {
			return corrupt(it.Key, "not a txid")
		}
		if !forgotten(h.GetEUs(), id.T0) {
			h.NextSweepUs = max(id.T0+keepFor, h.GetEUs()+sweepEvery)
			return nil
		}
		if i == sweepRows {
			return nil // the next record goes on
		}
		if err := m.removeOutcome(id, it); err != nil {
			return err
		}
	}
	h.NextSweepUs = 0
	return nil
}

// forgotten: the outcome of a transaction of this T0 is kept no longer.
func forgotten(e, t0 int64) bool { return t0 < e-keepFor }

func (m *machine) removeOutcome(id dsv.TxID, it store.Item) error {
	row := new(metapb.TxRow)
	if err := unmarshal(it, row); err != nil {
		return err
	}
	if row.GetState() == metapb.TxState_PENDING {
		return corrupt(it.Key, "pending for a day")
	}
	if row.GetIdempotencyKey() != "" {
		key := idemKey(m.p, row.GetNamespace(), row.GetCaller(), row.GetIdempotencyKey())
		old, err := get(m.tx, key, nil)
		if err != nil {
			return err
		}
		if string(old) == string(id.Bytes()) { // else a later transaction has the key
			if err := m.remove(key, old); err != nil {
				return err
			}
		}
	}
	return m.remove(it.Key, it.Value)
}
