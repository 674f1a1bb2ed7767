package commitlog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// waitDiverged waits until p has stopped, for a reason that says so.
func (n *node) waitDiverged(p dsv.Partition, say string) {
	n.t.Helper()
	n.until("divergence", func() bool { return n.diverged[p] != "" })
	n.mu.Lock()
	defer n.mu.Unlock()
	if !strings.Contains(n.diverged[p], say) {
		n.t.Errorf("partition %d stopped because %q, want something of %q", p, n.diverged[p], say)
	}
}

// stands checks that p has stopped for good and the others go on.
func (n *node) stands(w *world, p, other dsv.Partition) {
	n.t.Helper()
	if err := n.Append(p, nil, func(int64, error) { n.t.Error("done called") }); err != commitlog.ErrDiverged {
		n.t.Errorf("append to a stopped partition: %v", err)
	}
	if n.Stats().Diverged[p] == "" {
		n.t.Error("the statistics do not tell")
	}
	before := len(n.get(other))
	n.append(other, "goes on")
	n.waitCount(other, before+1)
}

// A place that is not in the log any more stops its partition; so does a place
// in a topic that is not the one of before.
func TestDivergedAtStart(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	for k := range 5 {
		a.append(0, fmt.Sprint(k))
	}
	a.append(3, "other")
	id := a.TopicID(0)
	wrong := id
	wrong[0] ^= 1
	lost := kadm.Offsets{}
	lost.AddOffset(w.cfg.Cluster+".log", 0, 3, -1)
	if _, err := w.admin().DeleteRecords(ctx(t), lost); err != nil {
		t.Fatal(err)
	}
	b := w.open()
	b.read(map[dsv.Partition]commitlog.Cursor{
		0:                  {Next: 1, Epoch: 0, TopicID: id},
		1:                  {Next: 7, Epoch: -1, TopicID: id},
		2:                  {Next: 0, TopicID: wrong},
		commitlog.Control:  {Next: 1, Epoch: 99},
		dsv.Partition(0x3): {Next: 1, Epoch: 0, TopicID: id},
	})
	b.waitDiverged(0, "begins at offset 3")
	b.waitDiverged(1, "ends at offset 0")
	b.waitDiverged(2, "made anew")
	b.waitDiverged(commitlog.Control, "records lost")
	b.stands(w, 0, 3)
	if rs := b.get(0); len(rs) > 0 {
		t.Errorf("records of a stopped partition: %+v", rs)
	}
}

// Records that vanish under a reader before it came to them stop it.
func TestDivergedGap(t *testing.T) {
	w := newWorld(t)
	w.start().append(0, "0")
	w.start().append(0, "1")
	a := w.open()
	// A fetch under way is all that knows of the place: trim before it begins.
	lost := kadm.Offsets{}
	lost.AddOffset(w.cfg.Cluster+".log", 0, 1, -1)
	if _, err := w.admin().DeleteRecords(ctx(t), lost); err != nil {
		t.Fatal(err)
	}
	a.read(nil)
	a.waitDiverged(0, "begins at offset 1")
	a.stands(w, 0, 1)
}

// A topic that is deleted and made again under a running reader stops it, also
// when it has more records than before.
func TestDivergedRecreated(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	a.append(0, "x")
	a.append(commitlog.Control, "x")
	a.waitCount(commitlog.Control, 1)
	if w.broker != nil {
		if err := w.broker.RecreateTopic(w.cfg, 0); err != nil {
			t.Fatal(err)
		}
	} else {
		if _, err := w.admin().DeleteTopics(ctx(t), w.cfg.Cluster+".log"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "made again", 10*time.Second, func() bool { return commitlog.Init(ctx(t), w.cfg) == nil })
	}
	cl := w.raw()
	for range 5 {
		w.put(cl, 0, &kgo.Record{Value: []byte("new")})
	}
	for p := range dsv.Partition(partitions) {
		a.waitDiverged(p, "made anew")
	}
	a.stands(w, 0, commitlog.Control)
	if rs := a.get(0); len(rs) != 1 {
		t.Errorf("read on in the new topic: %+v", rs)
	}
	if err := a.Check(ctx(t)); err == nil || !strings.Contains(err.Error(), "the topic id") {
		t.Errorf("check: %v", err)
	}
}

// A topic switched to CreateTime stops at the first record without an append time.
func TestDivergedCreateTime(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	a.append(0, "x")
	a.waitCount(0, 1)
	if w.broker != nil {
		w.broker.ServeCreateTime(true)
	} else {
		w.alter(".log", "message.timestamp.type", "CreateTime")
	}
	for a.Stats().Diverged[0] == "" { // the leader may learn of the setting late
		if _, err := a.try(0, "y"); err != nil && err != commitlog.ErrDiverged {
			t.Fatal(err)
		}
	}
	a.waitDiverged(0, "has no append time")
	if w.broker != nil {
		w.broker.ServeCreateTime(false)
	} else {
		w.alter(".log", "message.timestamp.type", "LogAppendTime")
	}
	a.stands(w, 0, commitlog.Control)
}

// A log that lost its tail (an unclean election, a disk put back) stops whoever
// had read it.
func TestDivergedTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := embedded(t, commitlog.BrokerConfig{DataDir: dir})
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	a := w.start()
	a.append(0, "0")
	a.append(1, "0")
	a.waitCount(0, 1)
	a.waitCount(1, 1)
	addr := w.broker.Addrs()[0]
	_ = w.broker.Close()
	copyDir(t, dir, dir+"-old")
	b, err := commitlog.StartBroker(commitlog.BrokerConfig{DataDir: dir, Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the broker is heard again", 5*time.Second, func() bool { return !a.Silent(0) })
	a.append(0, "1")
	a.waitCount(0, 2)
	_ = b.Close()
	if b, err = commitlog.StartBroker(commitlog.BrokerConfig{DataDir: dir + "-old", Listen: addr}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	a.waitDiverged(0, "records lost")
	eventually(t, "the broker is heard again", 5*time.Second, func() bool { return !a.Silent(1) })
	a.stands(w, 0, 1)
}
