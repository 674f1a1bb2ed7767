package replica

import (
	"encoding/binary"
	"errors"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

var errRow = errors.New("replica: damaged row")

func shardKey(s dsv.ShareSet) []byte {
	return s.AppendBinary(append(make([]byte, 0, 2+dsv.ShareSetSize), 'r', 's'))
}

func stagedKey(t dsv.TxID) []byte {
	return t.AppendBinary(append(make([]byte, 0, 2+dsv.TxIDSize), 'r', 'x'))
}

func appendPath(b []byte, p dsv.Path) []byte {
	b = append(b, p.NS.String()...)
	b = append(b, 0)
	b = append(b, p.Key.String()...)
	return append(b, 0)
}

func holePrefix(p dsv.Partition) []byte {
	return binary.BigEndian.AppendUint16([]byte{'r', 'h'}, uint16(p))
}

func holeKey(p dsv.Partition, path dsv.Path, version uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPath(holePrefix(p), path), version)
}

func epochKey(p dsv.Partition) []byte {
	return binary.BigEndian.AppendUint16([]byte{'r', 'e'}, uint16(p))
}

var storeIDKey = []byte{'r', 'i'}

// HoleReason tells why a shard is not there.
type HoleReason uint8

// Reasons of a hole.
const (
	HoleMissing HoleReason = iota + 1
	HoleDamaged
)

// Hole is a version whose shard this node should hold and does not.
type Hole struct {
	Path    dsv.Path
	Version uint64
	Set     dsv.ShareSet
	Since   int64 // E, microseconds
	Reason  HoleReason
}

func (h Hole) encode() []byte {
	b := h.Set.AppendBinary(make([]byte, 0, dsv.ShareSetSize+9))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Since))
	return append(b, byte(h.Reason))
}

func decodeHole(key, value []byte) (Hole, error) {
	if len(value) != dsv.ShareSetSize+9 || len(key) < 4+2+8 {
		return Hole{}, errRow
	}
	var h Hole
	h.Set, _ = dsv.ShareSetFromBytes(value[:dsv.ShareSetSize])
	h.Since = int64(binary.BigEndian.Uint64(value[dsv.ShareSetSize:]))
	h.Reason = HoleReason(value[len(value)-1])
	h.Version = binary.BigEndian.Uint64(key[len(key)-8:])
	ns, k, ok := cutPath(key[4 : len(key)-8])
	if !ok {
		return Hole{}, errRow
	}
	var err error
	h.Path, err = dsv.ParsePath(ns, k)
	return h, err
}

func cutPath(b []byte) (ns, key string, ok bool) {
	for i, c := range b {
		if c == 0 && len(b) > i+1 && b[len(b)-1] == 0 {
			return string(b[:i]), string(b[i+1 : len(b)-1]), true
		}
	}
	return "", "", false
}

// stagedOp is one operation of a staged transaction.
type stagedOp struct {
	op    uint16
	kind  metapb.OpKind
	key   dsv.Key
	shard bool
}

// staged is the row 'x'.
type staged struct {
	coordinator dsv.NodeID
	incarnation dsv.Incarnation
	ns          dsv.Namespace
	bytes       uint32 // of its shards, for the bound on staged bytes
	ops         []stagedOp
}

func (s *staged) encode() []byte {
	b := make([]byte, 0, 64+24*len(s.ops))
	b = append(b, 1)
	b = appendString(b, string(s.coordinator))
	b = append(b, s.incarnation[:]...)
	b = appendString(b, s.ns.String())
	b = binary.BigEndian.AppendUint32(b, s.bytes)
	b = binary.BigEndian.AppendUint16(b, uint16(len(s.ops)))
	for _, o := range s.ops {
		b = binary.BigEndian.AppendUint16(b, o.op)
		b = append(b, byte(o.kind), bit(o.shard))
		b = appendString(b, o.key.String())
	}
	return b
}

func decodeStaged(b []byte) (*staged, error) {
	r := reader{b: b}
	if r.u8() != 1 {
		return nil, errRow
	}
	s := &staged{coordinator: dsv.NodeID(r.str())}
	copy(s.incarnation[:], r.take(16))
	ns := r.str()
	s.bytes = r.u32()
	n := int(r.u16())
	for range n {
		o := stagedOp{op: r.u16(), kind: metapb.OpKind(r.u8()), shard: r.u8() == 1}
		key := r.str()
		if r.bad {
			return nil, errRow
		}
		var err error
		if o.key, err = dsv.ParseKey(key); err != nil {
			return nil, errRow
		}
		s.ops = append(s.ops, o)
	}
	if r.bad || len(r.b) != 0 {
		return nil, errRow
	}
	var err error
	s.ns, err = dsv.ParseNamespace(ns)
	return s, err
}

// readStaged reads the row 'x' of a transaction, nil if nothing is staged.
func readStaged(tx store.Txn, t dsv.TxID) (*staged, error) {
	it, err := tx.Get(stagedKey(t))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeStaged(it.Value)
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// reader reads a row; after the first short read everything is zero and bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() byte    { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) str() string { return string(r.take(int(r.u16()))) }
