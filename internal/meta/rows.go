package meta

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// scanPage is how many rows a walk reads at a time.
const scanPage = 256

// ErrCorrupt is wrapped when a row cannot be what this package wrote: the
// store lied, and the partition has to be rebuilt from the log.
var ErrCorrupt = errors.New("meta: corrupt row")

func corrupt(key []byte, what any) error {
	return fmt.Errorf("%w %x: %v", ErrCorrupt, key, what)
}

// get reads a row into msg (if msg is not nil) and returns its bytes, nil if
// there is none.
func get(tx store.Txn, key []byte, msg proto.Message) ([]byte, error) {
	it, err := tx.Get(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case msg == nil:
		return it.Value, nil
	}
	if err := proto.Unmarshal(it.Value, msg); err != nil {
		return nil, corrupt(key, err)
	}
	if it.Value == nil {
		it.Value = []byte{}
	}
	return it.Value, nil
}

// scan walks the rows under prefix, page by page, until visit returns false.
func scan(tx store.Txn, prefix []byte, page store.Page, visit func(store.Item) (bool, error)) error {
	for {
		items, more, err := tx.Scan(prefix, page)
		if err != nil {
			return err
		}
		for _, it := range items {
			if goOn, err := visit(it); err != nil || !goOn {
				return err
			}
		}
		if !more || len(items) == 0 {
			return nil
		}
		last := items[len(items)-1].Key
		if page.Reverse {
			page.To = last
		} else {
			page.After, page.From = last, nil
		}
	}
}

// machine is one partition of a Run: the transaction, the head as it grows, the
// record at hand and its effects.
type machine struct {
	tx     store.Txn
	p      dsv.Partition
	in     Input
	head   *metapb.HeadRow
	sum    digest // of all rows but the head
	eff    Effects
	buf    []byte            // the row at hand as it is hashed
	conf   *Config           // as read in this transaction; nil: not yet
	stores *metapb.StoresRow // likewise; not to be changed
}

// loadHead reads the head; before the first record it makes one at offset -1.
func (m *machine) loadHead() (found bool, err error) {
	m.head = new(metapb.HeadRow)
	key := headKey(m.p)
	old, err := get(m.tx, key, m.head)
	if err != nil {
		return false, err
	}
	if old == nil {
		m.head.Offset = -1
		return false, nil
	}
	if len(m.head.GetDigest()) != 32 {
		return false, corrupt(key, "no digest")
	}
	m.sum = digestFrom(m.head.GetDigest())
	return true, nil
}

// storeHead writes the head.
func (m *machine) storeHead() error {
	sum := m.sum.bytes()
	m.head.Digest = sum[:]
	key := headKey(m.p)
	value, err := m.marshal(key, m.head)
	if err != nil {
		return err
	}
	return m.tx.Put(store.Pair{Key: key, Value: value})
}

// put replaces old (nil: there is no such row) by the message.
func (m *machine) put(key, old []byte, msg proto.Message) error {
	if old != nil {
		m.discount(key, old)
	}
	value, err := m.marshal(key, msg)
	if err != nil {
		return err
	}
	m.sum.add(hashRow(m.buf))
	return m.tx.Put(store.Pair{Key: key, Value: value})
}

// marshal leaves the row as it is hashed in m.buf and returns the value's part
// of it, good until the next row.
func (m *machine) marshal(key []byte, msg proto.Message) ([]byte, error) {
	m.buf = appendRowKey(m.buf[:0], key)
	at := len(m.buf)
	var err error
	if m.buf, err = deterministic.MarshalAppend(m.buf, msg); err != nil {
		return nil, fmt.Errorf("%w: row %x: %w", ErrBroken, key, err)
	}
	return m.buf[at:], nil
}

// putRaw is put of a value that is no message.
func (m *machine) putRaw(key, old, value []byte) error {
	if old != nil {
		m.discount(key, old)
	}
	m.buf = append(appendRowKey(m.buf[:0], key), value...)
	m.sum.add(hashRow(m.buf))
	return m.tx.Put(store.Pair{Key: key, Value: value})
}

// remove deletes a row whose value is old.
func (m *machine) remove(key, old []byte) error {
	m.discount(key, old)
	n, err := m.tx.Delete(key)
	if err == nil && n != 1 {
		return corrupt(key, "missing")
	}
	return err
}

// discount takes a row out of the digest.
func (m *machine) discount(key, value []byte) {
	m.buf = append(appendRowKey(m.buf[:0], key), value...)
	m.sum.sub(hashRow(m.buf))
}
