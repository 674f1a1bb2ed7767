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

// rowDigest is the share of one row in the set hash; buf is scratch space that
// it returns grown.
func rowDigest(buf, key, value []byte) (digest, []byte) {
	buf = binary.BigEndian.AppendUint16(buf[:0], uint16(len(key)))
	buf = append(append(buf, key...), value...)
	sum := sha256.Sum256(buf)
	return digestFrom(sum[:]), buf
}

// headDigest is the share of the head: its fields but the digest, 8 bytes big
// endian each, in order of field number.
func headDigest(p dsv.Partition, h *metapb.HeadRow) digest {
	var a [128]byte
	b := a[:0]
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
	d, _ := rowDigest(nil, headKey(p), b)
	return d
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
			var d digest
			d, buf = rowDigest(buf, it.Key, it.Value)
			sum.add(d)
		}
		return true, nil
	})
	return sum.bytes(), err
}
