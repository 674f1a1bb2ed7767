package commitlog_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/google/go-cmp/cmp"
)

// Every reader must get every record of every partition, in one order, without
// a gap, with one offset and append time, and the records of one appender in
// the order in which it appended them.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	const nodes, each = 3, 40
	var ns []*node
	for range nodes {
		ns = append(ns, w.start())
	}
	parts := ns[0].Partitions()
	var wg sync.WaitGroup
	for i, n := range ns {
		for _, p := range parts {
			wg.Go(func() {
				var acks sync.WaitGroup
				for k := range each {
					acks.Add(1)
					err := n.Append(p, fmt.Appendf(nil, "%d %d %d", i, p, k), func(_ int64, err error) {
						if err != nil {
							t.Errorf("ack: %v", err)
						}
						acks.Done()
					})
					if err != nil {
						t.Errorf("append: %v", err)
						acks.Done()
					}
				}
				acks.Wait()
			})
		}
	}
	wg.Wait()
	for _, p := range parts {
		first := ns[0].waitCount(p, nodes*each)
		checkOrder(t, p, first, nodes, each)
		for _, n := range ns[1:] {
			if diff := cmp.Diff(first, n.waitCount(p, nodes*each)); diff != "" {
				t.Errorf("partition %d is read differently:\n%s", p, diff)
			}
		}
	}
	if s := ns[0].Stats(); s.Appended != each*uint64(len(parts)) || s.Acked != s.Appended || s.Waiting != 0 || s.Failed != 0 {
		t.Errorf("stats do not add up: %+v", s)
	}
}

func checkOrder(t *testing.T, p dsv.Partition, rs []commitlog.Record, nodes, each int) {
	t.Helper()
	if len(rs) != nodes*each {
		t.Fatalf("partition %d has %d records, want %d", p, len(rs), nodes*each)
	}
	next := make([]int, nodes)
	for at, r := range rs {
		var i, pp, k int
		if _, err := fmt.Sscanf(string(r.Body), "%d %d %d", &i, &pp, &k); err != nil {
			t.Fatalf("record %d of %d: %q: %v", at, p, r.Body, err)
		}
		if r.Offset != int64(at) || dsv.Partition(pp) != p || r.Partition != p || r.Void != "" || k != next[i] {
			t.Fatalf("record %d of partition %d: %+v, want %d of node %d", at, p, r, next[i], i)
		}
		next[i]++
		if at > 0 && r.AppendTime < rs[at-1].AppendTime || r.AppendTime <= 0 {
			t.Errorf("append time of %d/%d went back", p, at)
		}
	}
}

// A reader that begins in the middle gets the rest and nothing else.
func TestStartInTheMiddle(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	for k := range 10 {
		a.append(1, fmt.Sprint(k))
	}
	rs := a.waitCount(1, 10)
	b := w.open()
	b.read(map[dsv.Partition]commitlog.Cursor{1: {Next: rs[6].Offset + 1, Epoch: rs[6].Epoch, TopicID: a.TopicID(1)}})
	got := b.waitCount(1, 3)
	if diff := cmp.Diff(rs[7:], got); diff != "" {
		t.Error(diff)
	}
	if a.TopicID(0) != a.TopicID(1) || a.TopicID(0) == a.TopicID(commitlog.Control) || a.TopicID(0) == [16]byte{} || a.TopicID(partitions) != [16]byte{} {
		t.Error("topic ids are not those of the two topics")
	}
	off, err := b.EndOffset(ctx(t), 1)
	if err != nil || off != 10 {
		t.Errorf("end offset %d, %v, want 10", off, err)
	}
}
