package commitlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
)

// BrokerConfig is what an embedded broker needs. Exactly one of DataDir and
// Memory is set.
type BrokerConfig struct {
	Listen    string       // host:port; "" is 127.0.0.1 on a free port
	Listener  net.Listener // instead of Listen
	Advertise string       // host:port that clients are told to use; "" is where it listens
	DataDir   string       // made if missing, locked while open
	Memory    bool         // keep nothing
	TLS       *tls.Config  // nil is plain text
	Network   *VirtualNetwork
	Brokers   int // more than 1 is for tests of leader moves; 0 is 1
	Logger    *slog.Logger
}

// Broker is an embedded Kafka broker, for one machine and for tests. What it
// acknowledged it serves again after a kill or a power cut, with the same
// offsets, append times and topic ids. It forgets producers in a kill, so a
// record that was under way may then appear twice.
//
// It knows no authorisation: whoever can connect, which with TLS is whoever its
// tls.Config lets in, can do anything.
type Broker struct {
	cluster *kfake.Cluster
	gate    *gate
	addrs   []string
	unlock  func()
	once    sync.Once

	produces, batches atomic.Int64

	mu    sync.Mutex
	conns map[*brokerConn]struct{}
	odd   bool // serve append times as create times
}

// StartBroker starts an embedded broker and returns when it takes connections.
// Errors: those of listening and of the directory, ErrLocked.
func StartBroker(cfg BrokerConfig) (*Broker, error) {
	if (cfg.DataDir == "") != cfg.Memory {
		return nil, errors.New("commitlog: a broker needs either a data directory or to be told to keep nothing")
	}
	n := max(cfg.Brokers, 1)
	if n > 1 && (cfg.Listener != nil || cfg.Listen != "" || cfg.Advertise != "") {
		return nil, errors.New("commitlog: several brokers in one choose their addresses themselves")
	}
	b := &Broker{gate: newGate(), unlock: func() {}, conns: map[*brokerConn]struct{}{}}
	opts := []kfake.Opt{kfake.NumBrokers(n), kfake.ClusterID("dsv-embedded"), kfake.WithLogger(brokerLog{cfg.Logger})}
	if cfg.DataDir != "" {
		unlock, err := lockDir(cfg.DataDir)
		if err != nil {
			return nil, err
		}
		b.unlock = unlock
		opts = append(opts, kfake.DataDir(cfg.DataDir), kfake.SyncWrites())
	}
	if cfg.Network != nil {
		opts = append(opts, kfake.Ports(cfg.Network.ports(n)...))
	}
	opts = append(opts, kfake.ListenFn(b.listen(cfg)))
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		b.unlock()
		return nil, fmt.Errorf("commitlog: embedded broker: %w", err)
	}
	b.cluster = cluster
	b.addrs = cluster.ListenAddrs()
	b.stamp()
	return b, nil
}

// listen is how kfake gets its listeners: the address it asks for counts only
// in a virtual network.
func (b *Broker) listen(cfg BrokerConfig) func(network, addr string) (net.Listener, error) {
	return func(network, addr string) (net.Listener, error) {
		ln, err := open(cfg, network, addr)
		if err != nil {
			return nil, err
		}
		ln = &gatedListener{ln, b}
		if cfg.TLS != nil {
			ln = tls.NewListener(ln, cfg.TLS)
		}
		return &brokerListener{Listener: ln, broker: b, advertise: cfg.Advertise}, nil
	}
}

func open(cfg BrokerConfig, network, addr string) (net.Listener, error) {
	switch {
	case cfg.Listener != nil:
		return cfg.Listener, nil
	case cfg.Network != nil:
		return cfg.Network.listen(network, addr)
	case cfg.Listen != "":
		return net.Listen(network, cfg.Listen)
	}
	return net.Listen(network, "127.0.0.1:0")
}

// Addrs are the addresses to connect to, host:port.
func (b *Broker) Addrs() []string { return b.addrs }

// Produced is how many produce requests the broker has taken, and how many
// batches were in them. With a data directory each batch costs a sync.
func (b *Broker) Produced() (requests, batches int64) { return b.produces.Load(), b.batches.Load() }

// Close ends the broker. It can be repeated.
func (b *Broker) Close() error {
	b.once.Do(func() {
		b.gate.open()
		b.cluster.Close()
		b.CutConnections()
		b.unlock()
	})
	return nil
}

// advertised is an address that clients are told.
type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// brokerLog hands what kfake says to slog.
type brokerLog struct{ log *slog.Logger }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if l.log == nil || level > kfake.LogLevelWarn {
		return
	}
	to := slog.LevelWarn
	if level == kfake.LogLevelError {
		to = slog.LevelError
	}
	l.log.Log(context.Background(), to, "embedded broker: "+fmt.Sprintf(format, args...))
}
