package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/setup"
)

// testNamesDoNotCollide: two different names never mean one secret, and a
// separator inside a name is refused.
func testNamesDoNotCollide(t *testing.T) {
	w := shared(t)
	names := [][2]string{{"o11", "a.b.c"}, {"o11/a", "b.c"}, {"o11/a/b", "c"}, {"o11.a", "b.c"}, {"o11.a.b", "c"}, {"o11-a", "b.c"}, {"o11_a", "b.c"}, {"O11/a", "b.c"}, {"o11/a", "b_c"}, {"o11/a", "B.C"}}
	for _, n := range names {
		if _, err := w.at[0].Create(t.Context(), pathOf(t, n[0], n[1]), secret(n[0]+" "+n[1]), nil); err != nil {
			t.Errorf("%v: %v", n, err)
		}
	}
	for i, cl := range w.at {
		for _, n := range names {
			f, err := cl.Get(t.Context(), pathOf(t, n[0], n[1]), nil)
			if err != nil || text(f) != n[0]+" "+n[1] || f.Version != 1 {
				t.Errorf("%s: %v is %q, version %d, %v", nodeNo(i), n, text(f), f.Version, err)
			}
		}
	}
	a := w.asker(t)
	for _, path := range []string{"/v1/ns/a:b/secrets/c", "/v1/ns/a/secrets/b:c", "/v1/ns/a%3Ab/secrets/c", "/v1/ns/a/secrets/b%3Ac",
		"/v1/ns/a/secrets/b%2Fc", "/v1/ns/a%00b/secrets/c", "/v1/ns/a%2F/secrets/c", "/v1/ns/a%2F%2Fb/secrets/c", "/v1/ns/%2Fa/secrets/c"} {
		if got := a.do(t, 0, "POST", path, `{"text":"x"}`); got.status != 400 || got.Code != dsv.CodeInvalid {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// testNothingIsOpen: without a token nothing is told but that the node lives;
// ports that are not the API let in nobody without a certificate of the right
// kind.
func testNothingIsOpen(t *testing.T) {
	w := shared(t)
	a := w.asker(t)
	if _, err := w.at[0].Put(t.Context(), pathOf(t, "original/12", "KEY"), secret("hidden"), nil); err != nil {
		t.Fatal(err)
	}
	const s = "/v1/ns/original%2F12/secrets"
	good := a.token
	for _, token := range []string{"", "x", "dsv.0123456789abcdef." + good[len(good)-43:], good[:len(good)-1] + flip(good[len(good)-1]), " " + good} {
		for _, r := range [][2]string{{"GET", s + "/KEY"}, {"HEAD", s + "/KEY"}, {"PUT", s + "/KEY"}, {"POST", s + "/NEW"}, {"DELETE", s + "/KEY"}, {"GET", s}, {"GET", s + "/KEY/versions"},
			{"GET", s + "/KEY/shards"}, {"POST", s + "/KEY/undelete"}, {"POST", s + "/KEY/destroy"}, {"POST", "/v1/ns/original%2F12/batch"}, {"GET", "/v1/cluster"},
			{"GET", "/v1/tokens"}, {"POST", "/v1/tokens"}, {"DELETE", "/v1/tokens/0123456789abcdef"}, {"GET", "/v1/operations/" + dsv.NewTxID(1, 1).String()}} {
			if got := a.with(token).do(t, 1, r[0], r[1], ""); got.status != 401 {
				t.Errorf("%s %s with the token %q: %d %s", r[0], r[1], token, got.status, got.body)
			}
		}
	}
	for _, path := range []string{"/internal/shares", "/v1/shares", "/v1/internal", "/shares/x", "/debug/pprof/", "/actuator", "/v1/ns/original%2F12/shares/KEY"} {
		if got := a.do(t, 0, "GET", path, ""); got.status != 404 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := a.do(t, 2, "GET", s+"/KEY?user=admin", ""); got.status != 400 {
		t.Errorf("a caller names itself: %d %s", got.status, got.body)
	}
	topo := w.Topology()
	for _, n := range topo.Nodes {
		w.strangersRefused(t, "the port between nodes of "+string(n.ID), port(n.Ports.Peer), true)
	}
	for _, k := range topo.Keepers {
		w.strangersRefused(t, "keeper "+string(k.ID), port(k.Port), false)
	}
	w.allAnswer(t, pathOf(t, "original/12", "KEY"), 1, "hidden")
}

func flip(c byte) string {
	if c == 'A' {
		return "Q"
	}
	return "A"
}

func port(p int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p)) }

// strangersRefused: a connection without a certificate, and one with a
// certificate of this CA but the wrong role, ends before a byte of answer.
func (w *world) strangersRefused(t *testing.T, what, addr string, peer bool) {
	t.Helper()
	roots := w.Roots()
	refused := func(who string, cfg *tls.Config) {
		t.Helper()
		cfg.InsecureSkipVerify = true // the stranger believes anything
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", addr, cfg)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(limit))
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		b := make([]byte, 1)
		if n, err := conn.Read(b); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s lets %s in: %q, %v", what, who, b[:n], err)
		}
	}
	refused("somebody without a certificate", &tls.Config{RootCAs: roots.RootCAs})
	wrong := w.Layout().Keeper(w.Topology().Keepers[0].ID) // a keeper is no node
	if !peer {
		wrong = w.Layout().Keeper(w.Topology().Keepers[1].ID) // nor may it ask another
	}
	f := setup.Identity(wrong)
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	refused("a keeper", &tls.Config{RootCAs: roots.RootCAs, Certificates: []tls.Certificate{cert}})
}

// testLogIsClosed: the log takes nobody without a certificate, and what stands
// in it and is not sealed with the cluster's key changes nothing.
func testLogIsClosed(t *testing.T) {
	w := shared(t)
	for _, addr := range w.Topology().Brokers {
		w.noStranger(t, addr)
	}
	p := pathOf(t, "original/13", "KEY")
	if _, err := w.at[0].Put(t.Context(), p, secret("v1"), nil); err != nil {
		t.Fatal(err)
	}
	void := func() uint64 {
		s, err := w.at[3].Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Log.Void
	}
	before := void()
	f := setup.Identity(w.Layout().Node(w.NodeID(0)))
	id, err := identity.Load(identity.Files{CA: f.CA, Cert: f.Cert, Key: f.Key})
	if err != nil {
		t.Fatal(err)
	}
	topo := w.Topology()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	status, err := w.at[0].Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l, err := commitlog.Open(ctx, commitlog.Config{Brokers: topo.Brokers, TLS: id.BrokerTLS(), Cluster: topo.Cluster, ClusterID: status.Cluster,
		Partitions: topo.Partitions, Key: dsv.SecretOf(make([]byte, 32)), Incarnation: dsv.NewIncarnation()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	sent := make(chan error, topo.Partitions)
	for i := range topo.Partitions {
		if err := l.Append(dsv.Partition(i), []byte("believe me"), func(_ int64, err error) { sent <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for range topo.Partitions {
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the foreign records are counted as void", func() error {
		if n := void(); n != before+uint64(topo.Partitions) {
			return fmt.Errorf("%d, before %d", n, before)
		}
		return nil
	})
	w.allAnswer(t, p, 1, "v1")
	if got, err := w.at[1].Update(t.Context(), p, secret("v2"), nil); err != nil || got.Version != 2 {
		t.Errorf("a write behind foreign records: %d, %v", got.Version, err)
	}
	w.allAnswer(t, p, 2, "v2")
}

func (w *world) noStranger(t *testing.T, addr string) {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: limit}, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit))
	// ApiVersions, version 0, correlation 1, no client id
	_, _ = conn.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff})
	b := make([]byte, 1)
	if n, err := conn.Read(b); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the broker %s answers somebody without a certificate: %v", addr, err)
	}
}
