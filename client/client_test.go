package client_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// fake is a node that answers as the test wants and remembers what it got.
type fake struct {
	*httptest.Server
	mu     sync.Mutex
	keys   []string // Idempotency-Key of each request, in order
	bodies []string
}

func (f *fake) seen() ([]string, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys, f.bodies
}

func serve(t *testing.T, answer http.HandlerFunc) *fake {
	t.Helper()
	f := &fake{}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.keys = append(f.keys, r.Header.Get("Idempotency-Key"))
		f.bodies = append(f.bodies, string(b))
		f.mu.Unlock()
		answer(w, r)
	}))
	f.Config.ErrorLog = nil
	f.StartTLS()
	t.Cleanup(f.Close)
	return f
}

func good(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("DSV-Position", "2:9")
	fmt.Fprint(w, `{"namespace":"a","key":"K","version":4,"value":"aGk=","valid_from":"2026-01-31T00:00:00.000001Z","state":"current","token":"dsv.x.y","id":"i"}`)
}

func problem(status int, code dsv.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", client.ProblemType)
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"code":%q,"detail":"x","operation":"op","retry_after":0.5}`, status, code)
	}
}

func proxy(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", status) }
}

// broken takes the request and answers nothing.
func broken(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// partial breaks off inside the answer.
func partial(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "1000")
	good(w, r)
}

func newClient(t *testing.T, change func(*client.Config), nodes ...*fake) *client.Client {
	t.Helper()
	roots := x509.NewCertPool()
	cfg := client.Config{Token: dsv.SecretOf([]byte("dsv.id.secret")), RootCAs: roots}
	for _, n := range nodes {
		roots.AddCert(n.Certificate())
		cfg.Endpoints = append(cfg.Endpoints, n.URL)
	}
	if change != nil {
		change(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var path = func() dsv.Path {
	p, err := dsv.ParsePath("a", "K")
	if err != nil {
		panic(err)
	}
	return p
}()

var calls = map[string]func(c *client.Client) error{
	"read": func(c *client.Client) error { _, err := c.Get(context.Background(), path, nil); return err },
	"write": func(c *client.Client) error {
		_, err := c.Update(context.Background(), path, dsv.SecretOf([]byte("v")), nil)
		return err
	},
	"token": func(c *client.Client) error {
		_, err := c.CreateToken(context.Background(), client.TokenRequest{Name: "n"})
		return err
	},
}

// TestFailover: which answers of the first node send a call to the second.
func TestFailover(t *testing.T) {
	const autoKeys, noKeys = false, true
	for _, tt := range []struct {
		name   string
		first  http.HandlerFunc
		call   string
		noKeys bool
		next   bool
		kind   dsv.Kind
		code   dsv.Code
	}{
		{"503 problem, read", problem(503, dsv.CodeSealed), "read", autoKeys, true, 0, ""},
		{"503 problem, write", problem(503, dsv.CodeLogUnavailable), "write", autoKeys, true, 0, ""},
		{"503 problem, write without a key", problem(503, dsv.CodeLogUnavailable), "write", noKeys, true, 0, ""},
		{"503 problem, token", problem(503, dsv.CodeNotReady), "token", autoKeys, true, 0, ""},
		{"429 problem, write", problem(429, dsv.CodeTooMany), "write", noKeys, true, 0, ""},
		{"503 of a proxy, read", proxy(503), "read", autoKeys, true, 0, ""},
		{"503 of a proxy, write", proxy(503), "write", autoKeys, true, 0, ""},
		{"503 of a proxy, write without a key", proxy(503), "write", noKeys, false, dsv.KindUnavailable, dsv.CodeNotReady},
		{"504, read", problem(504, dsv.CodeOutcomeUnknown), "read", autoKeys, false, dsv.KindUnknownOutcome, dsv.CodeOutcomeUnknown},
		{"504, write", problem(504, dsv.CodeOutcomeUnknown), "write", autoKeys, false, dsv.KindUnknownOutcome, dsv.CodeOutcomeUnknown},
		{"broken, read", broken, "read", autoKeys, true, 0, ""},
		{"broken, write", broken, "write", autoKeys, true, 0, ""},
		{"broken, write without a key", broken, "write", noKeys, false, dsv.KindUnknownOutcome, client.CodeUnreachable},
		{"broken, token", broken, "token", autoKeys, false, dsv.KindUnknownOutcome, client.CodeUnreachable},
		{"broken inside the answer, read", partial, "read", autoKeys, true, 0, ""},
		{"broken inside the answer, write without a key", partial, "write", noKeys, false, dsv.KindUnknownOutcome, client.CodeUnreachable},
		{"404", problem(404, dsv.CodeNotFound), "read", autoKeys, false, dsv.KindNotFound, dsv.CodeNotFound},
		{"409", problem(409, dsv.CodeExists), "write", autoKeys, false, dsv.KindConflict, dsv.CodeExists},
		{"401", problem(401, dsv.CodeUnauthenticated), "read", autoKeys, false, dsv.KindUnauthenticated, dsv.CodeUnauthenticated},
		{"500", problem(500, dsv.CodeInternal), "read", autoKeys, false, dsv.KindInternal, dsv.CodeInternal},
		{"502 of a proxy", proxy(502), "read", autoKeys, false, dsv.KindInternal, dsv.CodeInternal},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hi") }, "read", autoKeys, false, dsv.KindInternal, dsv.CodeInternal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := serve(t, tt.first), serve(t, good)
			c := newClient(t, func(cfg *client.Config) { cfg.NoAutoKeys = tt.noKeys }, a, b)
			err := calls[tt.call](c)
			if tt.next != (err == nil) {
				t.Fatalf("%v", err)
			}
			keysA, bodiesA := a.seen()
			keysB, bodiesB := b.seen()
			if len(keysA) != 1 || (len(keysB) == 1) != tt.next {
				t.Fatalf("%d and %d requests", len(keysA), len(keysB))
			}
			if tt.next && (keysA[0] != keysB[0] || bodiesA[0] != bodiesB[0]) {
				t.Errorf("the second try differs: %q %q, %q %q", keysA, keysB, bodiesA, bodiesB)
			}
			if keyed := tt.call == "write" && !tt.noKeys; keyed != (keysA[0] != "") {
				t.Errorf("key %q", keysA[0])
			}
			if e := dsv.AsError(err); err != nil && (e.Kind != tt.kind || e.Code != tt.code) {
				t.Errorf("%v: kind %d code %s", err, e.Kind, e.Code)
			}
			if err := calls[tt.call](c); tt.next && err != nil {
				t.Error(err)
			}
			if keysA, _ := a.seen(); tt.next && len(keysA) != 1 {
				t.Error("it did not stay with the node that answered")
			}
		})
	}
}

// TestNothingWasSent: a node that cannot be reached is passed over by every
// call, and one that answered says more than one that did not.
func TestNothingWasSent(t *testing.T) {
	down := serve(t, good)
	down.Close()
	for name, call := range calls {
		up := serve(t, good)
		c := newClient(t, func(cfg *client.Config) { cfg.NoAutoKeys = true }, down, up)
		if err := call(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c = newClient(t, nil, down)
		err := call(c)
		if e := dsv.AsError(err); e == nil || e.Kind != dsv.KindUnavailable || e.Code != client.CodeUnreachable || !strings.Contains(err.Error(), down.URL) {
			t.Errorf("%s: %v", name, err)
		}
		c = newClient(t, nil, serve(t, problem(503, dsv.CodeSealed)), down)
		if err := call(c); dsv.CodeOf(err) != dsv.CodeSealed {
			t.Errorf("%s: %v", name, err)
		}
	}
	stranger := serve(t, good)
	c := newClient(t, func(cfg *client.Config) { cfg.RootCAs = x509.NewCertPool() }, stranger)
	if err := calls["token"](c); dsv.KindOf(err) != dsv.KindUnavailable {
		t.Errorf("wrong certificate: %v", err)
	}
	if keys, _ := stranger.seen(); len(keys) != 0 {
		t.Error("a node with a wrong certificate got a request")
	}
}

func TestHungNodeIsLeft(t *testing.T) {
	leave := make(chan struct{})
	hung := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-leave })
	defer close(leave)
	up := serve(t, good)
	c := newClient(t, func(cfg *client.Config) { cfg.AttemptTimeout = 200 * time.Millisecond }, hung, up)
	if err := calls["write"](c); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Get(ctx, path, nil); err == nil {
		t.Error("a call whose context has ended succeeded")
	}
}

func TestErrorsCarryTheWholeProblem(t *testing.T) {
	f := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", client.ProblemType)
		w.Header().Set("X-Request-Id", "r7")
		w.WriteHeader(503)
		fmt.Fprint(w, `{"code":"not_enough_shards","detail":"2 of 3","request_id":"r7","have":2,"need":3,"silent":["n1"],"retry_after":0.25,"index":4,"field":"f","phase":"writing","operation":"op","faults":[{"line":3,"name":"A","code":"exists","detail":"d"}]}`)
	})
	_, err := newClient(t, nil, f).Get(context.Background(), path, nil)
	e := dsv.AsError(err)
	if e.Have != 2 || e.Need != 3 || len(e.Silent) != 1 || e.RetryAfter != 250*time.Millisecond || e.Index != 4 || e.Field != "f" || e.Phase != "writing" || e.Operation != "op" || e.Faults[0].Line != 3 {
		t.Errorf("%+v", e)
	}
	if e.Op != "get" || e.Path != "a:K" || !strings.Contains(err.Error(), "request r7") {
		t.Errorf("%v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other := serve(t, good)
	f := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	if err := calls["read"](newClient(t, nil, f)); err == nil {
		t.Error("no error")
	}
	if keys, _ := other.seen(); len(keys) != 0 {
		t.Error("the redirect was followed")
	}
}

func TestTheTokenNeverShows(t *testing.T) {
	f := serve(t, problem(401, dsv.CodeUnauthenticated))
	c := newClient(t, func(cfg *client.Config) { cfg.Token = dsv.SecretOf([]byte("dsv.id.topsecret")) }, f)
	for _, call := range calls {
		if err := call(c); err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "topsecret") {
			t.Errorf("%v", err)
		}
	}
}

func TestNewListsEveryFault(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := client.New(client.Config{
		Endpoints: []string{"http://h:1", "https://u@h:1", "https://h:1/path", "", "h:1"}, Token: dsv.SecretOf([]byte("a\nb")), CAFile: empty, Timeout: -1,
	})
	if e := dsv.AsError(err); e == nil || e.Kind != dsv.KindInvalid || len(e.Faults) != 7 {
		t.Errorf("%v", err)
	}
	if _, err := client.New(client.Config{}); dsv.AsError(err).Field != "endpoints" {
		t.Errorf("%v", err)
	}
	if _, err := client.New(client.Config{Endpoints: []string{"h:1"}, CAFile: filepath.Join(t.TempDir(), "absent")}); dsv.AsError(err).Field != "ca" {
		t.Errorf("%v", err)
	}
	for _, twice := range []client.Config{{CAFile: empty, CAPEM: []byte("x")}, {CAPEM: []byte("x"), RootCAs: x509.NewCertPool()}, {CAPEM: []byte("x")}} {
		twice.Endpoints = []string{"h:1"}
		if _, err := client.New(twice); dsv.AsError(err).Field != "ca" {
			t.Errorf("%v", err)
		}
	}
}

// TestWipingAfterACall: the value is the caller's again as soon as the call
// has returned, also where the node did not read it (run with -race).
func TestWipingAfterACall(t *testing.T) {
	f := serve(t, good)
	f.Config.Handler = problem(503, dsv.CodeSealed)
	c := newClient(t, nil, f)
	for range 20 {
		v := dsv.SecretOf(make([]byte, 1<<20))
		_, _ = c.Create(context.Background(), path, v, nil)
		v.Wipe()
	}
}

func TestTimeOnTheWire(t *testing.T) {
	for in, want := range map[string]string{`null`: `null`, `"2026-01-31T01:00:00+01:00"`: `"2026-01-31T00:00:00.000000Z"`, `"2026-01-31T00:00:00.1234567Z"`: `"2026-01-31T00:00:00.123456Z"`} {
		var v client.Time
		if err := v.UnmarshalJSON([]byte(in)); err != nil {
			t.Fatal(err)
		}
		if got, _ := v.MarshalJSON(); string(got) != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	var v client.Time
	if err := v.UnmarshalJSON([]byte(`"soon"`)); err == nil {
		t.Error("taken: soon")
	}
}
