package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/setup"
	"github.com/dsvault/dsv/tests/barelog"
	"github.com/dsvault/dsv/tests/cluster"
)

type bench struct {
	o     options
	c     *cluster.Cluster
	h     *http.Client
	token string
	ends  []string
	echo  *exec.Cmd
	eaddr string
	seq   atomic.Int64
	keys  atomic.Int64 // created keys, by number

	rows map[string]map[int]result
	bare commitlog.Config
	idle int64
}

func newBench(ctx context.Context, o options, c *cluster.Cluster) (*bench, error) {
	t, err := c.Token()
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, c: c, h: httpClient(c.Roots()), token: "Bearer " + string(t.Reveal()), ends: c.Endpoints(),
		rows: map[string]map[int]result{}}
	return b, b.startEcho(ctx)
}

func (b *bench) startEcho(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	b.eaddr = l.Addr().String()
	_ = l.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f := setup.Identity(b.c.Layout().Node(b.c.NodeID(0)))
	b.echo = exec.CommandContext(ctx, self, "echo", "-listen", b.eaddr, "-ca", f.CA, "-cert", f.Cert, "-key", f.Key)
	b.echo.Stderr = os.Stderr
	if err := b.echo.Start(); err != nil {
		return err
	}
	for range 250 {
		conn, err := net.Dial("tcp", b.eaddr)
		if err == nil {
			return conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the echo does not listen on %s", b.eaddr)
}

func (b *bench) close() {
	if b.echo != nil && b.echo.Process != nil {
		_ = b.echo.Process.Kill()
		_ = b.echo.Wait()
	}
}

func (b *bench) key(n int64) string { return "K" + strconv.FormatInt(n, 10) }

// verbs make the requests of each measurement.
func (b *bench) create(int, int) (string, string, []byte) {
	n := b.seq.Add(1)
	return http.MethodPost, secretURL(pick(b.ends, int(n)), int(n), b.key(n)), valueBody()
}

func (b *bench) update(w, _ int) (string, string, []byte) {
	return http.MethodPut, secretURL(pick(b.ends, w), 0, "HOT"), valueBody()
}

func (b *bench) read(w, n int) (string, string, []byte) {
	last := b.keys.Load()
	k := (int64(w)*7919+int64(n)*104729)%last + 1
	return http.MethodGet, secretURL(pick(b.ends, w), int(k), b.key(k)), nil
}

func (b *bench) local(w, n int) (string, string, []byte) {
	m, u, _ := b.read(w, n)
	return m, u + "?consistency=local", nil
}

func (b *bench) echoed(int, int) (string, string, []byte) {
	return http.MethodPost, "https://" + b.eaddr + "/", []byte(`{"value":"x"}`)
}

func (b *bench) run(ctx context.Context) error {
	for i := range b.c.Nodes() {
		b.idle = max(b.idle, residentOf(b.c.Node(i).PID()))
	}
	hot := secretURL(b.ends[0], 0, "HOT")
	if err := send(ctx, b.h, b.token, http.MethodPost, hot, valueBody(), http.StatusCreated); err != nil {
		return err
	}
	step("warming up for %v", b.o.warm)
	disk, logged := b.disk(), b.logSize()
	b.phase(ctx, "", 32, b.o.warm, http.StatusCreated, b.create)
	made := b.seq.Load()
	disk, logged = b.disk()-disk, b.logSize()-logged // now, while nothing else is in the log
	for _, n := range b.o.clients {
		step("%d clients", n)
		if err := b.rounds(ctx, n, made); err != nil {
			return err
		}
	}
	b.print(float64(disk)/float64(made), float64(logged)/float64(made))
	return ctx.Err()
}

// rounds is how often the measurements follow each other, each a part of its
// time: what changes on the machine meanwhile (a JVM that still compiles, a
// neighbour) then falls on all of them.
const rounds = 4

func (b *bench) rounds(ctx context.Context, clients int, made int64) error {
	part := b.o.phase / rounds
	for range rounds {
		for _, m := range []struct {
			name string
			want int
			next request
		}{
			{"create", http.StatusCreated, b.create},
			{"update one hot key", http.StatusOK, b.update},
			{"strict read", http.StatusOK, b.read},
			{"local read", http.StatusOK, b.local},
			{"https echo", http.StatusOK, b.echoed},
		} {
			if b.o.only != "" && b.o.only != m.name {
				continue
			}
			b.phase(ctx, m.name, clients, part, m.want, m.next)
			b.keys.Store(made) // only keys of the warm-up are surely there
		}
		if b.o.only != "" {
			continue
		}
		if err := b.bareLog(ctx, clients, part); err != nil {
			return err
		}
	}
	return nil
}

// phase measures and notes the processor time each kind of process used.
func (b *bench) phase(ctx context.Context, name string, clients int, d time.Duration, want int, next request) {
	before := b.cpu()
	r := measure(ctx, b.h, b.token, clients, d, want, next)
	after := b.cpu()
	r.cpu = map[string]time.Duration{}
	for k := range after {
		r.cpu[k] = after[k] - before[k]
	}
	if name == "" {
		b.keys.Store(b.seq.Load())
		name = "warm-up"
	}
	b.note(name, clients, r)
	step("%-20s %3d clients: %7.0f/s p50 %.2f ms p99 %.2f ms, failed %d %s", name, clients, r.perSec, ms(r.p50), ms(r.p99), r.failed, r.example)
}

// note adds a round to its row.
func (b *bench) note(name string, clients int, r result) {
	if b.rows[name] == nil {
		b.rows[name] = map[int]result{}
	}
	b.rows[name][clients] = b.rows[name][clients].add(r)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (b *bench) cpu() map[string]time.Duration {
	out := map[string]time.Duration{"load": ownCPU()}
	for i := range b.c.Nodes() {
		out["nodes"] += cpuOf(b.c.Node(i).PID())
	}
	if k := b.c.Kafka(); k != nil {
		for _, pid := range k.PIDs() {
			out["log"] += cpuOf(pid)
		}
	} else {
		out["log"] += cpuOf(b.c.Broker().PID())
	}
	return out
}

// disk is what the value of every version takes in all stores: the rows' bytes
// in logs and tables, without preallocated space.
func (b *bench) disk() (n int64) {
	for i := range b.c.Nodes() {
		n += diskOf(filepath.Join(b.c.DataDir(i), "store"))
	}
	return n
}

func (b *bench) logSize() int64 {
	if b.c.Kafka() != nil {
		return sizeOf(b.c.Kafka().Dir(), ".log")
	}
	return sizeOf(filepath.Join(b.o.dir, "c", "broker"), "")
}

// bareLog measures the log alone, on topics of its own on the same brokers.
func (b *bench) bareLog(ctx context.Context, clients int, d time.Duration) (err error) {
	cfgs, err := b.bareTopics(ctx)
	if err != nil {
		return err
	}
	load, err := barelog.Open(ctx, cfgs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, load.Close()) }()
	if _, err = load.Run(ctx, clients, d/8); err != nil { // connections and first batches
		return err
	}
	before := b.cpu()["log"]
	r, err := load.Run(ctx, clients, d)
	if err != nil {
		return err
	}
	step("%-20s %v", "bare log", r)
	row := result{took: time.Duration(float64(r.Ops) / r.OpsPerSec * float64(time.Second)), times: r.Times,
		cpu: map[string]time.Duration{"log": b.cpu()["log"] - before}}
	b.note("bare log", clients, row)
	return nil
}

// bareTopics makes the topics at the first call, and a configuration for each
// node at every one.
func (b *bench) bareTopics(ctx context.Context) ([]commitlog.Config, error) {
	if b.bare.Cluster == "" {
		f := setup.Identity(b.c.Layout().Node(b.c.NodeID(0)))
		id, err := identity.Load(identity.Files{CA: f.CA, Cert: f.Cert, Key: f.Key})
		if err != nil {
			return nil, err
		}
		b.bare = commitlog.Config{Brokers: b.c.Topology().Brokers, TLS: id.BrokerTLS(), Cluster: "bare", ClusterID: "bare",
			Partitions: b.c.Topology().Partitions, Key: identity.NewKey(), Incarnation: dsv.NewIncarnation()}
		if err := commitlog.Init(ctx, b.bare); err != nil {
			return nil, err
		}
	}
	var cfgs []commitlog.Config
	for range b.c.Nodes() {
		c := b.bare
		c.Incarnation = dsv.NewIncarnation()
		cfgs = append(cfgs, c)
	}
	return cfgs, nil
}
