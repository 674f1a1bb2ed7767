package replica

import (
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// However much one fetch brings, a transaction holds no more than it may, and
// the records of each partition leave in their order, every one of them once.
func TestTakeIsBounded(t *testing.T) {
	f := newFeed(&Replica{wait: newWaiters()})
	const each = 2001 // the last record decides
	for i := range int64(each) {
		for p := range dsv.Partition(3) {
			m := tickRecord()
			if i%3 == 1 {
				m = &metapb.Record{Version: 1, Body: &metapb.Record_Prepare{Prepare: &metapb.Prepare{Txid: dsv.NewTxID(p, i).Bytes()}}}
			}
			f.add(entry{commitlog.Record{Partition: p, Offset: i}, m})
		}
	}
	next := map[dsv.Partition]int64{}
	for left := 3 * each; left > 0; {
		got := f.take()
		if len(got) == 0 || len(got) > applyAtOnce {
			t.Fatalf("%d records at once, %d left", len(got), left)
		}
		for _, e := range got {
			if e.Offset != next[e.Partition] {
				t.Fatalf("partition %d: offset %d, want %d", e.Partition, e.Offset, next[e.Partition])
			}
			next[e.Partition]++
		}
		if left -= len(got); f.n != left {
			t.Fatalf("%d are counted, %d left", f.n, left)
		}
	}
}
