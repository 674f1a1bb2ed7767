package meta

import (
	"context"
	"fmt"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// BenchmarkApply measures one transaction (PREPARE and COMMIT of one value,
// n = 5) in the memory store: many in one store transaction, as the apply
// loop does, half of them creates, half updates.
func BenchmarkApply(b *testing.B) {
	for _, batch := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("pairs=%d", batch), func(b *testing.B) {
			w := newWorld(b)
			ins := make([]Input, 0, 2*b.N)
			off, e := w.off, w.head().E
			id := dsv.TxID{T0: e}
			for i := range b.N {
				id.T0, id.Nonce[0], id.Nonce[1], id.Nonce[2] = e+int64(i)*500, byte(i), byte(i>>8), byte(i>>16)
				kind, key := create, fmt.Sprintf("KEY%d", i)
				if i%2 == 1 {
					kind, key = update, fmt.Sprintf("KEY%d", i-1)
				}
				for _, body := range []any{w.prepare(id, []*metapb.Op{w.op(kind, key)}), w.commitOf(id)} {
					off++
					w.pass(250)
					ins = append(ins, Input{Offset: off, AppendTime: w.now, Incarnation: w.who, Record: record(body)})
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for len(ins) > 0 {
				n := min(2*batch, len(ins))
				tx, err := w.st.Begin(store.ReadWrite)
				if err != nil {
					b.Fatal(err)
				}
				for _, in := range ins[:n] {
					if eff, err := Apply(tx, in); err != nil || eff.Void != "" {
						b.Fatal(eff.Void, err)
					}
				}
				if _, err := tx.Commit(context.Background()); err != nil {
					b.Fatal(err)
				}
				ins = ins[n:]
			}
			b.StopTimer()
			size := 0
			for k, v := range w.dump() {
				size += len(k) + len(v)
			}
			b.ReportMetric(float64(size)/float64(b.N), "rowB/op")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	w := newWorld(b)
	body, err := Encode(record(w.prepare(w.txid(), []*metapb.Op{w.op(create, "KEY")})))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHolders(b *testing.B) {
	for b.Loop() {
		fiveOfThree.Holders(ns(testNS))
	}
}
