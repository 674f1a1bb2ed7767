package gossip

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

var (
	errUnreachable = errors.New("gossip: nobody answers at that address")
	errDown        = errors.New("gossip: this node's network is shut down")
)

// Memory is a network in memory for simulation: packets and streams between
// hosts, each direction of which can be cut. It works inside a
// testing/synctest bubble, where it must be made. Hosts are the hosts of
// Config.Bind.
type Memory struct {
	mu    sync.Mutex
	ips   map[string]net.IP // by host
	hosts map[string]string // by "ip"
	ports map[string]*memoryPort
	cuts  map[[2]string]bool
}

// NewMemory makes a network without cuts.
func NewMemory() *Memory {
	return &Memory{ips: map[string]net.IP{}, hosts: map[string]string{}, ports: map[string]*memoryPort{}, cuts: map[[2]string]bool{}}
}

// Cut stops one direction between two hosts: packets are lost, new streams
// fail, open ones are broken.
func (n *Memory) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{from, to}] = true
	for _, p := range n.ports {
		p.breakStreams(func(peer string) bool {
			return p.host == from && peer == to || p.host == to && peer == from
		})
	}
}

// Heal undoes Cut.
func (n *Memory) Heal(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, [2]string{from, to})
}

// CutBoth stops both directions.
func (n *Memory) CutBoth(a, b string) { n.Cut(a, b); n.Cut(b, a) }

// HealBoth undoes CutBoth.
func (n *Memory) HealBoth(a, b string) { n.Heal(a, b); n.Heal(b, a) }

// Drain waits, in the bubble's time, until the goroutines that memberlist
// leaves behind for a while have ended. Call it at the end of a bubble, after
// all nodes are closed. The default cadence is assumed.
func (n *Memory) Drain() { time.Sleep(15 * time.Second) }

// ip gives each host an address; n.mu is held.
func (n *Memory) ip(host string) net.IP {
	if ip := n.ips[host]; ip != nil {
		return ip
	}
	k := len(n.ips) + 1
	ip := net.IPv4(10, 0, byte(k>>8), byte(k)).To4()
	n.ips[host], n.hosts[ip.String()] = ip, host
	return ip
}

// address turns "host:port" of this network into "ip:port".
func (n *Memory) address(hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return net.JoinHostPort(n.ip(host).String(), port)
}

// transport opens a port, in the place of a former process's.
func (n *Memory) transport(bind string) memberlist.Transport {
	host, port, _ := hostPort(bind)
	n.mu.Lock()
	defer n.mu.Unlock()
	p := &memoryPort{
		n: n, host: host, ip: n.ip(host), port: port,
		packets: make(chan *memberlist.Packet, 1024), incoming: make(chan net.Conn), down: make(chan struct{}),
		streams: map[*memoryStream]bool{},
	}
	n.ports[p.addr()] = p
	return p
}

// lookup is the port at an address, and whether streams to it are cut: there
// or back.
func (n *Memory) lookup(from, addr string) (p *memoryPort, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p = n.ports[addr]; p == nil {
		return nil, false
	}
	return p, n.cuts[[2]string{from, p.host}] || n.cuts[[2]string{p.host, from}]
}

// find is the port at an address that packets from a host reach.
func (n *Memory) find(from, addr string) *memoryPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.ports[addr]
	if p == nil || n.cuts[[2]string{from, p.host}] {
		return nil
	}
	return p
}

type memoryPort struct {
	n        *Memory
	host     string
	ip       net.IP
	port     int
	packets  chan *memberlist.Packet
	incoming chan net.Conn
	down     chan struct{}
	once     sync.Once

	mu      sync.Mutex
	streams map[*memoryStream]bool
}

func (p *memoryPort) addr() string { return net.JoinHostPort(p.ip.String(), strconv.Itoa(p.port)) }

func (p *memoryPort) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return p.ip, p.port, nil }

func (p *memoryPort) PacketCh() <-chan *memberlist.Packet { return p.packets }

func (p *memoryPort) StreamCh() <-chan net.Conn { return p.incoming }

// WriteTo loses packets over a cut, to nobody and to a full queue.
func (p *memoryPort) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	select {
	case <-p.down:
		return now, errDown
	default:
	}
	if to := p.n.find(p.host, addr); to != nil {
		from := &net.UDPAddr{IP: p.ip, Port: p.port}
		select {
		case to.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: from, Timestamp: now}:
		default:
		}
	}
	return now, nil
}

func (p *memoryPort) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	failed := fmt.Errorf("%w: %s", errUnreachable, addr)
	to, cut := p.n.lookup(p.host, addr)
	if to == nil {
		return nil, failed
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	near, far := net.Pipe()
	here, there := p.track(near, to), to.track(far, p)
	offer := to.incoming
	if cut {
		offer = nil // into the void
	}
	select {
	case offer <- there:
		return here, nil
	case <-t.C:
	case <-to.down:
	case <-p.down:
	}
	_, _ = here.Close(), there.Close()
	return nil, failed
}

// track wraps an end of a stream so that cuts and shutdown break it.
func (p *memoryPort) track(c net.Conn, peer *memoryPort) net.Conn {
	s := &memoryStream{Conn: c, port: p, peer: peer.host, remote: memoryAddr(peer.addr())}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams[s] = true
	return s
}

func (p *memoryPort) breakStreams(which func(peer string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.streams {
		if which(s.peer) {
			_ = s.Conn.Close()
		}
	}
}

func (p *memoryPort) Shutdown() error {
	p.once.Do(func() {
		close(p.down)
		p.n.mu.Lock()
		if p.n.ports[p.addr()] == p {
			delete(p.n.ports, p.addr())
		}
		p.n.mu.Unlock()
		p.breakStreams(func(string) bool { return true })
	})
	return nil
}

type memoryStream struct {
	net.Conn
	port   *memoryPort
	peer   string // host
	remote memoryAddr
}

func (s *memoryStream) Close() error {
	s.port.mu.Lock()
	delete(s.port.streams, s)
	s.port.mu.Unlock()
	return s.Conn.Close()
}

func (s *memoryStream) LocalAddr() net.Addr  { return memoryAddr(s.port.addr()) }
func (s *memoryStream) RemoteAddr() net.Addr { return s.remote }

type memoryAddr string

func (memoryAddr) Network() string  { return "mem" }
func (a memoryAddr) String() string { return string(a) }
