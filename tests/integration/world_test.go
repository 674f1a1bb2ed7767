package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/tests/cluster"
)

var (
	opsFlag   = flag.Int("ops", 10_000, "operations of TestLinearizable, by 32 clients in all")
	readsFlag = flag.Int("reads", 20_000, "reads of TestHealthyReadsRepairNothing, of each cluster")
	pairsFlag = flag.Int("pairs", 3, "pairs of nodes that TestKillAnyTwoNodesDuringWrites kills; 10 are all there are")
)

// limit is how long a thing that takes a second on a quiet machine may take on
// a busy one.
const limit = 90 * time.Second

// world is a cluster with a client per node.
type world struct {
	*cluster.Cluster
	at    []*client.Client // at[i] speaks to node i alone and tries nothing twice
	seeds []dsv.Path       // secrets written at the start, each with the value of seedValue
	since time.Time        // when the last of them was written
}

// house is what all tests share: two clusters, each started when a test first
// asks for it.
var house struct {
	dir   string
	build sync.Once
	err   error
	busy  lazy // many secrets, any load
	quiet lazy // few secrets, so that a directory that was lost is soon refilled
}

type lazy struct {
	once sync.Once
	w    *world
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dsv-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	house.dir = dir
	code := m.Run()
	for _, l := range []*lazy{&house.busy, &house.quiet} {
		if l.w == nil {
			continue
		}
		if err := l.w.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close:", err)
			code = 1
		}
	}
	if code == 0 {
		_ = os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "what the processes left is in", dir)
	}
	return code
}

// onKafka is the number of real brokers to run on, 0 for the embedded one.
func onKafka() int {
	if os.Getenv("DSV_TEST_KAFKA") == "" {
		return 0
	}
	return 1
}

// start starts a cluster of some nodes; whoever asks closes it.
func start(dir string, nodes int) (*world, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	bin := filepath.Join(house.dir, "bin")
	house.build.Do(func() { house.err = cluster.Build(ctx, bin, "dsvnode") })
	if house.err != nil {
		return nil, house.err
	}
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(house.dir, dir), Bin: bin, Nodes: nodes, Kafka: onKafka()})
	if err != nil {
		return nil, err
	}
	w := &world{Cluster: c}
	for i := range c.Nodes() {
		cl, err := w.clientOf(i, dsv.Secret{})
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		w.at = append(w.at, cl)
	}
	return w, nil
}

// clientOf speaks to node i alone, as the operator where no token is given. It
// gives writes no idempotency key, so nothing on the way may try one again.
func (w *world) clientOf(i int, token dsv.Secret) (*client.Client, error) {
	if token.Len() == 0 {
		var err error
		if token, err = w.Token(); err != nil {
			return nil, err
		}
	}
	return client.New(client.Config{Endpoints: []string{w.Endpoint(i)}, Token: token, CAFile: w.Layout().CACert(),
		Timeout: limit, AttemptTimeout: limit, NoAutoKeys: true})
}

// shared is the busy cluster of five nodes, whole: every process runs, every
// node serves and reaches all others.
func shared(t *testing.T) *world {
	t.Helper()
	return house.busy.get(t, "busy")
}

// quiet is the other one, for what repairs and states are about.
func quiet(t *testing.T) *world {
	t.Helper()
	return house.quiet.get(t, "quiet")
}

func (l *lazy) get(t *testing.T, dir string) *world {
	t.Helper()
	l.once.Do(func() {
		began := time.Now()
		w, err := start(dir, 5)
		if err != nil {
			t.Errorf("start: %v", err)
			return
		}
		l.w = w
		w.seed(t)
		t.Logf("five nodes, three keepers and a log serve after %v", time.Since(began).Round(time.Millisecond))
	})
	if l.w == nil {
		t.Fatal("the cluster has not started")
	}
	l.w.mend(t)
	l.w.tell(t)
	return l.w
}

// tell prints the end of what the nodes said if the test fails.
func (w *world) tell(t *testing.T) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for i := range w.Nodes() {
			t.Logf("%s said at the end:\n%s", w.NodeID(i), w.Node(i).Output())
		}
	})
}

// mend lets what is paused go on, starts what does not run, and waits until
// every node reaches all others.
func (w *world) mend(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := w.ResumeLog(); err != nil {
		t.Fatal(err)
	}
	if !w.LogRunning() {
		if err := w.StartLog(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i := range w.Keepers() {
		w.ensure(t, w.Keeper(i))
	}
	for i := range w.Nodes() {
		w.ensure(t, w.Node(i))
	}
	if err := w.WaitAll(ctx); err != nil {
		t.Fatal(err)
	}
	w.whole(t)
}

func (w *world) ensure(t *testing.T, p *cluster.Process) {
	t.Helper()
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if !p.Running() {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// whole waits until every node that runs reaches all nodes, and the log.
func (w *world) whole(t *testing.T) {
	t.Helper()
	for i := range w.Nodes() {
		until(t, fmt.Sprintf("%s reaches all", w.NodeID(i)), func() error {
			s, err := w.at[i].Status(t.Context())
			switch {
			case err != nil:
				return err
			case s.Reachable != w.Nodes() || !s.Log.Available:
				return fmt.Errorf("%s: %d nodes answer, log %v: %q", s.State, s.Reachable, s.Log.Available, s.Why)
			}
			return nil
		})
	}
}

// healthy waits until every node says so: nobody is missing, no hole is left.
func (w *world) healthy(t *testing.T) {
	t.Helper()
	for i := range w.Nodes() {
		w.awaitState(t, i, client.Healthy)
	}
}

func (w *world) awaitState(t *testing.T, i int, state string) (s client.Status) {
	t.Helper()
	until(t, fmt.Sprintf("%s says %s", w.NodeID(i), state), func() (err error) {
		s, err = w.at[i].Status(t.Context())
		if err == nil && s.State != state {
			err = fmt.Errorf("it says %s: %q", s.State, s.Why)
		}
		return err
	})
	return s
}

// until asks again and again, until f has nothing to say.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	if err := within(t.Context(), limit, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func within(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", limit, err)
		case <-tick.C:
		}
	}
}

// pathOf names a secret of a test.
func pathOf(t *testing.T, ns, key string) dsv.Path {
	t.Helper()
	p, err := dsv.ParsePath(ns, key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func secret(s string) dsv.Secret { return dsv.SecretOf([]byte(s)) }

func text(f client.Found) string { return string(f.Value.Reveal()) }

// seeds are old enough, whenever a test looks at them, that a shard that is
// missing is a hole and no late arrival.
const seeds = 20

func seedValue(p dsv.Path) string { return "the value of " + p.String() }

func (w *world) seed(t *testing.T) {
	for i := range seeds {
		p := pathOf(t, fmt.Sprintf("seed/%d", i%5), fmt.Sprintf("KEY-%d", i))
		if _, err := w.at[i%5].Create(t.Context(), p, secret(seedValue(p)), nil); err != nil {
			t.Errorf("seed: %v", err)
			return
		}
		w.seeds = append(w.seeds, p)
	}
	w.since = time.Now()
}

// aged waits until the seeds are older than the time in which a shard may be
// late (10 s of the log's time).
func (w *world) aged(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(time.Until(w.since.Add(11 * time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}
