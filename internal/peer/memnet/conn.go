package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxBuffered is what one direction of a connection holds before Write blocks.
const maxBuffered = 256 << 10

type conn struct {
	n             *Net
	local, remote endpoint
	in, out       *pipe
	once          sync.Once
	closed        bool // by Close, but a cut keeps it among the network's; under n.mu
}

func (c *conn) Read(b []byte) (int, error) {
	k, err := c.in.read(b)
	return k, c.wrap("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	k, err := c.out.write(b)
	return k, c.wrap("write", err)
}

func (c *conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "mem", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = nil
		c.out.closeWriter()
		c.in.closeReader()
		c.n.mu.Lock()
		defer c.n.mu.Unlock()
		c.closed = true
		if !c.n.link(c.local.host, c.remote.host).cut { // else a heal still has to reach it
			delete(c.n.conns, c)
		}
	})
	return c.wrap("close", err)
}

// reset is the crash of this side's process; the network's lock is held.
func (c *conn) reset() {
	c.in.closeReader()
	c.out.reset()
	c.closed = true
	if !c.n.link(c.local.host, c.remote.host).cut {
		delete(c.n.conns, c)
	}
}

func (c *conn) LocalAddr() net.Addr  { return address(c.local.addr) }
func (c *conn) RemoteAddr() net.Addr { return address(c.remote.addr) }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

// pipe is one direction of a connection.
type pipe struct {
	n        *Net
	from, to string

	mu           sync.Mutex
	changed      sync.Cond
	pieces       []piece // in order; the last one may be the end
	size         int
	last         time.Time // arrival of the newest piece
	cut          bool
	writerClosed bool
	readerClosed bool
	crashed      bool // the writer's process; the reader learns of it once the link is not cut
	readBy       deadline
	writeBy      deadline
}

type piece struct {
	data []byte
	at   time.Time
	end  bool
}

type deadline struct {
	t     time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.t.IsZero() && !time.Now().Before(d.t) }

// newPipe is called under the network's lock.
func newPipe(n *Net, from, to string) *pipe {
	p := &pipe{n: n, from: from, to: to, cut: n.link(from, to).cut}
	p.changed.L = &p.mu
	return p
}

func (p *pipe) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

func (p *pipe) setDeadline(d *deadline, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.t = t; !t.IsZero() {
		d.timer = time.AfterFunc(max(time.Until(t), 0), p.wake)
	}
	p.changed.Broadcast()
}

func (p *pipe) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	p.changed.Broadcast()
}

func (p *pipe) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.crashed = true
	p.changed.Broadcast()
}

func (p *pipe) closeWriter() {
	at := p.arrival()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.writerClosed {
		p.writerClosed = true
		p.push(piece{at: at, end: true})
	}
}

func (p *pipe) closeReader() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readerClosed = true
	p.pieces, p.size = nil, 0
	p.changed.Broadcast()
}

// arrival asks the link's delay; not under p.mu, the network's lock is first.
func (p *pipe) arrival() time.Time { return time.Now().Add(p.n.delay(p.from, p.to)) }

func (p *pipe) push(x piece) {
	if x.at.Before(p.last) {
		x.at = p.last
	}
	p.last = x.at
	p.pieces = append(p.pieces, x)
	p.size += len(x.data)
	p.changed.Broadcast()
}

func (p *pipe) write(b []byte) (int, error) {
	done := 0
	for {
		at := p.arrival()
		k, err := p.writeSome(b[done:], at)
		done += k
		if err != nil || done == len(b) {
			return done, err
		}
	}
}

func (p *pipe) writeSome(b []byte, at time.Time) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.writerClosed:
			return 0, net.ErrClosed
		case p.crashed:
			return 0, ErrReset
		case p.readerClosed && !p.cut:
			return 0, syscall.EPIPE
		case p.writeBy.passed():
			return 0, os.ErrDeadlineExceeded
		}
		if room := maxBuffered - p.size; room > 0 {
			k := min(room, len(b))
			p.push(piece{data: append([]byte(nil), b[:k]...), at: at})
			return k, nil
		}
		p.changed.Wait()
	}
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.readerClosed:
			return 0, net.ErrClosed
		case p.crashed && !p.cut:
			p.pieces, p.size = nil, 0
			return 0, ErrReset
		case p.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		if len(p.pieces) > 0 && !p.cut {
			wait := time.Until(p.pieces[0].at)
			if wait <= 0 {
				return p.take(b)
			}
			t := time.AfterFunc(wait, p.wake)
			p.changed.Wait()
			t.Stop()
			continue
		}
		p.changed.Wait()
	}
}

// take copies from the arrived pieces; the first one has arrived.
func (p *pipe) take(b []byte) (int, error) {
	k := 0
	for len(p.pieces) > 0 && k < len(b) && time.Until(p.pieces[0].at) <= 0 {
		x := &p.pieces[0]
		if x.end {
			if k == 0 {
				return 0, io.EOF // stays: every later read sees it too
			}
			break
		}
		m := copy(b[k:], x.data)
		k += m
		if x.data = x.data[m:]; len(x.data) == 0 {
			p.pieces = p.pieces[1:]
		}
	}
	p.size -= k
	p.changed.Broadcast()
	return k, nil
}
