package meta

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// digest is a set hash: a 256 bit number, little end first by words.
type digest [4]uint64

func digestFrom(b []byte) (d digest) {
	for i := range d {
		d[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return d
}

func (d digest) bytes() (b [32]byte) {
	for i, w := range d {
		binary.LittleEndian.PutUint64(b[8*i:], w)
	}
	return b
}

func (d *digest) add(o digest) {
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], o[i], carry)
	}
}

func (d *digest) sub(o digest) {
	var borrow uint64
	for i := range d {
		d[i], borrow = bits.Sub64(d[i], o[i], borrow)
	}
}

// appendRowKey begins a row as it is hashed: length of the key, key; the value
// follows.
func appendRowKey(b, key []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(key))), key...)
}

// hashRow is the share of one row in the set hash.
func hashRow(row []byte) digest {
	sum := sha256.Sum256(row)
	return digestFrom(sum[:])
}

// headDigest is the share of the head: its fields but the digest, 8 bytes big
// endian each, in order of field number.
func headDigest(p dsv.Partition, h *metapb.HeadRow) digest {
	var a [128]byte
	b := appendRowKey(a[:0], headKey(p))
	for _, v := range [...]int64{h.GetOffset(), h.GetTUs(), h.GetEUs(), h.GetLastAppendUs(),
		int64(h.GetApplied()), int64(h.GetVoid())} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	var configured uint64
	if h.GetConfigured() {
		configured = 1
	}
	b = binary.BigEndian.AppendUint64(b, configured)
	b = binary.BigEndian.AppendUint64(b, uint64(h.GetNextDeadlineUs()))
	b = binary.BigEndian.AppendUint64(b, uint64(h.GetNextSweepUs()))
	return hashRow(b)
}

// DigestOf recomputes the state digest of a partition from its rows; it equals
// the Head's. It reads every row: for tests and audits.
func DigestOf(tx store.Txn, p dsv.Partition) ([32]byte, error) {
	m := machine{tx: tx, p: p}
	found, err := m.loadHead()
	if err != nil || !found {
		return [32]byte{}, err
	}
	sum := headDigest(p, m.head)
	var buf []byte
	head := string(headKey(p))
	err = scan(tx, Prefix(p), store.Page{Limit: scanPage}, func(it store.Item) (bool, error) {
		if string(it.Key) != head {
			buf = append(appendRowKey(buf[:0], it.Key), it.Value...)
			sum.add(hashRow(buf))
		}
		return true, nil
	})
	return sum.bytes(), err
}
