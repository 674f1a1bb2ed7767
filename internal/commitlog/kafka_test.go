package commitlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/tests/kafka"
	"github.com/google/go-cmp/cmp"
)

// Each broker of a real Kafka is killed in turn under load and started again:
// what was acknowledged is there, at its offset, and all read the same. What the
// client sent again after a lost acknowledgement is there once: Kafka remembers
// the producer.
func TestKilledKafka(t *testing.T) {
	if os.Getenv("DSV_TEST_LONG") == "" {
		t.Skip("takes minutes: DSV_TEST_LONG is not set")
	}
	c, err := kafka.Load(os.Getenv("DSV_TEST_KAFKA_DIR"))
	if err != nil {
		t.Skip("needs a real Kafka: DSV_TEST_KAFKA_DIR is not set")
	}
	w := newWorld(t)
	a, b := w.start(), w.start()
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	acked := map[dsv.Partition]map[int64]string{}
	var wg sync.WaitGroup
	for p := range dsv.Partition(partitions) {
		acked[p] = map[int64]string{}
		wg.Go(func() {
			for k := 0; load.Err() == nil; {
				off, err := a.try(p, fmt.Sprint(k))
				switch {
				case err == nil:
					mu.Lock()
					acked[p][off] = fmt.Sprint(k)
					mu.Unlock()
					k++
				case errors.Is(err, commitlog.ErrSilent):
					select {
					case <-load.Done():
					case <-time.After(50 * time.Millisecond):
					}
				default:
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	count := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range acked {
			n += len(m)
		}
		return n
	}
	for i := range c.Brokers() {
		at := count()
		eventually(t, "progress", 30*time.Second, func() bool { return count() > at+100 })
		if err := c.Kill(i + 1); err != nil {
			t.Fatal(err)
		}
		if len(c.Brokers()) > 1 {
			at = count()
			eventually(t, "progress without the broker", 60*time.Second, func() bool { return count() > at+100 })
		}
		restart, cancel := contextFor(t, 2*time.Minute)
		err := c.Restart(restart, i+1)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		at = count()
		eventually(t, "progress after the restart", 60*time.Second, func() bool { return count() > at+100 })
	}
	stop()
	wg.Wait()
	for p, want := range acked {
		rs := a.waitCount(p, len(want))
		if diff := cmp.Diff(rs[:len(want)], b.waitCount(p, len(want))[:len(want)]); diff != "" {
			t.Errorf("two readers differ:\n%s", diff)
		}
		for off, body := range want {
			if string(rs[off].Body) != body {
				t.Errorf("partition %d offset %d is %q, acknowledged %q", p, off, rs[off].Body, body)
			}
		}
		for k := range len(want) {
			if want[int64(k)] != fmt.Sprint(k) {
				t.Errorf("partition %d: record %d is not at its offset, but %q", p, k, want[int64(k)])
				break
			}
		}
	}
	if len(a.diverged)+len(b.diverged) > 0 {
		t.Errorf("diverged: %v, %v", a.diverged, b.diverged)
	}
	t.Logf("%d records acknowledged", count())
}
