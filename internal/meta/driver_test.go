package meta

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// spaces are three namespaces of partition 1 of 3, one a prefix of another.
var spaces = []string{"a", "a/b", "z9"}

func TestSpacesLieInOnePartition(t *testing.T) {
	for _, s := range spaces {
		if PartitionOf(ns(s), 3) != PartitionOf(ns(spaces[0]), 3) {
			t.Errorf("%s lies in %d", s, PartitionOf(ns(s), 3))
		}
	}
}

// driver draws records that are mostly sensible and often collide: few keys,
// few callers, few idempotency keys, steps of time around every limit.
type driver struct {
	*rand.Rand
	w    *twin // knows what is worth naming
	cfg  Config
	ids  []dsv.TxID
	gone []dsv.ShareSet
	now  int64
	seq  uint64
	log  []Input
}

func pick[T any](d *driver, from ...T) T { return from[d.IntN(len(from))] }

// odds is true once in n.
func (d *driver) odds(n int) bool { return d.IntN(n) == 0 }

// generate makes a log.
func generate(seed uint64) []Input {
	d := &driver{Rand: rand.New(rand.NewPCG(seed, 0)), cfg: fiveOfThree, now: start}
	d.cfg.Partitions = 3
	d.w = newTwin(PartitionOf(ns("a"), 3))
	joins := !d.odds(10)
	for range 30 + d.IntN(170) {
		if d.w.cfg != nil && joins {
			d.joinAll()
			joins = false
		}
		d.add(d.next(int64(len(d.log))))
		if d.w.cfg != nil && d.odds(900) {
			for range 24*30 + 5 { // a day passes
				d.now += 2 * minute
				d.add(Input{Partition: d.w.p, Offset: int64(len(d.log)), AppendTime: d.now, Record: record(&metapb.Tick{})})
			}
		}
	}
	return d.log
}

func (d *driver) add(in Input) {
	d.log = append(d.log, in)
	_, decided := d.w.apply(in)
	for _, x := range decided {
		for _, g := range x.gone {
			d.gone = append(d.gone, g...)
		}
	}
}

func (d *driver) next(off int64) Input {
	d.now += pick(d, int64(0), 0, 1, 700, 5000, 5000, 5000, 30000, 30000, 30000, second, -second, -300)
	if d.odds(30) {
		d.now += pick(d, int64(4*second), 11*second, 11*second, minute, 5*minute)
	}
	in := Input{Partition: d.w.p, Offset: off, AppendTime: d.now, Incarnation: incarnation(pick(d, byte(1), 1, 1, 1, 2))}
	if off == 0 && !d.odds(10) {
		in.Record = record(d.cfg.Record())
		return in
	}
	switch pick(d, "tx", "tx", "tx", "tx", "tx", "settle", "settle", "settle", "settle", "settle", "settle", "settle", "settle", "other", "rare") {
	case "tx":
		in.Record = record(d.prepare())
	case "settle":
		in.Record = record(d.settle(&in))
	case "rare":
		if d.odds(2) {
			in.Record = record(d.join())
		}
	default:
		in.Record = record(pick[any](d, nil, &metapb.Tick{}, &metapb.Checkpoint{Offset: 1}, &metapb.Setting{Type: "x"},
			d.cfg.Record(), &metapb.Config{ClusterId: "x"}))
	}
	return in
}

func (d *driver) prepare() *metapb.Prepare {
	d.seq++
	id := dsv.TxID{Partition: d.w.p, T0: d.w.e + pick(d, int64(0), 0, 0, -9*second, 9*second)}
	binary.BigEndian.PutUint64(id.Nonce[8:], d.seq)
	space := pick(d, spaces[0], spaces[0], spaces[0], spaces[0], spaces[0], spaces[1], spaces[2])
	p := &metapb.Prepare{
		Coordinator: "n1", TtlUs: pick(d, int64(10*second), 10*second, 10*second, 60*second, 60*second, 60*second, 60*second, 1000), Namespace: space,
		Holders: nodeStrings(d.cfg.Holders(ns(space))), K: uint32(d.cfg.Q.K), N: uint32(d.cfg.Q.N), W: uint32(d.cfg.Q.W),
		RequestedAtUs: int64(d.seq), Caller: pick(d, "alice", "bob"),
		IdempotencyKey: pick(d, "", "", "", "k1", "k2"),
	}
	keys := []string{"A", "B", "A.B"}
	i := d.IntN(3)
	for range pick(d, 1, 1, 1, 2, 3) {
		p.Ops = append(p.Ops, d.op(space, keys[i%3]))
		i++
	}
	if d.odds(8) {
		d.spoil(p, &id)
	}
	d.ids = append(d.ids, id)
	p.Txid = id.Bytes()
	return p
}

func (d *driver) spoil(p *metapb.Prepare, id *dsv.TxID) {
	switch d.IntN(10) {
	case 0:
		id.T0 += 30 * second
	case 1:
		id.T0 -= 30 * second
	case 2:
		id.Partition++
	case 3:
		p.TtlUs = pick(d, int64(0), -1, 60*second+1)
	case 4:
		p.W--
	case 5:
		p.Holders[0], p.Holders[1] = p.Holders[1], p.Holders[0]
	case 6:
		p.Ops[0].Key = p.Ops[len(p.Ops)-1].GetKey()
	case 7:
		p.Ops[0].Digests = append(p.Ops[0].Digests, make([]byte, 32))
	case 8:
		p.Namespace = pick(d, "", "a//b", "other") // "other" may be of this partition: then its holders differ
	case 9:
		if len(d.ids) > 0 {
			*id = pick(d, d.ids...)
		}
	}
}

func (d *driver) op(space, key string) *metapb.Op {
	at, _ := dsv.ParsePath(space, key)
	s := d.w.secrets[at]
	o := &metapb.Op{Key: key, Kind: pick(d, create, update, put, del, undelete, destroy, repair)}
	if likely := !d.odds(5); likely && s.live() > 0 {
		o.Kind = pick(d, update, update, update, put, del, destroy, repair, repair)
	} else if likely {
		o.Kind = pick(d, create, create, put, undelete, destroy, repair)
	}
	n := uint64(0)
	if s != nil {
		n = uint64(len(s.versions))
	}
	if d.odds(4) {
		v := pick(d, s.live(), s.live(), s.live(), s.live(), 0, n, n+1)
		o.IfVersion = &v
	}
	if hasShards(o.Kind) {
		o.PaddedSize = uint32(d.seq)
		for i := range d.cfg.Q.N {
			sum := make([]byte, 32)
			binary.BigEndian.PutUint64(sum, d.seq)
			sum[30], sum[31] = key[len(key)-1], byte(i)
			o.Digests = append(o.Digests, sum)
		}
	}
	switch o.Kind {
	case destroy:
		if o.All = d.odds(3); !o.All {
			o.Versions = slices.Compact([]uint64{max(n, 1), max(n, 1) + pick(d, uint64(0), 0, 0, 1)})
			if n > 1 && d.odds(2) {
				o.Versions = []uint64{d.Uint64N(n + 1)}
			}
		}
	case repair:
		from := dsv.ShareSet{}
		if n > 0 {
			o.RepairVersion = 1 + d.Uint64N(n)
			from = s.versions[o.RepairVersion-1].ShareSet
			if d.odds(8) {
				o.RepairVersion = d.Uint64N(n + 2)
			}
		}
		if len(d.gone) > 0 && d.odds(6) {
			from = pick(d, d.gone...)
		}
		o.FromShareSet = from.Bytes()
	}
	return o
}

// settle is a COMMIT or ABORT, mostly of something that is pending.
func (d *driver) settle(in *Input) any {
	id := dsv.TxID{Partition: d.w.p}
	if len(d.ids) > 0 {
		id = pick(d, d.ids[max(0, len(d.ids)-3):]...)
	}
	for _, other := range d.w.order { // mostly the oldest that is pending
		if d.w.txs[other].state == TxPending && d.odds(2) {
			id = other
			break
		}
	}
	x := d.w.txs[id]
	if x != nil && !d.odds(10) {
		in.Incarnation = x.who
	}
	switch pick(d, "commit", "commit", "commit", "commit", "commit", "commit", "abort", "unchanged") {
	case "abort":
		return &metapb.Abort{Txid: id.Bytes(), Reason: metapb.AbortReason_REFUSED}
	case "unchanged":
		return &metapb.Abort{Txid: id.Bytes(), Reason: metapb.AbortReason_UNCHANGED, UnchangedVersion: 3}
	}
	c := &metapb.Commit{Txid: id.Bytes()}
	if x == nil || d.w.cfg == nil {
		return c
	}
	holders := d.cfg.Holders(ns(x.p.GetNamespace()))
	for _, r := range pick(d, []int{0, 1, 2, 3}, []int{0, 1, 2, 3, 4}, []int{4, 3, 2, 1}, []int{0, 2, 3, 4}, []int{0, 1, 3, 4}, []int{0, 1, 2, 2}, []int{0, 0, 1, 2, 3, 9}) {
		a := &metapb.Ack{Holder: uint32(r), StoreId: make([]byte, 16)}
		if ids := d.w.stores[holders[r%len(holders)]]; len(ids) > 0 {
			id := ids[len(ids)-1]
			if d.odds(40) {
				id = ids[0]
			}
			a.StoreId = id[:]
		}
		c.Acks = append(c.Acks, a)
	}
	return c
}

func (d *driver) join() *metapb.Join {
	d.seq++
	node := pick(d, d.cfg.Members...)
	if d.odds(10) {
		node = "n9"
	}
	id := storeID(byte(d.seq))
	id[14] = byte(d.seq >> 8)
	ids := d.w.stores[node]
	j := join(node, id, dsv.StoreID{})
	if len(ids) > 0 {
		j = join(node, id, ids[len(ids)-1])
		if d.odds(4) {
			j.StoreId = ids[0][:]
		}
	}
	if d.odds(8) {
		j.Replaces = id[:]
	}
	return j
}

// joinAll makes the first JOIN of every member, so that commits can succeed.
func (d *driver) joinAll() {
	for i, m := range d.cfg.Members {
		id := storeID(byte(i + 1))
		id[0] = 1
		d.add(Input{Partition: d.w.p, Offset: int64(len(d.log)), AppendTime: d.now, Record: record(join(m, id, dsv.StoreID{}))})
	}
}
