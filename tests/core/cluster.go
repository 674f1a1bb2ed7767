package core

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/peer/memnet"
	"github.com/dsvault/dsv/internal/replica"
)

// ClusterID is the id of every cluster here.
const ClusterID = "cluster-of-tests"

// Options of a cluster. The zero value is five nodes, 3 of 5, w = 4, one
// partition, stores in memory.
type Options struct {
	Nodes       int
	Quorum      dsv.Quorum
	Partitions  int
	Disk        bool // Badger in directories of the test
	StagedBytes int64
	// Stopped leaves the nodes unstarted: a test starts those it wants.
	Stopped bool
	// Repair starts the scans of holes; read repair is always there.
	Repair        bool
	TriggerBuffer int
	Timeout       time.Duration // of requests, default 4 s
	// Verbose logs what the nodes say, for looking into a failure.
	Verbose bool
}

// Cluster is nodes around one log.
type Cluster struct {
	T      *testing.T
	Net    *memnet.Net               // between nodes
	LogNet *commitlog.VirtualNetwork // between nodes and the broker
	Broker *commitlog.Broker
	Nodes  []*Node
	Token  dsv.Secret // of a caller who may do everything

	opt Options
	key dsv.Secret
	dir string
	log *slog.Logger
	raw *commitlog.Log
	inc dsv.Incarnation // of raw
}

// New starts a cluster inside the bubble of t; it ends with the test.
func New(t *testing.T, opt Options) *Cluster {
	t.Helper()
	if opt.Nodes == 0 {
		opt.Nodes = 5
	}
	if opt.Quorum == (dsv.Quorum{}) {
		opt.Quorum = dsv.Quorum{K: 3, N: 5, W: 4}
	}
	opt.Partitions = max(opt.Partitions, 1)
	if opt.StagedBytes == 0 {
		opt.StagedBytes = 64 << 20
	}
	c := &Cluster{T: t, Net: memnet.New(), LogNet: commitlog.NewVirtualNetwork(), opt: opt,
		key: dsv.SecretOf(make([]byte, 32)), inc: dsv.NewIncarnation(), log: slog.New(slog.DiscardHandler)}
	if opt.Verbose {
		c.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if opt.Disk {
		c.dir = t.TempDir()
	}
	var err error
	c.Broker, err = commitlog.StartBroker(commitlog.BrokerConfig{Memory: true, Network: c.LogNet})
	c.Must(err)
	for i := range opt.Nodes {
		c.Nodes = append(c.Nodes, &Node{c: c, ID: dsv.NodeID("n" + strconv.Itoa(i+1)), Host: "10.0.0." + strconv.Itoa(i+1)})
	}
	t.Cleanup(c.close)
	c.setUp()
	if !opt.Stopped {
		for _, n := range c.Nodes {
			n.Start()
		}
		for _, n := range c.Nodes {
			n.Ready()
		}
	}
	return c
}

// setUp makes topics, CONFIG and a token, as `dsvctl init` does.
func (c *Cluster) setUp() {
	cfg := c.logConfig("raw", c.inc)
	c.Must(commitlog.Init(context.Background(), cfg))
	var err error
	c.raw, err = commitlog.Open(context.Background(), cfg)
	c.Must(err)
	conf := c.Config()
	for p := range c.opt.Partitions {
		c.Append(dsv.Partition(p), &metapb.Record{Version: 1, Body: &metapb.Record_Config{Config: conf.Record()}})
	}
	c.Token, _ = c.Grant("everything", auth.AllVerbs, "")
}

// Config is what the log says.
func (c *Cluster) Config() meta.Config {
	return meta.Config{ClusterID: ClusterID, Members: c.Members(), Q: c.opt.Quorum, Partitions: c.opt.Partitions}
}

// Members are the ids of all nodes.
func (c *Cluster) Members() (ids []dsv.NodeID) {
	for _, n := range c.Nodes {
		ids = append(ids, n.ID)
	}
	return ids
}

// Grant appends a token and returns its text and id. Nodes apply it as they
// read on.
func (c *Cluster) Grant(name string, verbs auth.Verb, prefixes ...string) (text dsv.Secret, id string) {
	c.T.Helper()
	tok := auth.NewToken()
	g := auth.Grant{ID: tok.ID, Name: name, Hash: tok.Hash(), Verbs: verbs, CreatedBy: "test"}
	for _, p := range prefixes {
		pre, err := auth.ParsePrefix(p)
		c.Must(err)
		g.Prefixes = append(g.Prefixes, pre)
	}
	value, err := proto.Marshal(g.ToProto())
	c.Must(err)
	c.Append(commitlog.Control, settingRecord(&metapb.Setting{Type: replica.TokenType, Id: tok.ID, Value: value, Author: "test"}))
	return tok.Text(), tok.ID
}

func settingRecord(s *metapb.Setting) *metapb.Record {
	return &metapb.Record{Version: 1, Body: &metapb.Record_Setting{Setting: s}}
}

// RevokeToken appends the removal of a token.
func (c *Cluster) RevokeToken(id string) {
	c.Append(commitlog.Control, settingRecord(&metapb.Setting{Type: replica.TokenType, Id: id, Author: "test"}))
}

func (c *Cluster) logConfig(name string, inc dsv.Incarnation) commitlog.Config {
	return commitlog.Config{Brokers: c.Broker.Addrs(), Dial: c.LogNet.DialFrom(name), Cluster: "test", ClusterID: ClusterID,
		Partitions: c.opt.Partitions, Key: c.key, Incarnation: inc, Logger: c.log}
}

// Append puts a record into the log under the hand's incarnation and returns
// its offset.
func (c *Cluster) Append(p dsv.Partition, rec *metapb.Record) int64 {
	c.T.Helper()
	return c.AppendAs(c.raw, p, rec)
}

// AppendAs is Append through another log.
func (c *Cluster) AppendAs(l *commitlog.Log, p dsv.Partition, rec *metapb.Record) int64 {
	c.T.Helper()
	body, err := meta.Encode(rec)
	c.Must(err)
	type result struct {
		offset int64
		err    error
	}
	done := make(chan result, 1)
	c.Must(l.Append(p, body, func(off int64, err error) { done <- result{off, err} }))
	r := <-done
	c.Must(r.err)
	return r.offset
}

// OpenLog opens one more log under an incarnation, a stranger with the
// cluster's log key; it ends with the test.
func (c *Cluster) OpenLog(name string, inc dsv.Incarnation) *commitlog.Log {
	l, err := commitlog.Open(context.Background(), c.logConfig(name, inc))
	c.Must(err)
	c.T.Cleanup(func() { _ = l.Close() })
	return l
}

// RecreateTopic deletes the topic of a partition and makes it anew, empty.
func (c *Cluster) RecreateTopic(p dsv.Partition) {
	c.Must(c.Broker.RecreateTopic(c.logConfig("raw", c.inc), p))
}

// Tick moves the clocks of a partition.
func (c *Cluster) Tick(p dsv.Partition) int64 {
	return c.Append(p, &metapb.Record{Version: 1, Body: &metapb.Record_Tick{Tick: &metapb.Tick{}}})
}

// Must ends the test on an error.
func (c *Cluster) Must(err error) {
	c.T.Helper()
	if err != nil {
		c.T.Fatal(err)
	}
}

// Eventually waits on simulated time until f has nothing to say.
func (c *Cluster) Eventually(limit time.Duration, f func() error) {
	c.T.Helper()
	end := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			c.T.Fatalf("after %v: %v", limit, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Cut stops both directions between two nodes, Heal undoes it.
func (c *Cluster) Cut(i, j int)  { c.Net.CutBoth(c.Nodes[i].Host, c.Nodes[j].Host) }
func (c *Cluster) Heal(i, j int) { c.Net.HealBoth(c.Nodes[i].Host, c.Nodes[j].Host) }

// CutLog lets nothing pass between a node and the log, HealLog undoes it. A
// node that is cut for a second finds the log silent.
func (c *Cluster) CutLog(i int)  { c.LogNet.Cut(string(c.Nodes[i].ID)) }
func (c *Cluster) HealLog(i int) { c.LogNet.Heal(string(c.Nodes[i].ID)) }

// Path makes a path from "namespace:key".
func Path(ns, key string) dsv.Path {
	p, err := dsv.ParsePath(ns, key)
	if err != nil {
		panic(err)
	}
	return p
}

func (c *Cluster) storeDir(n *Node) string { return filepath.Join(c.dir, string(n.ID)) }

func (c *Cluster) close() {
	for i := range c.Nodes {
		c.HealLog(i)
		for j := range i {
			c.Heal(i, j)
		}
	}
	for _, n := range c.Nodes {
		n.Stop()
		n.dropStore()
	}
	if c.raw != nil {
		_ = c.raw.Close()
	}
	if c.Broker != nil {
		_ = c.Broker.Close()
	}
	c.LogNet.Close()
}
