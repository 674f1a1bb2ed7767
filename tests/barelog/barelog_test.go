package barelog_test

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/tests/barelog"
)

// configs are five Logs of a fresh cluster on the Kafka that DSV_TEST_KAFKA
// names, or on an embedded broker with a directory.
func configs(t testing.TB) []commitlog.Config {
	t.Helper()
	addrs := strings.Split(os.Getenv("DSV_TEST_KAFKA"), ",")
	if addrs[0] == "" {
		b, err := commitlog.StartBroker(commitlog.BrokerConfig{DataDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		addrs = b.Addrs()
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	cfg := commitlog.Config{
		Brokers: addrs, Cluster: "bare-" + dsv.NewStoreID().String(), ClusterID: "bare", Partitions: 12, Key: dsv.SecretOf(key),
	}
	if err := commitlog.Init(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	cfgs := make([]commitlog.Config, 5)
	for i := range cfgs {
		cfgs[i] = cfg
		cfgs[i].Incarnation = dsv.NewIncarnation()
	}
	return cfgs
}

func TestRun(t *testing.T) {
	r, err := barelog.Run(t.Context(), configs(t), 4, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Ops == 0 || r.P50 <= 0 || r.P99 < r.P50 || int(r.Appends) < 2*r.Ops-2*4 {
		t.Errorf("odd result: %+v", r)
	}
}

// BenchmarkLog measures 1, 16 and 64 clients, 5 s each after 10 s of warming up
// (a cold JVM is slow). Run it with -benchtime 1x.
func BenchmarkLog(b *testing.B) {
	l, err := barelog.Open(b.Context(), configs(b))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for range b.N {
		if _, err := l.Run(b.Context(), 64, 10*time.Second); err != nil {
			b.Fatal(err)
		}
		for _, clients := range []int{1, 16, 64} {
			r, err := l.Run(b.Context(), clients, 5*time.Second)
			if err != nil {
				b.Fatal(err)
			}
			b.Log(r)
		}
	}
}
