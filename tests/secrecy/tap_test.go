package secrecy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// taps stand before ports and read what passes, both ways.
type taps struct {
	marks []mark

	mu      sync.Mutex
	closers []io.Closer
	closed  bool
	wg      sync.WaitGroup
	passed  map[string]int64    // bytes by what is tapped
	found   map[string][]string // marks by what is tapped
	sample  map[string][]byte   // the first bytes of a connection
}

func newTaps(marks []mark) *taps {
	return &taps{marks: marks, passed: map[string]int64{}, found: map[string][]string{}, sample: map[string][]byte{}}
}

// front is cluster.Options.Front.
func (x *taps) front(what, dialled, listens string) error {
	l, err := net.Listen("tcp", dialled)
	if err != nil {
		return err
	}
	x.owns(l)
	x.wg.Go(func() { x.accept(what, l, listens) })
	addr, err := net.ResolveUDPAddr("udp", dialled)
	if err != nil {
		return err
	}
	u, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	x.owns(u)
	x.wg.Go(func() { x.packets(what+" UDP", u, listens) })
	return nil
}

// owns remembers what close closes; after close it is closed at once.
func (x *taps) owns(c io.Closer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		_ = c.Close()
		return
	}
	x.closers = append(x.closers, c)
}

func (x *taps) close() {
	x.mu.Lock()
	x.closed = true
	all := x.closers
	x.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
	x.wg.Wait()
}

func (x *taps) accept(what string, l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		x.owns(in)
		x.owns(out)
		x.wg.Go(func() { x.pipe(what, in, out) })
		x.wg.Go(func() { x.pipe(what, out, in) })
	}
}

// pipe carries one direction of a connection, and its end.
func (x *taps) pipe(what string, from, to net.Conn) {
	s := newScanner(x.marks)
	if _, err := io.Copy(to, io.TeeReader(from, x.reading(what, s))); err != nil {
		_, _ = from.Close(), to.Close()
		return
	}
	if t, ok := to.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}

// reading counts what passes into s and notes what s finds.
func (x *taps) reading(what string, s *scanner) io.Writer {
	return writer(func(b []byte) (int, error) {
		n := len(s.found)
		_, _ = s.Write(b)
		x.mu.Lock()
		defer x.mu.Unlock()
		x.passed[what] += int64(len(b))
		x.found[what] = append(x.found[what], s.found[n:]...)
		if x.sample[what] == nil {
			x.sample[what] = append([]byte{}, b[:min(len(b), 8)]...)
		}
		return len(b), nil
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// packets carries datagrams and, for each sender, the answers.
func (x *taps) packets(what string, u *net.UDPConn, to string) {
	there := map[string]net.Conn{}
	b := make([]byte, 1<<16)
	for {
		n, from, err := u.ReadFromUDP(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		_, _ = x.reading(what, newScanner(x.marks)).Write(b[:n])
		c := there[from.String()]
		if c == nil {
			if c, err = net.Dial("udp", to); err != nil {
				continue
			}
			there[from.String()] = c
			x.owns(c)
			x.wg.Go(func() { x.answers(what, c, u, from) })
		}
		_, _ = c.Write(b[:n])
	}
}

func (x *taps) answers(what string, c net.Conn, u *net.UDPConn, to *net.UDPAddr) {
	b := make([]byte, 1<<16)
	for {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // nobody listens there for now
			continue
		}
		_, _ = x.reading(what, newScanner(x.marks)).Write(b[:n])
		_, _ = u.WriteToUDP(b[:n], to)
	}
}

// TestTapsFind: what passes in the clear is found, also in pieces, and arrives
// as it was.
func TestTapsFind(t *testing.T) {
	m := newMark("value")
	x := newTaps([]mark{m})
	defer x.close()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x.owns(echo)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialled := free.Addr().String()
	_ = free.Close()
	if err := x.front("echo", dialled, echo.Addr().String()); err != nil {
		t.Fatal(err)
	}
	x.wg.Go(func() {
		if c, err := echo.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	})
	c, err := net.Dial("tcp", dialled)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"before ", m.text[:5], m.text[5:], " after"} {
		if _, err := c.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	back, err := io.ReadAll(c)
	if want := fmt.Sprintf("before %s after", m.text); err != nil || string(back) != want {
		t.Errorf("%q, %v; want %q", back, err, want)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.found["echo"]) < 2 || x.passed["echo"] != 2*int64(len(back)) { // there and back
		t.Errorf("found %q of %d bytes", x.found["echo"], x.passed["echo"])
	}
}
