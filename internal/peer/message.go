package peer

import (
	"encoding/binary"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
)

// Kinds of requests between nodes. Their bodies, integers big endian, strings
// and bytes with a length before them (u16, bytes u32):
//
//	proof   u8 repair, u16 verbs, u64 revision, bytes token
//	STAGE   proof, txid(26), incarnation(16), str ns, u16 n, n of
//	        { u16 op, u8 kind, str key, u8 has-shard, bytes shard }
//	        -> store id(16)
//	REVOKE  txid(26), incarnation(16) -> nothing
//	FETCH   proof, str ns, str key, share-set(28, zero = none), u8 probe
//	        -> store id(16), i64 d, u8 state, u16 n, n of txid(26), bytes shard
//	INFO    nothing -> i64 shards, holes, staged, records applied
const (
	kindStage  = 1
	kindRevoke = 2
	kindFetch  = 3
	kindInfo   = 4
)

// Proof is what lets a holder judge a request by itself: the caller's own
// token and the settings revision the coordinator judged it by, or Repair, for
// which the asking node's identity answers.
type Proof struct {
	Token    dsv.Secret
	Verbs    auth.Verb
	Revision uint64
	Repair   bool
}

func (p Proof) append(b []byte) []byte {
	r := byte(0)
	if p.Repair {
		r = 1
	}
	b = append(b, r)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Verbs))
	b = binary.BigEndian.AppendUint64(b, p.Revision)
	return appendBytes(b, p.Token.Reveal())
}

func appendStr(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendBytes(b, v []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

var errMessage = dsv.Invalid("message", "is not well-formed")

// decoder reads a message; after the first fault everything is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || len(d.b) < n {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if v := d.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) str() string   { return string(d.take(int(d.u16()))) }
func (d *decoder) bytes() []byte { return d.take(int(d.u32())) }

func (d *decoder) txid() (t dsv.TxID) {
	if v := d.take(dsv.TxIDSize); v != nil {
		t, _ = dsv.TxIDFromBytes(v)
	}
	return t
}

func (d *decoder) set() (s dsv.ShareSet) {
	if v := d.take(dsv.ShareSetSize); v != nil {
		s, _ = dsv.ShareSetFromBytes(v)
	}
	return s
}

func (d *decoder) proof() (p Proof) {
	p.Repair = d.u8() == 1
	p.Verbs = auth.Verb(d.u16())
	p.Revision = d.u64()
	p.Token = dsv.SecretOf(d.bytes())
	return p
}

func (d *decoder) end() error {
	if d.bad || len(d.b) != 0 {
		return errMessage
	}
	return nil
}

func encodeStage(q replica.StageRequest, p Proof) []byte {
	size := 128 + p.Token.Len()
	for _, o := range q.Ops {
		size += 16 + len(o.Key.String()) + len(o.Shard)
	}
	b := p.append(make([]byte, 0, size))
	b = q.Tx.AppendBinary(b)
	b = append(b, q.Incarnation[:]...)
	b = appendStr(b, q.NS.String())
	b = binary.BigEndian.AppendUint16(b, uint16(len(q.Ops)))
	for _, o := range q.Ops {
		b = binary.BigEndian.AppendUint16(b, o.Op)
		b = append(b, byte(o.Kind))
		b = appendStr(b, o.Key.String())
		if o.Shard == nil {
			b = append(b, 0)
			continue
		}
		b = appendBytes(append(b, 1), o.Shard)
	}
	return b
}

func decodeStage(b []byte) (q replica.StageRequest, p Proof, err error) {
	d := decoder{b: b}
	p = d.proof()
	q.Tx = d.txid()
	copy(q.Incarnation[:], d.take(16))
	ns := d.str()
	n := int(d.u16())
	if d.bad || n == 0 || n > dsv.MaxBatchOps {
		return q, p, errMessage
	}
	if q.NS, err = dsv.ParseNamespace(ns); err != nil {
		return q, p, err
	}
	q.Ops = make([]replica.StageOp, n)
	for i := range q.Ops {
		o := &q.Ops[i]
		o.Op = d.u16()
		o.Kind = metapb.OpKind(d.u8())
		if o.Key, err = dsv.ParseKey(d.str()); err != nil {
			return q, p, errMessage
		}
		if d.u8() == 1 {
			o.Shard = d.bytes()
		}
	}
	return q, p, d.end()
}

func encodeRevoke(t dsv.TxID, inc dsv.Incarnation) []byte {
	return append(t.Bytes(), inc[:]...)
}

func decodeRevoke(b []byte) (t dsv.TxID, inc dsv.Incarnation, err error) {
	d := decoder{b: b}
	t = d.txid()
	copy(inc[:], d.take(16))
	return t, inc, d.end()
}

func encodeFetch(q replica.FetchRequest, p Proof) []byte {
	b := p.append(make([]byte, 0, 64+p.Token.Len()+len(q.Path.NS.String())+len(q.Path.Key.String())+dsv.ShareSetSize))
	b = appendStr(b, q.Path.NS.String())
	b = appendStr(b, q.Path.Key.String())
	b = q.Set.AppendBinary(b)
	if q.Probe {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeFetch(b []byte) (q replica.FetchRequest, p Proof, err error) {
	d := decoder{b: b}
	p = d.proof()
	ns, key := d.str(), d.str()
	q.Set = d.set()
	q.Probe = d.u8() == 1
	if err := d.end(); err != nil {
		return q, p, err
	}
	q.Path, err = dsv.ParsePath(ns, key)
	return q, p, err
}

func encodeAnswer(a replica.Answer) []byte {
	b := make([]byte, 0, 40+dsv.TxIDSize*len(a.Staged)+len(a.Shard))
	b = append(b, a.Store[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Decided))
	b = append(b, byte(a.State))
	b = binary.BigEndian.AppendUint16(b, uint16(len(a.Staged)))
	for _, t := range a.Staged {
		b = t.AppendBinary(b)
	}
	return appendBytes(b, a.Shard)
}

func decodeAnswer(b []byte) (a replica.Answer, err error) {
	d := decoder{b: b}
	copy(a.Store[:], d.take(16))
	a.Decided = int64(d.u64())
	a.State = replica.ShardState(d.u8())
	for range int(d.u16()) {
		a.Staged = append(a.Staged, d.txid())
		if d.bad {
			return a, errMessage
		}
	}
	a.Shard = d.bytes()
	return a, d.end()
}

// Info is what a member tells of its copy, for status.
type Info struct {
	Shards, Holes, Staged int64
	Position              int64 // records applied, over all partitions
}

func encodeInfo(i Info) []byte {
	b := make([]byte, 0, 32)
	for _, v := range []int64{i.Shards, i.Holes, i.Staged, i.Position} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

func decodeInfo(b []byte) (i Info, err error) {
	d := decoder{b: b}
	for _, v := range []*int64{&i.Shards, &i.Holes, &i.Staged, &i.Position} {
		*v = int64(d.u64())
	}
	return i, d.end()
}
