package commitlog_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// put writes a Kafka record behind the back of every Log.
func (w *world) put(cl *kgo.Client, p dsv.Partition, r *kgo.Record) {
	w.t.Helper()
	r.Topic, r.Partition = w.cfg.Cluster+".log", int32(p)
	if p == commitlog.Control {
		r.Topic, r.Partition = w.cfg.Cluster+".control", 0
	}
	if err := cl.ProduceSync(ctx(w.t), r).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// values reads the Kafka values of a partition as they stand.
func (w *world) values(p dsv.Partition, count int) (vs [][]byte) {
	w.t.Helper()
	topic, part := w.cfg.Cluster+".log", int32(p)
	if p == commitlog.Control {
		topic, part = w.cfg.Cluster+".control", 0
	}
	cl := w.raw(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {part: kgo.NewOffset().AtStart()}}))
	for len(vs) < count {
		fs := cl.PollFetches(ctx(w.t))
		if err := fs.Err(); err != nil {
			w.t.Fatal(err)
		}
		fs.EachRecord(func(r *kgo.Record) { vs = append(vs, r.Value) })
	}
	return vs
}

// Whatever somebody else writes into the topics is delivered as void, in its
// place and with its time, and stops nothing.
func TestVoid(t *testing.T) {
	w := newWorld(t)
	a, b := w.start(), w.start()
	a.append(0, "zero")
	a.append(1, "one")
	a.append(commitlog.Control, "control")
	stranger := w.open(func(c *commitlog.Config) { c.ClusterID = "another" })
	stranger.append(1, "from another cluster")
	robber := w.open(func(c *commitlog.Config) { c.Key = dsv.SecretOf(bytes.Repeat([]byte{7}, 32)) })
	robber.append(1, "under another key")

	zero, one, ctl := w.values(0, 1)[0], w.values(1, 1)[0], w.values(commitlog.Control, 1)[0]
	flip := func(v []byte, at int) []byte {
		v = bytes.Clone(v)
		v[(at+len(v))%len(v)] ^= 1
		return v
	}
	cl := w.raw()
	var want []string
	put := func(why string, r *kgo.Record) { w.put(cl, 1, r); want = append(want, why) }
	want = append(want, "", commitlog.VoidSealed, commitlog.VoidSealed)
	put(commitlog.VoidFormat, &kgo.Record{})
	put(commitlog.VoidFormat, &kgo.Record{Value: []byte("garbage")})
	put(commitlog.VoidFormat, &kgo.Record{Value: bytes.Repeat([]byte{0}, 100)})
	put(commitlog.VoidSealed, &kgo.Record{Value: bytes.Repeat([]byte{1}, 100)})
	put(commitlog.VoidFormat, &kgo.Record{Value: flip(one, 0)})  // version
	put(commitlog.VoidSealed, &kgo.Record{Value: flip(one, 1)})  // incarnation
	put(commitlog.VoidSealed, &kgo.Record{Value: flip(one, 17)}) // nonce
	put(commitlog.VoidSealed, &kgo.Record{Value: flip(one, 29)}) // body
	put(commitlog.VoidSealed, &kgo.Record{Value: flip(one, -1)}) // tag
	put(commitlog.VoidSealed, &kgo.Record{Value: one[:len(one)-1]})
	put(commitlog.VoidSealed, &kgo.Record{Value: append(bytes.Clone(one), 0)})
	put(commitlog.VoidSealed, &kgo.Record{Value: zero}) // moved from another partition
	put(commitlog.VoidSealed, &kgo.Record{Value: ctl})  // moved from another topic
	put(commitlog.VoidKey, &kgo.Record{Value: one, Key: []byte("k")})
	put(commitlog.VoidKey, &kgo.Record{Value: one, Headers: []kgo.RecordHeader{{Key: "h"}}})
	put("", &kgo.Record{Value: one}) // a replay in its own partition opens: the machine knows it
	a.append(1, "last")
	want = append(want, "")

	rs := a.waitCount(1, len(want))
	if diff := cmp.Diff(rs, b.waitCount(1, len(want))); diff != "" {
		t.Errorf("two readers differ:\n%s", diff)
	}
	for i, r := range rs {
		if r.Void != want[i] || r.Offset != int64(i) || r.AppendTime == 0 || (r.Void == "") != (r.Body != nil) {
			t.Errorf("record %d is %+v, want void %q", i, r, want[i])
		}
	}
	if got := string(rs[len(rs)-1].Body); got != "last" {
		t.Errorf("the last body is %q", got)
	}
	counts := map[string]uint64{}
	for _, v := range want {
		if v != "" {
			counts[v]++
		}
	}
	if diff := cmp.Diff(counts, a.Stats().Void); diff != "" {
		t.Errorf("void counts:\n%s", diff)
	}
}

// A transaction of Kafka's own leaves a marker with an offset: it must not look
// like a gap.
func TestTransactionMarker(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	a.append(0, "before")
	cl := w.raw(kgo.TransactionalID(randomName()))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	w.put(cl, 0, &kgo.Record{Value: []byte("x")})
	if err := cl.EndTransaction(ctx(t), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	a.waitCount(0, 3)
	a.append(0, "after")
	rs := a.waitCount(0, 4)
	if rs[1].Void != commitlog.VoidFormat || rs[2].Void != commitlog.VoidMarker || string(rs[3].Body) != "after" {
		t.Errorf("got %+v", rs)
	}
}

// What Kafka sees tells nothing but sizes.
func TestSealed(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	const body = "team-a/app DB_PASSWORD"
	a.append(2, body)
	a.append(2, body)
	vs := w.values(2, 2)
	for _, v := range vs {
		if bytes.Contains(v, []byte("team-a")) || bytes.Contains(v, []byte("PASSWORD")) || bytes.Contains(v, []byte(w.cfg.ClusterID)) {
			t.Errorf("names stand in the clear: %q", v)
		}
		if len(v) != len(body)+45 {
			t.Errorf("a value of %d bytes, want %d", len(v), len(body)+45)
		}
	}
	if bytes.Equal(vs[0][17:29], vs[1][17:29]) || bytes.Equal(vs[0][29:], vs[1][29:]) {
		t.Error("two records share a nonce")
	}
}

func TestTooLarge(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	never := func(int64, error) { t.Error("done called") }
	if err := a.Append(0, make([]byte, commitlog.MaxBody+1), never); err != commitlog.ErrTooLarge {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
	small, large := commitlog.Entry{Done: never}, commitlog.Entry{Body: make([]byte, commitlog.MaxBody+1), Done: never}
	if err := a.AppendAll(0, small, large); err != commitlog.ErrTooLarge {
		t.Errorf("one of two: got %v, want ErrTooLarge", err)
	}
	if err := a.Append(partitions, nil, never); err != commitlog.ErrPartition {
		t.Errorf("got %v, want ErrPartition", err)
	}
	a.append(0, string(make([]byte, commitlog.MaxBody)))
	a.append(0, "")
	rs := a.waitCount(0, 2)
	if len(rs[0].Body) != commitlog.MaxBody || rs[1].Void != "" || len(rs[1].Body) != 0 {
		t.Errorf("bodies of %d and %d bytes, %q", len(rs[0].Body), len(rs[1].Body), rs[1].Void)
	}
}

func TestClose(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	a.append(0, "x")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	<-a.done // its Poll ended
	if _, err := a.Poll(context.Background()); err != commitlog.ErrClosed {
		t.Errorf("poll: %v", err)
	}
	if err := a.Append(0, nil, func(int64, error) { t.Error("done called") }); err != commitlog.ErrClosed {
		t.Errorf("append: %v", err)
	}
	if _, err := a.EndOffset(context.Background(), 0); err != commitlog.ErrClosed {
		t.Errorf("end offset: %v", err)
	}
	if err := a.Start(nil); err != commitlog.ErrClosed {
		t.Errorf("start: %v", err)
	}
}
