package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// A fuzzed log is records one after the other: step of the append time
// (varint), incarnation (1 byte), length (uvarint), body.
func packLog(ins []Input) (b []byte) {
	last := int64(start)
	for _, in := range ins {
		b = binary.AppendVarint(b, in.AppendTime-last)
		last = in.AppendTime
		b = append(b, in.Incarnation[0])
		var body []byte
		if in.Record != nil {
			body, _ = Encode(in.Record)
		}
		b = binary.AppendUvarint(b, uint64(len(body)))
		b = append(b, body...)
	}
	return b
}

func unpackRecord(b *bytes.Reader, in *Input) (body []byte, ok bool) {
	step, err := binary.ReadVarint(b)
	if err != nil {
		return nil, false
	}
	in.AppendTime += step
	who, err := b.ReadByte()
	if err != nil {
		return nil, false
	}
	in.Incarnation = incarnation(who)
	n, err := binary.ReadUvarint(b)
	if err != nil {
		return nil, false
	}
	body = make([]byte, min(n, uint64(b.Len())))
	_, _ = b.Read(body)
	return body, true
}

// FuzzDecodeApply: whatever bytes lie in the log, there is no panic, no error,
// and no broken invariant.
func FuzzDecodeApply(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(packLog(generate(1000 + seed)[:30]))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		st := newStore(t)
		tx, err := st.Begin(store.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Abort() }()
		r := bytes.NewReader(data)
		in := Input{Partition: PartitionOf(ns(spaces[0]), 3), AppendTime: start}
		for {
			body, ok := unpackRecord(r, &in)
			if !ok {
				break
			}
			if in.Record, err = Decode(body); err != nil && (!errors.Is(err, ErrRecord) || in.Record != nil) {
				t.Fatalf("Decode: %v", err)
			}
			eff, err := Apply(tx, in)
			if err != nil {
				t.Fatalf("Apply at %d: %v", in.Offset, err)
			}
			if in.Record == nil && eff.Void != VoidUnreadable {
				t.Fatalf("unreadable, but %+v", eff)
			}
			in.Offset++
		}
		if err := AssertInvariants(tx, in.Partition); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	good := record(&metapb.Commit{Txid: make([]byte, 26), Acks: []*metapb.Ack{{Holder: 1, StoreId: make([]byte, 16)}}})
	b, err := Encode(good)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Decode(b); err != nil || !proto.Equal(back, good) {
		t.Fatalf("round trip: %v %v", back, err)
	}
	marshal := func(r *metapb.Record) []byte {
		b, err := proto.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	unknown := append(bytes.Clone(b), 0xa2, 0x06, 0x01, 'x') // field 100
	var inAck []byte
	{
		r := proto.CloneOf(good)
		r.GetCommit().GetAcks()[0].ProtoReflect().SetUnknown([]byte{0xa2, 0x06, 0x01, 'x'})
		inAck = marshal(r)
	}
	inOp := record(&metapb.Prepare{Ops: []*metapb.Op{{Key: "A"}}})
	inOp.GetPrepare().GetOps()[0].ProtoReflect().SetUnknown([]byte{0xa2, 0x06, 0x01, 'x'})
	inTick := record(&metapb.Tick{})
	inTick.GetTick().ProtoReflect().SetUnknown([]byte{0xa2, 0x06, 0x01, 'x'})
	for name, b := range map[string][]byte{
		"nothing": nil, "cut": b[:len(b)-1], "text": []byte("hello"), "unknown field": unknown, "in an ack": inAck,
		"in an op": marshal(inOp), "in a tick": marshal(inTick), "another body": {0x08, 1, 0xa2, 0x06, 0},
		"no body": marshal(&metapb.Record{Version: 1}), "version 0": marshal(&metapb.Record{Body: good.Body}),
		"version 2": marshal(&metapb.Record{Version: 2, Body: good.Body}),
		"too long":  marshal(&metapb.Record{Version: 1, Body: &metapb.Record_Setting{Setting: &metapb.Setting{Value: make([]byte, MaxRecord)}}}),
	} {
		if rec, err := Decode(b); !errors.Is(err, ErrRecord) || rec != nil {
			t.Errorf("%s: %v %v", name, rec, err)
		}
	}
	for name, r := range map[string]*metapb.Record{
		"no body": {}, "bad text": record(&metapb.Prepare{Caller: "\xff"}),
		"too long": record(&metapb.Setting{Value: make([]byte, MaxRecord)}),
	} {
		if _, err := Encode(r); !errors.Is(err, ErrRecord) {
			t.Errorf("Encode %s: %v", name, err)
		}
	}
}

// Records that no Decode gave are judged all the same.
func TestApplyIsTotal(t *testing.T) {
	w := newWorld(t)
	bad := "\xff"
	for _, rec := range []*metapb.Record{
		{}, {Version: 1, Body: &metapb.Record_Prepare{}}, {Version: 1, Body: &metapb.Record_Commit{}}, {Version: 1, Body: &metapb.Record_Abort{}},
		{Version: 1, Body: &metapb.Record_Join{}}, {Version: 1, Body: &metapb.Record_Config{}},
		record(w.prepare(w.txid(), []*metapb.Op{nil, w.op(put, "A")})),
		record(w.prepare(w.txid(), []*metapb.Op{w.op(put, "A")}, func(p *metapb.Prepare) { p.Caller = bad })),
		record(w.prepare(w.txid(), []*metapb.Op{w.op(put, "A")}, func(p *metapb.Prepare) { p.RequestId = bad })),
		record(w.prepare(w.txid(), []*metapb.Op{w.op(put, "A")}, func(p *metapb.Prepare) { p.IdempotencyKey = bad })),
		record(w.prepare(w.txid(), []*metapb.Op{w.op(put, "A")}, func(p *metapb.Prepare) { p.Coordinator = bad })),
		record(&metapb.Config{ClusterId: bad, Members: []string{bad}}),
	} {
		w.off++
		w.write(func(tx store.Txn) {
			if eff, err := Apply(tx, Input{Offset: w.off, AppendTime: w.now, Record: rec}); err != nil || eff.Void == "" {
				t.Errorf("%v: %+v %v", rec, eff, err)
			}
		})
	}
	id := w.begin([]*metapb.Op{w.op(put, "A")})
	if d := w.only(w.do(&metapb.Commit{Txid: id.Bytes(), Acks: append(w.acks(0, 1, 2, 3), nil)}), id); d.Status.State != TxCommitted {
		t.Fatalf("got %+v", d.Status)
	}
}
