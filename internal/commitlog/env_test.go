package commitlog_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// world is a broker and the settings of one fresh cluster on it. The suite runs
// on the embedded broker, or on the Apache Kafka that DSV_TEST_KAFKA names: over
// TLS if DSV_TEST_KAFKA_CERTS names the folder of ca.crt, tls.crt and tls.key.
// Faults of a real Kafka need DSV_TEST_KAFKA_DIR, the folder of its cluster.
type world struct {
	t      *testing.T
	cfg    commitlog.Config
	broker *commitlog.Broker // nil on a real Kafka
}

const partitions = 4

func randomName() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return "t" + hex.EncodeToString(b[:])
}

func newConfig(addrs []string) commitlog.Config {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return commitlog.Config{
		Brokers: addrs, Cluster: randomName(), ClusterID: randomName(), Partitions: partitions,
		Key: dsv.SecretOf(key), Incarnation: dsv.NewIncarnation(),
	}
}

// newWorld makes a world whose topics are right.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := bareWorld(t)
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

// bareWorld makes a world without topics.
func bareWorld(t *testing.T) *world {
	t.Helper()
	if addrs := os.Getenv("DSV_TEST_KAFKA"); addrs != "" {
		w := &world{t: t, cfg: newConfig(strings.Split(addrs, ","))}
		if dir := os.Getenv("DSV_TEST_KAFKA_CERTS"); dir != "" {
			w.cfg.TLS = loadTLS(t, dir)
		}
		t.Cleanup(func() {
			_, _ = w.admin().DeleteTopics(context.Background(), w.cfg.Cluster+".log", w.cfg.Cluster+".control")
		})
		return w
	}
	t.Parallel() // worlds of their own live side by side
	return embedded(t, commitlog.BrokerConfig{Memory: true})
}

func loadTLS(t *testing.T, dir string) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate in ca.crt")
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS13}
}

// embedded makes a world on an embedded broker, also where a real Kafka is given.
func embedded(t *testing.T, bc commitlog.BrokerConfig) *world {
	t.Helper()
	b, err := commitlog.StartBroker(bc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return &world{t: t, cfg: newConfig(b.Addrs()), broker: b}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

// raw is a client of the same brokers that keeps no rule of ours.
func (w *world) raw(opts ...kgo.Opt) *kgo.Client {
	w.t.Helper()
	opts = append(opts, kgo.SeedBrokers(w.cfg.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if w.cfg.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(w.cfg.TLS))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(cl.Close)
	return cl
}

func (w *world) admin() *kadm.Client { return kadm.NewClient(w.raw()) }

// node is a Log of its own incarnation with a reader that collects.
type node struct {
	*commitlog.Log
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	records  map[dsv.Partition][]commitlog.Record
	diverged map[dsv.Partition]string
	news     chan struct{}
}

func (w *world) open(change ...func(*commitlog.Config)) *node {
	w.t.Helper()
	cfg := w.cfg
	cfg.Incarnation = dsv.NewIncarnation()
	for _, c := range change {
		c(&cfg)
	}
	l, err := commitlog.Open(ctx(w.t), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{Log: l, t: w.t, records: map[dsv.Partition][]commitlog.Record{}, diverged: map[dsv.Partition]string{}, news: make(chan struct{}, 1)}
	w.t.Cleanup(n.stop)
	return n
}

// start opens a Log that reads everything from the beginning.
func (w *world) start(change ...func(*commitlog.Config)) *node {
	w.t.Helper()
	n := w.open(change...)
	n.read(nil)
	return n
}

func (n *node) read(from map[dsv.Partition]commitlog.Cursor) {
	n.t.Helper()
	if err := n.Start(from); err != nil {
		n.t.Fatal(err)
	}
	c, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan struct{})
	go func() {
		defer close(n.done)
		for {
			b, err := n.Poll(c)
			if err != nil {
				if !errors.Is(err, context.Canceled) && !errors.Is(err, commitlog.ErrClosed) {
					n.t.Errorf("poll: %v", err)
				}
				return
			}
			n.take(b)
		}
	}()
}

func (n *node) take(b commitlog.Batch) {
	n.mu.Lock()
	for _, r := range b.Records {
		n.records[r.Partition] = append(n.records[r.Partition], r)
	}
	for _, d := range b.Diverged {
		if old, ok := n.diverged[d.Partition]; ok {
			n.t.Errorf("partition %d diverged twice: %s, %s", d.Partition, old, d.Reason)
		}
		n.diverged[d.Partition] = d.Reason
	}
	n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
}

func (n *node) stop() {
	if n.cancel != nil {
		n.cancel()
		<-n.done
	}
	if err := n.Close(); err != nil {
		n.t.Errorf("close: %v", err)
	}
}

// until waits for a condition over what was read, checked at every arrival.
func (n *node) until(what string, cond func() bool) {
	n.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		n.mu.Lock()
		ok := cond()
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-n.news:
		case <-limit:
			n.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (n *node) get(p dsv.Partition) []commitlog.Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.records[p]
}

// waitCount waits until n has read count records of p.
func (n *node) waitCount(p dsv.Partition, count int) []commitlog.Record {
	n.t.Helper()
	n.until("records", func() bool { return len(n.records[p]) >= count })
	return n.get(p)
}

// append appends and waits for the acknowledgement.
func (n *node) append(p dsv.Partition, body string) int64 {
	n.t.Helper()
	off, err := n.try(p, body)
	if err != nil {
		n.t.Fatalf("append to %d: %v", p, err)
	}
	return off
}

func (n *node) try(p dsv.Partition, body string) (int64, error) {
	type ack struct {
		off int64
		err error
	}
	ch := make(chan ack, 1)
	if err := n.Append(p, []byte(body), func(off int64, err error) { ch <- ack{off, err} }); err != nil {
		return 0, err
	}
	a := <-ch
	return a.off, a.err
}

// eventually waits for a condition that nothing announces.
func eventually(t *testing.T, what string, within time.Duration, cond func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Since(begin) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
		<-tick.C
	}
	return time.Since(begin)
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
