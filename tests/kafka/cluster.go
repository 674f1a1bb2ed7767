package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say what to start. The zero value is one broker without TLS in
// .kafka/cluster of the module, on free ports.
type Options struct {
	Brokers  int      // 0 is 1
	Dir      string   // of the cluster; "" is .kafka/cluster of the module. What Start finds there is removed
	Libs     string   // folder of the jars, filled if it has none; "" is .kafka/libs of the module
	BasePort int      // broker i (from 1) has BasePort+10i for plain text, +1 for TLS, +2 among controllers; 0 is free ports
	TLSDir   string   // "" is no TLS; else a folder with ca.pem, cert.pem and key.pem (or .crt, .key), for 127.0.0.1
	Heap     string   // "" is 384m
	Java     []string // more flags for the JVM
}

// Cluster is a running Kafka cluster. Its methods may be called from several
// goroutines, but not for the same broker at once.
type Cluster struct {
	dir string

	mu    sync.Mutex
	state state
}

// state is cluster.json.
type state struct {
	ID      string   `json:"cluster_id"`
	Options Options  `json:"options"`
	Brokers []broker `json:"brokers"`
}

type broker struct {
	PID     int    `json:"pid"`               // 0 if not running
	Started string `json:"started,omitempty"` // of the process, as the kernel counts; guards against reuse of the pid
	Plain   int    `json:"plain_port"`
	TLS     int    `json:"tls_port,omitempty"`
	Control int    `json:"controller_port"`
}

const stateFile = "cluster.json"

// Start starts a new, empty cluster and returns when every broker takes
// requests. A cluster that already runs in the directory is stopped first. If
// ctx ends before, nothing is left running.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Brokers == 0 {
		o.Brokers = 1
	}
	if o.Brokers < 1 || o.Brokers > 9 {
		return nil, errors.New("kafka: 1 to 9 brokers")
	}
	if err := o.defaults(); err != nil {
		return nil, err
	}
	if err := fetch(ctx, o.Libs); err != nil {
		return nil, err
	}
	if old, err := Load(o.Dir); err == nil {
		if err := old.Stop(); err != nil {
			return nil, err
		}
	}
	if err := clearDir(o.Dir); err != nil {
		return nil, err
	}
	c := &Cluster{dir: o.Dir, state: state{ID: clusterID(), Options: o}}
	if err := c.ports(); err != nil {
		return nil, err
	}
	for i := 1; i <= o.Brokers; i++ {
		if err := c.format(ctx, i); err != nil {
			return nil, err
		}
	}
	if err := c.startAll(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (o *Options) defaults() error {
	if o.Heap == "" {
		o.Heap = "384m"
	}
	if o.Dir == "" || o.Libs == "" {
		root, err := moduleRoot()
		if err != nil {
			return err
		}
		if o.Dir == "" {
			o.Dir = filepath.Join(root, ".kafka", "cluster")
		}
		if o.Libs == "" {
			o.Libs = filepath.Join(root, ".kafka", "libs")
		}
	}
	for _, p := range []*string{&o.Dir, &o.Libs, &o.TLSDir} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// DefaultDir is where a cluster lives when Options do not say.
func DefaultDir() (string, error) {
	var o Options
	err := o.defaults()
	return o.Dir, err
}

// moduleRoot is the nearest folder upwards that has a go.mod.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("kafka: not inside the module: name the folders")
		}
		dir = up
	}
}

// clearDir empties a directory that is ours, or makes it.
func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, stateFile)); err != nil {
			return fmt.Errorf("kafka: %s is not empty and holds no cluster", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// Load finds a cluster that was started in dir, perhaps by another process.
func Load(dir string) (*Cluster, error) {
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("kafka: no cluster in %s: %w", dir, err)
	}
	c := &Cluster{dir: dir}
	if err := json.Unmarshal(text, &c.state); err != nil {
		return nil, fmt.Errorf("kafka: %s: %w", stateFile, err)
	}
	return c, nil
}

// save writes cluster.json. Called locked, or before c is shared.
func (c *Cluster) save() error {
	text, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(c.dir, stateFile+".tmp")
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(c.dir, stateFile))
}

// Brokers are the plain text addresses, whether the brokers run or not.
func (c *Cluster) Brokers() []string { return c.addrs(func(b broker) int { return b.Plain }) }

// TLSBrokers are the TLS addresses; nil without TLS. Clients have to show a
// certificate of the same CA.
func (c *Cluster) TLSBrokers() []string {
	if c.state.Options.TLSDir == "" {
		return nil
	}
	return c.addrs(func(b broker) int { return b.TLS })
}

// Dir is the directory of the cluster, for Load.
func (c *Cluster) Dir() string { return c.dir }

func (c *Cluster) addrs(port func(broker) int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var as []string
	for _, b := range c.state.Brokers {
		as = append(as, loopback(port(b)))
	}
	return as
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// ports chooses the ports of all brokers.
func (c *Cluster) ports() error {
	o := c.state.Options
	var held []net.Listener
	defer func() {
		for _, ln := range held {
			_ = ln.Close()
		}
	}()
	port := func(fixed int) (int, error) {
		if o.BasePort == 0 {
			fixed = 0
		}
		ln, err := net.Listen("tcp", loopback(fixed))
		if err != nil {
			return 0, fmt.Errorf("kafka: %w", err)
		}
		held = append(held, ln)
		return ln.Addr().(*net.TCPAddr).Port, nil
	}
	for i := 1; i <= o.Brokers; i++ {
		var b broker
		var errs [3]error
		base := o.BasePort + 10*i
		b.Plain, errs[0] = port(base)
		b.TLS, errs[1] = port(base + 1)
		b.Control, errs[2] = port(base + 2)
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		c.state.Brokers = append(c.state.Brokers, b)
	}
	return nil
}

// clusterID is a random id as Kafka makes them.
func clusterID() string {
	for {
		var b [16]byte
		_, _ = rand.Read(b[:])
		if id := base64.RawURLEncoding.EncodeToString(b[:]); !strings.HasPrefix(id, "-") {
			return id
		}
	}
}

// startAll starts every broker and waits for all.
func (c *Cluster) startAll(ctx context.Context) error {
	for i := range c.state.Brokers {
		if err := c.spawn(i + 1); err != nil {
			return err
		}
	}
	for i := range c.state.Brokers {
		if err := c.await(ctx, i+1); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all brokers, those that are paused too, and waits until they are
// gone. The directory stays. It can be repeated.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	brokers := append([]broker(nil), c.state.Brokers...)
	c.mu.Unlock()
	for _, b := range brokers {
		b.terminate()
	}
	var errs []error
	for i, b := range brokers {
		if !b.gone(15 * time.Second) {
			errs = append(errs, c.Kill(i+1))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.state.Brokers {
		c.state.Brokers[i].PID, c.state.Brokers[i].Started = 0, ""
	}
	return errors.Join(append(errs, c.save())...)
}
