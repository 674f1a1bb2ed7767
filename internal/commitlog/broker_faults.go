package commitlog

import (
	"errors"
	"net"
	"sync"

	"github.com/dsvault/dsv"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Pause makes the broker answer nothing, as if its process had been stopped:
// connections stand, new ones are taken, nothing goes in or out. Requests that
// come meanwhile are answered after Resume.
func (b *Broker) Pause() { b.gate.shut() }

// Resume ends Pause.
func (b *Broker) Resume() { b.gate.open() }

// CutConnections closes every connection; answers under way are lost.
func (b *Broker) CutConnections() {
	b.mu.Lock()
	conns := make([]*brokerConn, 0, len(b.conns))
	for c := range b.conns {
		conns = append(conns, c)
	}
	b.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// MoveLeaders moves the leadership of every partition of both topics of a
// cluster to another broker; there must be several.
func (b *Broker) MoveLeaders(cfg Config) error {
	if len(b.addrs) < 2 {
		return errors.New("commitlog: one broker has nowhere to move leaders to")
	}
	for _, p := range cfg.all() {
		topic, part, _ := cfg.topic(p)
		to := (b.cluster.LeaderFor(topic, part) + 1) % int32(len(b.addrs))
		if err := b.cluster.MoveTopicPartition(topic, part, to); err != nil {
			return err
		}
	}
	return nil
}

// DropProduceAcks makes the next n produce requests succeed and tell their
// client that they timed out.
func (b *Broker) DropProduceAcks(n int) {
	b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: n})
}

// FailProduce makes the next n produce requests fail with an error that breaks
// the producer's sequence; nothing is appended.
func (b *Broker) FailProduce(n int) {
	b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.OutOfOrderSequenceNumber, Count: n})
}

// RecreateTopic deletes the topic of p and makes it again, empty.
func (b *Broker) RecreateTopic(cfg Config, p dsv.Partition) error {
	topic, _, ok := cfg.topic(p)
	if !ok {
		return ErrPartition
	}
	parts := int32(cfg.Partitions)
	if p == Control {
		parts = 1
	}
	settings := map[string]string{}
	for k, v := range b.cluster.TopicInfo(topic).Configs {
		if v != nil {
			settings[k] = *v
		}
	}
	if err := b.cluster.DeleteTopic(topic); err != nil {
		return err
	}
	return b.cluster.CreateTopic(topic, parts, settings)
}

// TrimLog deletes the records of p below offset.
func (b *Broker) TrimLog(cfg Config, p dsv.Partition, offset int64) error {
	topic, part, ok := cfg.topic(p)
	if !ok {
		return ErrPartition
	}
	return b.cluster.DeleteRecords(topic, part, offset)
}

// ServeCreateTime makes the broker serve records as if their times were the
// producers', as a broker does whose topic was switched to CreateTime.
func (b *Broker) ServeCreateTime(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.odd = on
}

func (b *Broker) serveOdd() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.odd
}

// gate lets everything pass, or nothing.
type gate struct {
	mu   sync.Mutex
	pass chan struct{} // closed while open
}

func newGate() *gate {
	g := &gate{pass: make(chan struct{})}
	close(g.pass)
	return g
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.pass:
		g.pass = make(chan struct{})
	default:
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.pass:
	default:
		close(g.pass)
	}
}

func (g *gate) passing() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pass
}

// gatedListener puts the broker's gate into every connection.
type gatedListener struct {
	net.Listener
	broker *Broker
}

func (l *gatedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gatedConn{Conn: conn, gate: l.broker.gate, closed: make(chan struct{})}, nil
}

// gatedConn is a connection whose bytes wait at a gate.
type gatedConn struct {
	net.Conn
	gate   *gate
	closed chan struct{}
	once   sync.Once
}

func (c *gatedConn) wait() error {
	select {
	case <-c.gate.passing():
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if w := c.wait(); w != nil {
		return 0, w
	}
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if err := c.wait(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
