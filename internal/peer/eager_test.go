package peer

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
)

// sink is a connection that takes everything that may wait.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) { return s.Buffer.Write(b) }
func (s *sink) Read(b []byte) (int, error)  { return s.Buffer.Read(b) }

// Whatever the kernel takes of each attempt, the bytes come out in order.
func TestEagerConnKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		var out sink
		c := &eagerConn{Conn: &out, try: func(b []byte) (int, error) { return out.Write(b[:r.IntN(len(b)+1)]) }}
		var want []byte
		for range 1 + r.IntN(12) {
			b := randomBytes(r.IntN(50) + 1)
			want = append(want, b...)
			c.setEager(r.IntN(3) > 0)
			if n, err := c.Write(b); n != len(b) || err != nil {
				t.Fatal(n, err)
			}
		}
		c.setEager(false)
		if err := c.finish(); err != nil || c.pending() {
			t.Fatal(err, c.pending())
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("got  %x\nwant %x", out.Bytes(), want)
		}
	}
}

// A peer that does not read stops nobody who writes without waiting, and gets
// everything once it reads again.
func TestEagerConnNeverWaits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = near.Close(); _ = far.Close() }()
	c, ok := eagerly(near).(*eagerConn)
	if !ok {
		t.Skip("this system cannot write without waiting")
	}
	var want []byte
	c.setEager(true)
	for len(want) < 64<<20 && !c.pending() { // more than any socket takes
		b := bytes.Repeat([]byte{byte(len(want) >> 15)}, 32<<10)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		want = append(want, b...)
	}
	if !c.pending() {
		t.Fatal("the socket took everything: this shows nothing")
	}
	last := []byte("and the last")
	if _, err := c.Write(last); err != nil {
		t.Fatal(err)
	}
	want = append(want, last...)
	c.setEager(false)
	done := make(chan error, 1)
	go func() { done <- c.finish() }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%v; the same bytes: %v", err, bytes.Equal(got, want))
	}
	_ = far.Close()
	c.setEager(true)
	for range 1000 { // until the reset has arrived
		if _, err = c.Write(last); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a connection that is gone takes everything")
	}
}

// Two pools over TCP and TLS: one caller, a few, many; small requests and such
// as no socket takes at once. Every answer is the caller's own.
func TestPoolsOverTCP(t *testing.T) {
	ca := newCA(t)
	ids := []dsv.NodeID{"n1", "n2"}
	addrs := map[dsv.NodeID]string{}
	listeners := map[dsv.NodeID]net.Listener{}
	for _, id := range ids {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[id], addrs[id] = l, l.Addr().String()
	}
	pools := map[dsv.NodeID]*Pool{}
	for _, id := range ids {
		cfg := PoolConfig{Self: id, Members: addrs, Listener: listeners[id], Handler: testHandler,
			Dial: func(ctx context.Context, addr string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", addr)
			}}
		useTLS(t, &cfg, ca, identity.RoleNode, string(id))
		p := NewPool(cfg)
		p.Start(t.Context())
		defer p.Close()
		pools[id] = p
	}
	for i, id := range ids {
		if err := pools[id].WaitConnected(t.Context(), ids[1-i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, callers := range []int{1, 3, 40} {
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(c), 7))
				from := c % 2
				for n := range 1000 / callers {
					size := 1 + r.IntN(600)
					if n%20 == 0 {
						size = 300 << 10
					}
					body := randomBytes(size)
					resp, err := pools[ids[from]].Call(t.Context(), ids[1-from], kindEcho, body)
					if err != nil || !bytes.Equal(resp, body) {
						t.Errorf("%d callers: %d bytes: %v", callers, size, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = crand.Read(b)
	return b
}
