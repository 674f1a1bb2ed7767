package peer

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// maxSpare is the largest write buffer kept for the next batch.
const maxSpare = 1 << 20

// writeLoop sends everything that is queued in one Write, again and again,
// whenever it is left to it: what is queued during one Write makes the next
// batch, so the batches grow with the load and a lone frame never waits.
func (m *mux) writeLoop() {
	for {
		select {
		case <-m.wake:
			runtime.Gosched() // let others who are about to send join in
		case <-m.done:
			return
		}
		if err := m.drain(); err != nil {
			m.fail(err)
			return
		}
	}
}

// drain writes until nothing is queued.
func (m *mux) drain() error {
	if m.eager != nil {
		if err := m.eager.finish(); err != nil {
			return err
		}
	}
	for {
		m.mu.Lock()
		if m.err != nil || len(m.out) == 0 {
			m.writing = false
			m.mu.Unlock()
			return nil
		}
		buf := m.takeOut()
		m.mu.Unlock()
		err := m.write(buf)
		m.written(buf)
		if err != nil {
			return err
		}
	}
}

func (m *mux) write(buf []byte) error {
	for len(buf) > 0 {
		k := min(len(buf), chunkSize)
		if _, err := m.nc.Write(buf[:k]); err != nil {
			return err
		}
		if buf = buf[k:]; len(buf) > 0 {
			m.progress.Store(m.age())
		}
	}
	return nil
}

// keepalive measures the round trip each second and ends a connection whose
// peer does not answer.
func (m *mux) keepalive() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		if m.pongID.Load() == m.pingID.Load() {
			m.pingAt.Store(m.age())
			m.control(framePing, m.pingID.Add(1), nil)
		} else if m.age()-max(m.pingAt.Load(), m.progress.Load()) >= int64(hungAfter) {
			m.fail(errHung)
		}
		select {
		case <-t.C:
		case <-m.done:
			return
		}
	}
}

func (m *mux) pong(id uint64) {
	if id != m.pingID.Load() || id == m.pongID.Load() {
		return // not the one that is out
	}
	d := max(m.age()-m.pingAt.Load(), 1)
	if old := m.rtt.Load(); old != 0 {
		d = (3*old + d) / 4
	}
	m.rtt.Store(d)
	m.pongID.Store(id)
}

// readLoop takes frames until the connection or the peer's manners end.
func (m *mux) readLoop() error {
	var scratch [lengthSize + frameOverhead]byte
	for {
		h, err := readHeader(m.r, &scratch, m.pool.cfg.MaxFrame)
		if err == nil {
			err = m.read(h)
		}
		if err != nil {
			return err
		}
	}
}

func (m *mux) read(h header) error {
	switch h.typ {
	case frameRequest:
		return m.readRequest(h)
	case frameResponse, frameError:
		return m.readAnswer(h)
	case framePing:
		m.control(framePong, h.id, nil)
	case framePong:
		m.pong(h.id)
	default:
		return fmt.Errorf("%w: a second hello", errFrame)
	}
	return nil
}

func (m *mux) readRequest(h header) error {
	if m.handling.Add(1) > int32(m.pool.cfg.MaxInFlight) {
		m.handling.Add(-1)
		m.pool.stats.tooMany.Add(1)
		if _, err := m.r.Discard(h.size); err != nil {
			return err
		}
		m.control(frameError, h.id, m.pool.tooMany)
		return nil
	}
	buf := m.pool.bufs.get(h.size)
	if err := m.readFull(*buf); err != nil {
		m.handling.Add(-1)
		return err
	}
	m.pool.dispatch(job{m: m, id: h.id, buf: buf})
	return nil
}

// readAnswer hands an answer to whoever still waits for it, in a buffer of its
// own.
func (m *mux) readAnswer(h header) error {
	if !m.waiting(h.id) {
		m.pool.stats.late.Add(1)
		_, err := m.r.Discard(h.size)
		return err
	}
	b := make([]byte, h.size)
	if err := m.readFull(b); err != nil {
		return err
	}
	done := m.take(h.id)
	switch {
	case done == nil:
		m.pool.stats.late.Add(1)
	case h.typ == frameError:
		done(nil, decodeError(b))
	default:
		done(b, nil)
	}
	return nil
}

func (m *mux) readFull(b []byte) error {
	for len(b) > 0 {
		k := min(len(b), chunkSize)
		if _, err := io.ReadFull(m.r, b[:k]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if b = b[k:]; len(b) > 0 {
			m.progress.Store(m.age())
		}
	}
	return nil
}
