package commitlog_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/dsvault/dsv/internal/commitlog"
)

// Bytes that are no Kafka request cost the sender its connection, and the
// broker nothing.
func TestHostileBytes(t *testing.T) {
	w := newWorld(t)
	if w.broker == nil {
		t.Skip("about the embedded broker")
	}
	a := w.start()
	for name, text := range map[string]string{
		"http":       "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"tls":        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00",
		"huge":       "\x7f\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01",
		"negative":   "\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x01",
		"empty":      "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"unknown":    "\x00\x00\x00\x0a\x7f\xff\x00\x00\x00\x00\x00\x01\xff\xff",
		"cut":        "\x00\x00\x00\x0a\x00\x03\x00\x00\x00\x00\x00\x01\xff\xff",
		"no version": "\x00\x00\x00\x0a\x00\x03\x7f\xff\x00\x00\x00\x01\xff\xff",
	} {
		conn, err := net.Dial("tcp", w.cfg.Brokers[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, net.ErrClosed) || isTimeout(err) {
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.Close()
	}
	a.append(0, "still here")
	a.waitCount(0, 1)
}

// Clients use the address that the broker tells them, not the one it listens on.
func TestAdvertise(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	w := embedded(t, commitlog.BrokerConfig{Memory: true, Listener: ln, Advertise: "broker.invalid:" + port})
	dialed := make(chan string, 100)
	w.cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed <- addr
		return new(net.Dialer).DialContext(ctx, network, ln.Addr().String())
	}
	w.cfg.Brokers = []string{"seed.invalid:1"}
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	a := w.start()
	a.append(0, "x")
	if bs := a.Stats().Brokers; len(bs) != 1 || bs[0].Addr != "broker.invalid:"+port {
		t.Errorf("brokers %+v", bs)
	}
	for len(dialed) > 0 {
		if addr := <-dialed; addr != "seed.invalid:1" && addr != "broker.invalid:"+port {
			t.Errorf("dialed %s", addr)
		}
	}
	if _, err := commitlog.StartBroker(commitlog.BrokerConfig{}); err == nil {
		t.Error("started without a place for its data")
	}
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// certificates makes a CA and one certificate of it for loopback, both sides.
func certificates(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
}

// With TLS both sides show certificates; a stranger or plain text gets nowhere.
func TestTLS(t *testing.T) {
	t.Parallel()
	tc := certificates(t)
	w := embedded(t, commitlog.BrokerConfig{Memory: true, TLS: tc})
	w.cfg.TLS = tc
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	a := w.start()
	a.append(0, "x")
	a.waitCount(0, 1)
	for name, other := range map[string]*tls.Config{"plain": nil, "a stranger": certificates(t), "no certificate": {RootCAs: tc.RootCAs}} {
		cfg := w.cfg
		cfg.TLS = other
		short, cancel := contextFor(t, 300*time.Millisecond)
		if _, err := commitlog.Open(short, cfg); !errors.Is(err, commitlog.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	a.append(0, "y")
}
