package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/dsvault/dsv"
)

func (p *Pool) acceptLoop() {
	for {
		raw, err := p.cfg.Listener.Accept()
		switch {
		case err == nil:
			p.admit(raw)
		case p.ctx.Err() != nil:
			return
		case errors.Is(err, net.ErrClosed):
			p.log.Error("peer: the listener was closed", "err", err)
			return
		default: // out of file descriptors and the like
			p.log.Error("peer: accept", "err", err)
			p.pause(backoffMin, nil)
		}
	}
}

// admit runs the handshake of a stranger beside others, if not too many
// strangers are at it.
func (p *Pool) admit(raw net.Conn) {
	select {
	case p.hands <- struct{}{}:
	default:
		_ = raw.Close()
		return
	}
	p.wg.Go(func() {
		m, err := p.receive(raw)
		<-p.hands
		if err != nil {
			_ = raw.Close()
			p.logRefusal(raw.RemoteAddr().String(), err)
			return
		}
		p.log.Info("peer: connected", "peer", m.remote.id, "addr", raw.RemoteAddr().String())
		err = m.run()
		if p.ctx.Err() == nil {
			p.log.Warn("peer: no connection", "peer", m.remote.id, "err", err)
		}
	})
}

// logRefusal says each reason at most once a minute for a host.
func (p *Pool) logRefusal(addr string, err error) {
	if p.ctx.Err() != nil {
		return
	}
	host, _, _ := net.SplitHostPort(addr)
	what := host + " " + err.Error()
	p.mu.Lock()
	again := p.refusal == what && time.Since(p.refused) < time.Minute
	if !again {
		p.refusal, p.refused = what, time.Now()
	}
	p.mu.Unlock()
	if !again {
		p.log.Warn("peer: connection refused", "addr", addr, "err", err)
	}
}

// receive proves both sides of an accepted connection and installs it.
func (p *Pool) receive(raw net.Conn) (*mux, error) {
	raw = eagerly(raw)
	ctx, cancel := context.WithTimeout(p.ctx, handshakeTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	nc, name := raw, dsv.NodeID("")
	if p.cfg.ServerTLS != nil {
		tc := tls.Server(raw, p.cfg.ServerTLS)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		cs := tc.ConnectionState()
		var err error
		if name, err = p.cfg.PeerName(&cs); err != nil {
			return nil, err
		}
		nc = tc
	}
	br := bufio.NewReaderSize(nc, readBuffer)
	h, err := readHello(br)
	if err != nil {
		return nil, err
	}
	r, err := p.judge(h, name)
	if err != nil {
		refuse(nc, err)
		return nil, err
	}
	answer := hello{nonce: p.nonce, dial: h.dial, node: p.cfg.Self}
	if _, err := nc.Write(answer.append(nil)); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	m := newMux(p, r, h, nc, raw, br)
	if err := r.install(m); err != nil {
		m.cancel()
		return nil, err
	}
	p.stats.connects.Add(1)
	return m, nil
}

// judge decides whether a hello may have a connection. name is the
// certificate's, "" without TLS.
func (p *Pool) judge(h hello, name dsv.NodeID) (*remote, error) {
	r := p.remote(h.node)
	switch {
	case p.cfg.ServerTLS != nil && name != h.node:
		return nil, dsv.E(dsv.KindDenied, dsv.CodeDenied, "the hello names another node than the certificate")
	case r == nil:
		return nil, dsv.E(dsv.KindDenied, dsv.CodeDenied, "the hello names no other member of this cluster")
	case h.node >= p.cfg.Self:
		return nil, dsv.E(dsv.KindDenied, dsv.CodeDenied, "the node with the smaller id dials")
	}
	return r, nil
}

// refuse tells a proven stranger why.
func refuse(nc net.Conn, err error) {
	b := encodeError(err)
	_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = nc.Write(append(appendHeader(nil, frameError, 0, len(b)), b...))
}
