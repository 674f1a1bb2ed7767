package integration

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// roundRobin is an HTTPS reverse proxy in front of some nodes.
func (w *world) roundRobin(t *testing.T, nodes ...int) *client.Client {
	t.Helper()
	var targets []*url.URL
	for _, i := range nodes {
		u, err := url.Parse(w.Endpoint(i))
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, u)
	}
	transport := &http.Transport{TLSClientConfig: w.Roots(), MaxIdleConnsPerHost: 16}
	var next atomic.Uint64
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(targets[next.Add(1)%uint64(len(targets))])
	}}
	srv := httptest.NewTLSServer(proxy)
	t.Cleanup(func() {
		srv.Close()
		transport.CloseIdleConnections()
	})
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	token, err := w.Token()
	if err != nil {
		t.Fatal(err)
	}
	cl, err := client.New(client.Config{Endpoints: []string{srv.URL}, Token: token, RootCAs: pool, Timeout: limit, AttemptTimeout: limit, NoAutoKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestTwoNodesUpdateOneKeyThroughARoundRobinProxy: two clients update one key
// at the same moment, each over another node. Never may both be told the same
// version, one of the values be missing, or two nodes tell different things.
func TestTwoNodesUpdateOneKeyThroughARoundRobinProxy(t *testing.T) {
	w := shared(t)
	cl := w.roundRobin(t, 0, 3)
	p := pathOf(t, "proxy", "KEY")
	if _, err := cl.Create(t.Context(), p, secret("first"), nil); err != nil {
		t.Fatal(err)
	}
	const rounds = 40
	want := map[uint64]string{1: "first"}
	for round := range uint64(rounds) {
		var told [2]client.Written
		var wg sync.WaitGroup
		for c := range told {
			wg.Go(func() {
				var err error
				if told[c], err = cl.Update(t.Context(), p, secret(fmt.Sprintf("round-%d-client-%d", round, c)), nil); err != nil {
					t.Errorf("round %d, client %d: %v", round, c, err)
				}
			})
		}
		wg.Wait()
		low, high := 2*round+2, 2*round+3
		if a, b := told[0].Version, told[1].Version; min(a, b) != low || max(a, b) != high {
			t.Fatalf("round %d: the two clients were told versions %d and %d, not %d and %d", round, a, b, low, high)
		}
		for c := range told {
			want[told[c].Version] = fmt.Sprintf("round-%d-client-%d", round, c)
		}
		w.allAnswer(t, p, high, want[high])
	}
	got := w.values(t, p)
	if len(got) != len(want) {
		t.Errorf("%d versions are there, %d were told", len(got), len(want))
	}
	for v, value := range want {
		if got[v] != value {
			t.Errorf("version %d is %q, told as %q", v, got[v], value)
		}
	}
}

// allAnswer reads the newest version on every node at once.
func (w *world) allAnswer(t *testing.T, p dsv.Path, version uint64, value string) {
	t.Helper()
	var wg sync.WaitGroup
	for i, cl := range w.at {
		wg.Go(func() {
			f, err := cl.Get(t.Context(), p, nil)
			if err != nil || f.Version != version || text(f) != value {
				t.Errorf("%s answers version %d, %q (%v), not version %d, %q", nodeNo(i), f.Version, text(f), err, version, value)
			}
		})
	}
	wg.Wait()
}
