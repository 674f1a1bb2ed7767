package commitlog

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// VirtualNetwork is a network in memory between Logs and embedded brokers, for
// tests inside a testing/synctest bubble: waiting on it lets the bubble's clock
// go on, as waiting on a real socket does not. Each client dials under a name,
// and what a name can reach, and how fast, can be changed at any time.
type VirtualNetwork struct {
	net kfake.VirtualNetwork

	mu    sync.Mutex
	port  int // last one given out
	hosts map[string]*virtualHost
	work  sync.WaitGroup
}

// virtualHost is how one client stands to the network.
type virtualHost struct {
	gate  *gate
	delay time.Duration
	links map[*link]struct{}
}

// NewVirtualNetwork returns a network without anybody.
func NewVirtualNetwork() *VirtualNetwork {
	return &VirtualNetwork{port: 9091, hosts: map[string]*virtualHost{}}
}

// ports gives out n ports that were never used before.
func (v *VirtualNetwork) ports(n int) []int {
	v.mu.Lock()
	defer v.mu.Unlock()
	ps := make([]int, n)
	for i := range ps {
		v.port++
		ps[i] = v.port
	}
	return ps
}

func (v *VirtualNetwork) listen(network, addr string) (net.Listener, error) {
	return v.net.Listen(network, addr)
}

// host is called locked.
func (v *VirtualNetwork) host(name string) *virtualHost {
	h := v.hosts[name]
	if h == nil {
		h = &virtualHost{gate: newGate(), links: map[*link]struct{}{}}
		v.hosts[name] = h
	}
	return h
}

// DialFrom is the Dial of a Config for the client called name.
func (v *VirtualNetwork) DialFrom(name string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		v.mu.Lock()
		h := v.host(name)
		v.mu.Unlock()
		select {
		case <-h.gate.passing():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		far, err := v.net.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		near, mid := net.Pipe()
		l := &link{near: mid, far: far, closed: make(chan struct{})}
		v.mu.Lock()
		h.links[l] = struct{}{}
		v.work.Add(1)
		v.mu.Unlock()
		go func() {
			defer v.work.Done()
			l.run(func() (time.Duration, <-chan struct{}) { return v.state(h) })
			v.mu.Lock()
			delete(h.links, l)
			v.mu.Unlock()
		}()
		return near, nil
	}
}

func (v *VirtualNetwork) state(h *virtualHost) (time.Duration, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return h.delay, h.gate.passing()
}

// Cut lets nothing pass between name and the brokers any more: connections
// stand, and what is sent waits.
func (v *VirtualNetwork) Cut(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.host(name).gate.shut()
}

// Heal ends Cut; what waited passes.
func (v *VirtualNetwork) Heal(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.host(name).gate.open()
}

// SetDelay makes everything between name and the brokers take d each way.
func (v *VirtualNetwork) SetDelay(name string, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.host(name).delay = d
}

// Reset breaks every connection of name; what is under way is lost.
func (v *VirtualNetwork) Reset(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for l := range v.host(name).links {
		l.close()
	}
}

// Close breaks every connection and waits for the network to be still. A bubble
// ends only after it.
func (v *VirtualNetwork) Close() {
	v.mu.Lock()
	for _, h := range v.hosts {
		for l := range h.links {
			l.close()
		}
	}
	v.mu.Unlock()
	v.work.Wait()
}

// link carries bytes between two ends.
type link struct {
	near, far net.Conn
	closed    chan struct{}
	once      sync.Once
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.closed)
		_ = l.near.Close()
		_ = l.far.Close()
	})
}

// run carries bytes both ways until either end closes.
func (l *link) run(state func() (time.Duration, <-chan struct{})) {
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{l.near, l.far}, {l.far, l.near}} {
		road := make(chan parcel, 1024)
		ways.Go(func() { defer close(road); l.read(way[0], road, state) })
		ways.Go(func() { l.write(way[1], road, state) })
	}
	ways.Wait()
}

// parcel is some bytes and when they may arrive.
type parcel struct {
	bytes []byte
	due   time.Time
}

func (l *link) read(from net.Conn, road chan<- parcel, state func() (time.Duration, <-chan struct{})) {
	defer l.close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		delay, _ := state()
		select {
		case road <- parcel{bytes.Clone(buf[:n]), now().Add(delay)}:
		case <-l.closed:
			return
		}
	}
}

func (l *link) write(to net.Conn, road <-chan parcel, state func() (time.Duration, <-chan struct{})) {
	defer l.close()
	for p := range road {
		if d := p.due.Sub(now()); d > 0 {
			select {
			case <-time.After(d):
			case <-l.closed:
				return
			}
		}
		_, passing := state()
		select {
		case <-passing:
		case <-l.closed:
			return
		}
		if _, err := to.Write(p.bytes); err != nil {
			return
		}
	}
}
