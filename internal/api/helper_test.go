package api_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/api/apitest"
)

// reply is an answer read whole.
type reply struct {
	*http.Response
	body string
}

// call sends a request; the body is JSON unless a header says otherwise, as
// "Name: value" lines.
func call(t testing.TB, n *apitest.Node, method, path, token, body string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequest(method, n.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Get(name) != "" && name != "Content-Type" {
			r.Header.Add(name, value)
		} else {
			r.Header.Set(name, value)
		}
	}
	return do(t, n, r)
}

func do(t testing.TB, n *apitest.Node, r *http.Request) reply {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: n.Roots}}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp, string(b)}
}

func mustStatus(t testing.TB, r reply, status int) {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", r.Request.Method, r.Request.URL, r.StatusCode, status, r.body)
	}
}

func mustProblem(t testing.TB, r reply, status int, code dsv.Code) client.Problem {
	t.Helper()
	mustStatus(t, r, status)
	var p client.Problem
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	if p.Code != code || p.Status != status || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %s (%s), want %d %s: %s", p.Status, p.Code, r.Header.Get("Content-Type"), status, code, r.body)
	}
	if p.RequestID == "" || p.RequestID != r.Header.Get("X-Request-Id") || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("request id %q, headers %v", p.RequestID, r.Header)
	}
	return p
}

func newClient(t testing.TB, token string, nodes ...*apitest.Node) *client.Client {
	t.Helper()
	cfg := client.Config{Token: dsv.SecretOf([]byte(token)), RootCAs: nodes[0].Roots}
	for _, n := range nodes {
		cfg.Endpoints = append(cfg.Endpoints, n.URL)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func mustPath(t testing.TB, ns, key string) dsv.Path {
	t.Helper()
	p, err := dsv.ParsePath(ns, key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
