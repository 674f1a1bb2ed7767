package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
)

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Whoever comes with the wrong papers gets no connection, whichever side it is
// on, and the log says why.
func TestWrongCertificate(t *testing.T) {
	for _, c := range []struct {
		name   string
		role   identity.Role
		id     string // in the impostor's certificate
		other  bool   // of another CA
		reason string
	}{
		{"another node's", identity.RoleNode, "n7", false, "another"},
		{"a keeper's", identity.RoleKeeper, "", false, ""},
		{"another CA's", identity.RoleNode, "", true, "not of our CA"},
	} {
		for _, impostor := range pair {
			t.Run(c.name+" "+string(impostor), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ca := newCA(t)
					cl := newCluster(t, ca, pair...)
					var log lines
					cl.tune = func(cfg *PoolConfig) {
						if cfg.Self != impostor {
							cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
							return
						}
						if c.other {
							ca = newCA(t)
						}
						name := c.id
						if name == "" {
							name = string(impostor)
						}
						useTLS(t, cfg, ca, c.role, name)
						strict := cfg.ClientTLS
						cfg.ClientTLS = func(n dsv.NodeID) *tls.Config {
							c := strict(n)
							c.VerifyConnection = nil
							return c
						}
						cfg.PeerName = func(*tls.ConnectionState) (dsv.NodeID, error) { return other(impostor), nil } // it would not mind
					}
					cl.start(pair...)
					time.Sleep(10 * time.Second)
					for _, id := range pair {
						if cl.pool(id).Connected(other(id)) {
							t.Errorf("%s is connected", id)
						}
					}
					if s := log.String(); !strings.Contains(s, c.reason) || s == "" {
						t.Errorf("log: %s", s)
					}
					cl.close()
				})
			})
		}
	}
}

func other(id dsv.NodeID) dsv.NodeID {
	if id == "n1" {
		return "n2"
	}
	return "n1"
}

// A hello that is not of the certificate's node, of a stranger, of a larger
// node or of no protocol at all is refused with the reason.
func TestHelloRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, "n1", "n2", "n3")
		c.start("n2")
		for node, reason := range map[dsv.NodeID]string{"n9": "no other member", "n2": "no other member", "n3": "smaller id"} {
			s := c.stranger(1, 1, node)
			h, b, err := s.next()
			if err != nil || h.typ != frameError || !strings.Contains(decodeError(b).Error(), reason) {
				t.Errorf("%s: %v %q %v", node, h, b, err)
			}
			if _, _, err := s.next(); err == nil {
				t.Errorf("%s: the connection stays open", node)
			}
		}
		for name, junk := range map[string]string{
			"http": "GET / HTTP/1.1\r\nHost: n2\r\n\r\n", "long": "\x7f\xff\xff\xff" + strings.Repeat("x", 100),
			"a request first": string(appendRequest(nil, 1, kindEcho, 0, nil)),
		} {
			nc, err := c.net.Dial(t.Context(), "n1", "n2:1")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = nc.Write([]byte(junk))
			if n, err := nc.Read(make([]byte, 1)); err == nil {
				t.Errorf("%s: %d bytes back", name, n)
			}
		}
		c.close()
	})
	t.Run("not the certificate's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, newCA(t), "n1", "n2", "n3")
			c.start("n3")
			cfg := c.config("n2") // proven as n2, says n1
			cfg.Self = "n1"
			p := NewPool(cfg)
			p.Start(context.Background())
			time.Sleep(10 * time.Second)
			if p.Connected("n3") || c.pool("n3").Connected("n1") || c.pool("n3").Connected("n2") {
				t.Error("connected")
			}
			p.Close()
			c.close()
		})
	})
}

// Silent strangers neither keep members out nor stay.
func TestSilentStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, newCA(t), pair...)
		c.start("n2")
		var conns []net.Conn
		for range 2 * maxHandshakes {
			nc, err := c.net.Dial(t.Context(), "evil", "n2:1")
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, nc)
		}
		c.start("n1")
		c.settle(2 * handshakeTime)
		for _, nc := range conns {
			if _, err := nc.Read(make([]byte, 1)); err == nil {
				t.Error("a stranger was spoken to")
			}
		}
		c.close()
	})
}

// Of two connections of one dialer the later dialled wins, whatever comes
// first; one of another process replaces it; in between there is always one.
func TestDuplicateConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, pair...)
		c.start("n2")
		p := c.pool("n2")
		usable := func(s *stranger) {
			t.Helper()
			got := make(chan string, 1)
			p.Go("n1", kindEcho, []byte("x"), func(b []byte, err error) { got <- string(b) })
			h, _, err := s.next()
			if err != nil || h.typ != frameRequest {
				t.Fatalf("%v %v", h, err)
			}
			s.send(append(appendHeader(nil, frameResponse, h.id, 2), "ok"...))
			if g := <-got; g != "ok" {
				t.Fatalf("got %q", g)
			}
		}
		second := c.stranger(1, 2, "n1")
		second.admitted()
		synctest.Wait()
		usable(second)

		first := c.stranger(1, 1, "n1") // dialled before, came late
		_, _, _ = first.next()
		if _, _, err := first.next(); err == nil {
			t.Error("the older dial was let in")
		}
		usable(second)

		lost := make(chan error, 1)
		p.Go("n1", kindEcho, nil, func(_ []byte, err error) { lost <- err })
		third := c.stranger(1, 3, "n1")
		third.admitted()
		synctest.Wait()
		if !p.Connected("n1") {
			t.Error("no connection after a replacement")
		}
		if err := <-lost; !errors.Is(err, ErrConnLost) || !errors.Is(err, errReplaced) {
			t.Errorf("call on the replaced connection: %v", err)
		}
		usable(third)

		restarted := c.stranger(9, 1, "n1") // a new process counts from 1
		restarted.admitted()
		synctest.Wait()
		usable(restarted)
		for {
			if _, _, err := third.next(); err != nil {
				break
			}
		}
		_ = restarted.Close()
		synctest.Wait()
		if p.Connected("n1") {
			t.Error("connected to a closed connection")
		}
		c.close()
	})
}

// Answers that nobody asked for, twice given or of a wrong kind change nothing.
func TestForgedAndRepeatedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, pair...)
		c.start("n2")
		p := c.pool("n2")
		s := c.stranger(1, 1, "n1")
		s.admitted()
		synctest.Wait()
		var got []string
		done := func(b []byte, err error) { got = append(got, string(b)) }
		p.Go("n1", kindEcho, nil, done)
		first, _, _ := s.next()
		p.Go("n1", kindEcho, nil, done)
		second, _, _ := s.next()
		answer := func(id uint64, s string) []byte {
			return append(appendHeader(nil, frameResponse, id, len(s)), s...)
		}
		s.send(answer(77, "forged"))
		s.send(answer(0, "forged"))
		s.send(answer(second.id, "two"))
		s.send(answer(second.id, "two again"))
		s.send(answer(first.id, "one"))
		s.send(appendHeader(nil, framePong, 12345, 0))
		synctest.Wait()
		if strings.Join(got, ",") != "two,one" {
			t.Errorf("answers %q", got)
		}
		if n := p.Stats().Late; n != 3 {
			t.Errorf("%d dropped", n)
		}
		s.send(hello{node: "n1"}.append(nil)) // a second hello ends it
		for {
			if _, _, err := s.next(); err != nil {
				break
			}
		}
		synctest.Wait()
		if p.Connected("n1") {
			t.Error("still connected")
		}
		c.close()
	})
}

// A peer that asks and never reads is cut off before its answers fill memory.
func TestFloodIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil, pair...)
		c.tune = func(cfg *PoolConfig) { cfg.MaxFrame, cfg.MaxInFlight = 100_000, 8 }
		c.start("n2")
		s := c.stranger(1, 1, "n1")
		s.admitted()
		big := make([]byte, 90_000)
		var err error
		for i := uint64(1); err == nil && i < 100_000; i++ {
			_, err = s.Write(appendRequest(nil, i, kindEcho, 0, big[:min(i*1000, 90_000)]))
		}
		if err == nil {
			t.Error("100,000 requests were taken, no answer read")
		}
		c.close()
	})
}
