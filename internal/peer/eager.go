package peer

import (
	"net"
	"sync"
)

// eagerConn lies under the TLS of a connection and can write without waiting:
// what the kernel does not take at once is kept and goes out first with the next
// write that may wait. So whoever has a frame to send can send it by itself,
// without a goroutine in between and without ever being stopped by a peer that
// does not read.
type eagerConn struct {
	net.Conn
	try func([]byte) (int, error) // writes what can be written now; 0 and no error: nothing can

	mu    sync.Mutex
	eager bool
	rest  []byte // not taken yet, in order before everything later
}

// maxEager is the largest batch sent without waiting, in bytes.
const maxEager = 8 << 10

// eagerly makes an eagerConn of a connection that can write without waiting, and
// leaves any other as it is.
func eagerly(raw net.Conn) net.Conn {
	if try := tryWriter(raw); try != nil {
		return &eagerConn{Conn: raw, try: try}
	}
	return raw
}

func (c *eagerConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.eager {
		if err := c.flush(); err != nil {
			return 0, err
		}
		return c.Conn.Write(b)
	}
	n := 0
	if len(c.rest) == 0 {
		var err error
		if n, err = c.try(b); err != nil {
			return n, err
		}
	}
	c.rest = append(c.rest, b[n:]...)
	return len(b), nil
}

// flush writes the rest, waiting for it. Called locked.
func (c *eagerConn) flush() error {
	if len(c.rest) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.rest)
	c.rest = nil
	return err
}

func (c *eagerConn) setEager(on bool) {
	c.mu.Lock()
	c.eager = on
	c.mu.Unlock()
}

// pending reports whether something waits for a write that may wait.
func (c *eagerConn) pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.rest) > 0
}

// finish writes what is pending, waiting for it.
func (c *eagerConn) finish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flush()
}
