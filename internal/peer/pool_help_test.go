package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/peer/memnet"
)

// Kinds that testHandler knows.
const (
	kindEcho  = 'e' // the request back
	kindFrom  = 'f' // the caller's name
	kindFail  = 'x' // an error with fields
	kindPlain = 'p' // an error of no type
	kindHang  = 'h' // until the context ends
	kindHuge  = 'u' // an answer that fits no frame
)

type cluster struct {
	t     testing.TB
	net   *memnet.Net
	ids   []dsv.NodeID
	addrs map[dsv.NodeID]string
	tune  func(*PoolConfig) // nil or a change of every configuration
	ca    *identity.CA      // nil without TLS

	mu    sync.Mutex
	pools map[dsv.NodeID]*Pool
}

func newCluster(t testing.TB, ca *identity.CA, ids ...dsv.NodeID) *cluster {
	c := &cluster{t: t, net: memnet.New(), ids: ids, addrs: map[dsv.NodeID]string{}, ca: ca, pools: map[dsv.NodeID]*Pool{}}
	for _, id := range ids {
		c.addrs[id] = string(id) + ":1"
	}
	return c
}

func testHandler(ctx context.Context, from dsv.NodeID, kind byte, req []byte) ([]byte, error) {
	switch kind {
	case kindEcho:
		return req, nil
	case kindFrom:
		return []byte(from), nil
	case kindFail:
		return nil, &dsv.Error{
			Kind: dsv.KindUnavailable, Code: dsv.CodeWriteQuorum, Op: "stage", Detail: "no room", Phase: dsv.PhaseWriting,
			RetryAfter: time.Second, Have: 2, Need: 4, Silent: []string{"n9"}, Err: context.Canceled,
		}
	case kindPlain:
		return nil, net.ErrClosed
	case kindHang:
		<-ctx.Done()
		return nil, ctx.Err()
	case kindHuge:
		return make([]byte, DefaultMaxFrame), nil
	}
	return nil, dsv.Invalid("kind", "is unknown")
}

func (c *cluster) config(id dsv.NodeID) PoolConfig {
	l, err := c.net.Listen(c.addrs[id])
	if err != nil {
		c.t.Fatal(err)
	}
	cfg := PoolConfig{
		Self: id, Members: c.addrs, Listener: l, Handler: testHandler,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) { return c.net.Dial(ctx, string(id), addr) },
	}
	if c.ca != nil {
		useTLS(c.t, &cfg, c.ca, identity.RoleNode, string(id))
	}
	if c.tune != nil {
		c.tune(&cfg)
	}
	return cfg
}

func useTLS(t testing.TB, cfg *PoolConfig, ca *identity.CA, role identity.Role, name string) {
	i := issue(t, ca, role, name)
	cfg.ServerTLS = i.ServerTLS(func(id identity.ID) error {
		if id.Role != identity.RoleNode {
			return dsv.E(dsv.KindDenied, dsv.CodeDenied, "only nodes may connect")
		}
		return nil
	})
	cfg.ClientTLS = func(n dsv.NodeID) *tls.Config {
		return i.ClientTLS(identity.ID{TrustDomain: ca.TrustDomain(), Role: identity.RoleNode, Name: string(n)})
	}
	cfg.PeerName = func(cs *tls.ConnectionState) (dsv.NodeID, error) {
		id, err := identity.PeerID(cs)
		return id.NodeID(), err
	}
}

func newCA(t testing.TB) *identity.CA {
	ca, err := identity.NewCA("test", 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *identity.CA, role identity.Role, name string) *identity.Identity {
	cert, key, err := ca.Issue(role, name, nil, time.Hour*24)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := identity.Files{CA: dir + "/ca", Cert: dir + "/cert", Key: dir + "/key"}
	if err := identity.WriteFiles(f, ca.PEM(), cert, key); err != nil {
		t.Fatal(err)
	}
	i, err := identity.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (c *cluster) start(ids ...dsv.NodeID) {
	for _, id := range ids {
		p := NewPool(c.config(id))
		p.Start(context.Background())
		c.mu.Lock()
		c.pools[id] = p
		c.mu.Unlock()
	}
}

// pool of a running node, or nil.
func (c *cluster) pool(id dsv.NodeID) *Pool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pools[id]
}

// kill ends a process: its connections are reset, then its goroutines end.
func (c *cluster) kill(id dsv.NodeID) {
	c.net.Crash(string(id))
	c.mu.Lock()
	p := c.pools[id]
	delete(c.pools, id)
	c.mu.Unlock()
	p.Close()
}

// settle waits until every pair of running nodes is connected both ways.
func (c *cluster) settle(limit time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	for _, a := range c.ids {
		for _, b := range c.ids {
			if p := c.pool(a); p != nil && a != b && c.pool(b) != nil {
				if err := p.WaitConnected(ctx, b); err != nil {
					c.t.Fatalf("%s has no connection to %s: %v", a, b, err)
				}
			}
		}
	}
}

func (c *cluster) close() {
	for _, id := range slices.Sorted(slices.Values(c.ids)) {
		if p := c.pool(id); p != nil {
			p.Close()
		}
	}
}

// bubble runs f with a connected cluster inside a synctest bubble, which fails
// if any goroutine outlives the pools.
func bubble(t *testing.T, withTLS bool, tune func(*PoolConfig), ids []dsv.NodeID, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var ca *identity.CA
		if withTLS {
			ca = newCA(t)
		}
		c := newCluster(t, ca, ids...)
		c.tune = tune
		defer c.close()
		c.start(ids...)
		c.settle(5 * time.Second)
		f(t, c)
	})
}

var pair = []dsv.NodeID{"n1", "n2"}

// stranger speaks the protocol by hand to n2, as n1.
type stranger struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func (c *cluster) stranger(nonce byte, dial uint64, node dsv.NodeID) *stranger {
	c.t.Helper()
	nc, err := c.net.Dial(c.t.Context(), "n1", "n2:1")
	if err != nil {
		c.t.Fatal(err)
	}
	s := &stranger{nc, c.t, bufio.NewReader(nc)}
	s.send(hello{nonce: [16]byte{nonce}, dial: dial, node: node}.append(nil))
	return s
}

func (s *stranger) send(b []byte) {
	s.t.Helper()
	if _, err := s.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

// next is the next frame that is no ping.
func (s *stranger) next() (header, []byte, error) {
	var scratch [lengthSize + frameOverhead]byte
	for {
		h, err := readHeader(s.r, &scratch, DefaultMaxFrame)
		if err != nil {
			return h, nil, err
		}
		b := make([]byte, h.size)
		for i := range b {
			if b[i], err = s.r.ReadByte(); err != nil {
				return h, nil, err
			}
		}
		if h.typ != framePing {
			return h, b, nil
		}
	}
}

// let in or fail the test.
func (s *stranger) admitted() {
	s.t.Helper()
	if h, _, err := s.next(); err != nil || h.typ != frameHello {
		s.t.Fatalf("no hello back: %v %v", h, err)
	}
}
