package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// answer is what came back of a raw request.
type answer struct {
	status int
	header http.Header
	body   string
	client.Problem
}

// asker sends requests as they are.
type asker struct {
	w     *world
	h     *http.Client
	token string
}

func (w *world) asker(t *testing.T) *asker {
	t.Helper()
	token, err := w.Token()
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: w.Roots()}
	t.Cleanup(tr.CloseIdleConnections)
	return &asker{w: w, h: &http.Client{Transport: tr, Timeout: limit}, token: string(token.Reveal())}
}

// with is the same with another token, "" for none.
func (a *asker) with(token string) *asker { return &asker{a.w, a.h, token} }

// do sends one request to node i. A body without a type is sent as JSON.
func (a *asker) do(t *testing.T, i int, method, path, body string, headers ...string) answer {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, a.w.Endpoint(i)+path, in)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	seen := map[string]bool{}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		name = http.CanonicalHeaderKey(name)
		if !seen[name] {
			r.Header.Del(name)
		}
		seen[name] = true
		r.Header[name] = append(r.Header[name], value)
	}
	resp, err := a.h.Do(r)
	if err != nil {
		t.Fatalf("%s %s on %s: %v", method, path, nodeNo(i), err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), client.ProblemType) {
		if method == http.MethodHead {
			out.Code = dsv.Code(resp.Header.Get("DSV-Code"))
		} else if err := json.Unmarshal(b, &out.Problem); err != nil {
			t.Errorf("%s %s: a problem that is none: %v", method, path, err)
		}
	}
	return out
}
