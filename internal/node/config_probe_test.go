package node

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv/internal/identity"
)

func TestProbe(t *testing.T) {
	ca, err := identity.NewCA("prod", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files := issue(t, ca, t.TempDir(), identity.RoleNode, "n1")
	who, err := identity.Load(identity.Files(files))
	if err != nil {
		t.Fatal(err)
	}
	ready := http.StatusServiceUnavailable
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(ready)
		_, _ = w.Write([]byte("[-]sealed"))
	}))
	s.TLS = who.HTTPServerTLS(false)
	s.StartTLS()
	defer s.Close()
	c := DefaultConfig()
	c.APIIdentity = files
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c.API.Listen, c.API.Advertise = ":"+port, "127.0.0.1:8400"

	if err := c.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("a sealed node: %v", err)
	}
	ready = http.StatusOK
	if err := c.Probe(t.Context()); err != nil {
		t.Errorf("a ready node: %v", err)
	}
	c.API.Advertise = "vault9.example.com:8400"
	if err := c.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of another host: %v", err)
	}
	s.Close()
	if err := c.Probe(t.Context()); err == nil {
		t.Error("nobody listens, and the probe says ready")
	}
}

func TestKeeperProbe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := DefaultKeeperConfig()
	k.Listen = ln.Addr().String()
	if err := k.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	_ = ln.Close()
	if err := k.Probe(t.Context()); err == nil {
		t.Error("nobody listens, and the probe says ready")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Probe(gone); err == nil {
		t.Error("the context had ended")
	}
}
