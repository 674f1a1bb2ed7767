package commitlog_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/tests/kafka"
)

// faults pauses and resumes all brokers of a world; nil if it cannot.
func (w *world) faults() (pause, resume func()) {
	if w.broker != nil {
		return w.broker.Pause, w.broker.Resume
	}
	c, err := kafka.Load(os.Getenv("DSV_TEST_KAFKA_DIR"))
	if err != nil {
		w.t.Skip("no control over the brokers: DSV_TEST_KAFKA_DIR is not set")
	}
	each := func(f func(int) error) {
		for i := range c.Brokers() {
			if err := f(i + 1); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.t.Cleanup(func() { each(c.Resume) })
	return func() { each(c.Pause) }, func() { each(c.Resume) }
}

// When the brokers stop answering, Good ends after 100 ms of waiting, Silent
// begins after a second, Append never blocks and hands over nothing more; when
// they are back all of it mends by itself, and what was handed over arrives
// once, in order.
func TestPaused(t *testing.T) {
	w := newWorld(t)
	a := w.start()
	pause, resume := w.faults()
	if a.Good() {
		t.Error("good before any acknowledgement")
	}
	a.append(0, "0")
	if !a.Good() || a.Silent(0) {
		t.Errorf("after an acknowledgement: good %v, silent %v", a.Good(), a.Silent(0))
	}
	pause()
	begin := time.Now()
	acks := make(chan int64, 10)
	for k := 1; k <= 3; k++ {
		if err := a.Append(0, fmt.Append(nil, k), func(off int64, err error) {
			if err != nil {
				off = -1
			}
			acks <- off
		}); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(begin); d > 100*time.Millisecond {
		t.Errorf("three appends took %v", d)
	}
	eventually(t, "not good", 400*time.Millisecond, func() bool { return !a.Good() })
	for p := range dsv.Partition(partitions) {
		eventually(t, "silent", 2*time.Second, func() bool { return a.Silent(p) })
	}
	if d := time.Since(begin); d < 700*time.Millisecond || d > 1600*time.Millisecond {
		t.Errorf("silent after %v", d)
	}
	if err := a.Append(1, nil, func(int64, error) { t.Error("done called") }); !errors.Is(err, commitlog.ErrSilent) {
		t.Errorf("append to a silent partition: %v", err)
	}
	if _, err := a.EndOffset(ctx(t), 1); !errors.Is(err, commitlog.ErrSilent) {
		t.Errorf("end offset of a silent partition: %v", err)
	}
	s := a.Stats()
	if s.Waiting != 3 || s.Oldest < 500*time.Millisecond || len(s.Silent) != partitions+1 || s.Appended != 4 || s.Acked != 1 {
		t.Errorf("statistics: %+v", s)
	}
	resume()
	for p := range dsv.Partition(partitions) {
		eventually(t, "not silent", time.Second, func() bool { return !a.Silent(p) })
	}
	for k := int64(1); k <= 3; k++ {
		if off := <-acks; off != k {
			t.Errorf("record %d has offset %d", k, off)
		}
	}
	for k, r := range a.waitCount(0, 4) {
		if string(r.Body) != fmt.Sprint(k) {
			t.Errorf("record %d is %q", k, r.Body)
		}
	}
	a.append(0, "4")
	if !a.Good() {
		t.Error("not good after the return")
	}
}

// An idle log is not silent, read or not, and not good.
func TestIdle(t *testing.T) {
	w := newWorld(t)
	reading, resting := w.start(), w.open()
	reading.append(0, "x")
	begin := time.Now()
	for time.Since(begin) < 1500*time.Millisecond {
		for p := range dsv.Partition(partitions) {
			if reading.Silent(p) || resting.Silent(p) {
				t.Fatalf("silent after %v", time.Since(begin))
			}
		}
		select {
		case <-reading.news:
		case <-time.After(20 * time.Millisecond):
		}
	}
	if reading.Good() {
		t.Error("good without a recent acknowledgement")
	}
}

// All brokers gone: silent within the second, and back within another by itself.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := embedded(t, commitlog.BrokerConfig{DataDir: dir})
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	a := w.start()
	a.append(0, "0")
	addr := w.broker.Addrs()[0]
	_ = w.broker.Close()
	acks := make(chan error, 1)
	if err := a.Append(0, []byte("1"), func(_ int64, err error) { acks <- err }); err != nil {
		t.Fatal(err)
	}
	if d := eventually(t, "silent", 2*time.Second, func() bool { return a.Silent(0) }); d < 500*time.Millisecond || d > 1300*time.Millisecond {
		t.Errorf("silent after %v", d)
	}
	b, err := commitlog.StartBroker(commitlog.BrokerConfig{DataDir: dir, Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	eventually(t, "not silent", time.Second, func() bool { return !a.Silent(0) })
	if err := <-acks; err != nil {
		t.Error(err)
	}
	a.append(0, "2")
	for k, r := range a.waitCount(0, 3) {
		if string(r.Body) != fmt.Sprint(k) || r.Offset != int64(k) {
			t.Errorf("record %d is %+v", k, r)
		}
	}
}

// Acknowledgements that get lost after the append lead to no second record, and
// an error that breaks the producer's sequence does not end it.
func TestProduceErrors(t *testing.T) {
	t.Parallel()
	w := embedded(t, commitlog.BrokerConfig{Memory: true})
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	a := w.start()
	want := 0
	for range 3 {
		for _, fault := range []func(){func() { w.broker.DropProduceAcks(2) }, func() { w.broker.FailProduce(1) }, w.broker.CutConnections, func() {}} {
			fault()
			a.append(0, fmt.Sprint(want))
			want++
		}
	}
	rs := a.waitCount(0, want)
	if len(rs) != want {
		t.Errorf("%d records, want %d", len(rs), want)
	}
	for k, r := range rs {
		if string(r.Body) != fmt.Sprint(k) {
			t.Errorf("record %d is %q", k, r.Body)
		}
	}
	if s := a.Stats(); s.Failed != 0 {
		t.Errorf("failed %d", s.Failed)
	}
}

// Leaders move; nothing is lost and nobody is silent for long.
func TestLeaderMoves(t *testing.T) {
	t.Parallel()
	w := embedded(t, commitlog.BrokerConfig{Memory: true, Brokers: 3})
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	a, b := w.start(), w.start()
	const rounds = 5
	for k := range rounds {
		a.append(0, fmt.Sprint(k))
		if err := w.broker.MoveLeaders(w.cfg); err != nil {
			t.Fatal(err)
		}
	}
	a.append(0, fmt.Sprint(rounds))
	for _, n := range []*node{a, b} {
		for k, r := range n.waitCount(0, rounds+1) {
			if string(r.Body) != fmt.Sprint(k) || r.Offset != int64(k) {
				t.Errorf("record %d is %+v", k, r)
			}
		}
		if len(n.diverged) > 0 {
			t.Errorf("diverged: %v", n.diverged)
		}
	}
	if rs := a.get(0); rs[rounds].Epoch <= rs[0].Epoch {
		t.Errorf("epochs do not grow: %d, %d", rs[0].Epoch, rs[rounds].Epoch)
	}
}
