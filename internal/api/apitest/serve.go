package apitest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dsvault/dsv/internal/api"
)

// Node is a served API.
type Node struct {
	URL    string
	CAFile string
	Roots  *x509.CertPool
	Server *api.Server
	Sealed atomic.Pointer[string] // the reason, nil = not sealed
}

// Serve serves v over TLS on the loopback until the test ends. change, where
// not nil, may change the configuration.
func Serve(t testing.TB, v api.Vault, change func(*api.Config)) *Node {
	t.Helper()
	n := &Node{Roots: x509.NewCertPool()}
	cfg := api.Config{
		State: func() (bool, string) {
			if reason := n.Sealed.Load(); reason != nil {
				return true, *reason
			}
			return false, ""
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if v != nil {
		s.SetVault(v)
	}
	n.Server = s
	// httptest has a ready certificate for the loopback.
	h := httptest.NewTLSServer(nil)
	cert := h.TLS.Certificates[0]
	n.Roots.AddCert(h.Certificate())
	n.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	h.Close()
	if err := os.WriteFile(n.CAFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.URL = "https://" + l.Addr().String()
	done := make(chan error, 1)
	go func() {
		done <- s.Serve(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n
}
