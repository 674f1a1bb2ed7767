package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/api/apitest"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// fetchDoc reads the document the way a user does.
func fetchDoc(t *testing.T, n *apitest.Node) doc {
	t.Helper()
	r := call(t, n, "GET", "/v1/openapi.json", "", "")
	mustStatus(t, r, 200)
	var d doc
	if err := json.Unmarshal([]byte(r.body), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// operations calls f for every operation of the document.
func (d doc) operations(f func(method, path string, op map[string]any)) {
	for path, item := range d["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			f(strings.ToUpper(method), path, op.(map[string]any))
		}
	}
}

func TestDocumentAndRoutesAreTheSame(t *testing.T) {
	n := apitest.Serve(t, apitest.NewVault(), nil)
	d := fetchDoc(t, n)
	var inDoc, inTable, ids []string
	d.operations(func(method, path string, op map[string]any) {
		inDoc = append(inDoc, method+" "+path)
		ids = append(ids, op["operationId"].(string))
		for _, p := range list(op["parameters"]) {
			if q := d.deref(p); q["in"] == "path" && !strings.Contains(path, "{"+q["name"].(string)+"}") {
				t.Errorf("%s %s: parameter %v stands not in the path", method, path, q["name"])
			}
		}
	})
	for _, rt := range n.Server.Routes() {
		inTable = append(inTable, rt.Method+" "+rt.Pattern)
	}
	for _, s := range inDoc {
		if !slices.Contains(inTable, s) {
			t.Errorf("%s is documented and not served", s)
		}
	}
	for _, s := range inTable {
		if !slices.Contains(inDoc, s) {
			t.Errorf("%s is served and not documented", s)
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("an operationId stands twice: %v", ids)
	}
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// contents calls f for every media type with its examples.
func (d doc) contents(holder map[string]any, f func(mediaType string, schema any, examples []any)) {
	content, _ := holder["content"].(map[string]any)
	for mt, m := range content {
		c := m.(map[string]any)
		var examples []any
		if e, ok := c["example"]; ok {
			examples = append(examples, e)
		}
		more, _ := c["examples"].(map[string]any)
		for _, e := range more {
			examples = append(examples, e.(map[string]any)["value"])
		}
		f(mt, c["schema"], examples)
	}
}

func TestEveryExampleFitsItsSchema(t *testing.T) {
	n := apitest.Serve(t, apitest.NewVault(), nil)
	d := fetchDoc(t, n)
	seen := 0
	hold := func(what string, holder map[string]any) {
		d.contents(holder, func(mt string, schema any, examples []any) {
			if mt == "application/octet-stream" || what == "GET /v1/openapi.json 200" {
				return
			}
			if len(examples) == 0 {
				t.Errorf("%s: no example of %s", what, mt)
			}
			for _, e := range examples {
				seen++
				if err := d.check(schema, e, what); err != nil {
					t.Error(err)
				}
			}
		})
	}
	d.operations(func(method, path string, op map[string]any) {
		what := method + " " + path
		if body, ok := op["requestBody"].(map[string]any); ok {
			hold(what+" body", body)
		}
		for status, r := range op["responses"].(map[string]any) {
			hold(what+" "+status, d.deref(r))
		}
	})
	if seen < 50 {
		t.Errorf("only %d examples", seen)
	}
}

// TestDocumentedRequestsAreTaken sends every example of a body, and asks for
// every documented query parameter.
func TestDocumentedRequestsAreTaken(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	d := fetchDoc(t, n)
	token := v.Token(auth.AllVerbs, "")
	d.operations(func(method, path string, op map[string]any) {
		url := strings.NewReplacer("{ns}", "a", "{key}", "K", "/tokens/{id}", "/tokens/0123456789abcdef", "{id}", dsv.NewTxID(1, 0).String()).Replace(path)
		if body, ok := op["requestBody"].(map[string]any); ok {
			d.contents(body, func(mt string, _ any, examples []any) {
				for _, e := range examples {
					b, _ := json.Marshal(e)
					r := call(t, n, method, url, token, string(b))
					if r.StatusCode == 400 || r.StatusCode == 415 || r.StatusCode == 413 {
						t.Errorf("%s %s %s: %d %s", method, path, b, r.StatusCode, r.body)
					}
				}
			})
		}
		for _, p := range list(op["parameters"]) {
			q := d.deref(p)
			if q["in"] != "query" {
				continue
			}
			r := call(t, n, method, url+"?"+q["name"].(string)+"=%00", token, "")
			if strings.Contains(r.body, "is no parameter") {
				t.Errorf("%s %s: %v is documented and refused", method, path, q["name"])
			}
		}
	})
}

// checkReply holds a real answer against the document: its status, body and
// headers.
func checkReply(t *testing.T, d doc, pattern string, r reply) {
	t.Helper()
	what := r.Request.Method + " " + pattern + " " + http.StatusText(r.StatusCode)
	code := string([]byte{byte('0' + r.StatusCode/100), byte('0' + r.StatusCode/10%10), byte('0' + r.StatusCode%10)})
	resp := d.deref(d.at("paths", pattern, strings.ToLower(r.Request.Method), "responses", code))
	if resp == nil {
		t.Errorf("%s: %s is not documented: %s", what, code, r.body)
		return
	}
	declared, _ := resp["headers"].(map[string]any)
	for name := range r.Header {
		if strings.HasPrefix(name, "Dsv-") && r.StatusCode < 300 && !slices.ContainsFunc(keys(declared), func(s string) bool { return http.CanonicalHeaderKey(s) == name }) {
			t.Errorf("%s: header %s is not documented", what, name)
		}
	}
	mt, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if r.body == "" {
		return
	}
	content, _ := resp["content"].(map[string]any)
	c, ok := content[mt].(map[string]any)
	if !ok {
		t.Errorf("%s: %s is not documented", what, mt)
		return
	}
	if mt == "text/plain" || mt == "application/octet-stream" {
		return
	}
	body, err := parse(r.body)
	if err == nil {
		err = d.check(c["schema"], body, what)
	}
	if err != nil {
		t.Errorf("%v: %s", err, r.body)
	}
}

func keys(m map[string]any) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

const (
	secretPattern = "/v1/ns/{ns}/secrets/{key}"
	batchPattern  = "/v1/ns/{ns}/batch"
)

// TestAnswersFitTheDocument runs a play that gets every 2xx answer and most
// refusals, and holds each against the document.
func TestAnswersFitTheDocument(t *testing.T) {
	v := apitest.NewVault()
	v.SetState(fullStatus())
	n := apitest.Serve(t, v, nil)
	d := fetchDoc(t, n)
	token := v.Token(auth.AllVerbs, "")
	got := map[string]bool{}
	for _, s := range []struct {
		method, pattern, suffix, body string
		status                        int
		headers                       []string
	}{
		{"POST", secretPattern, "", `{"text":"x"}`, 201, nil},
		{"POST", secretPattern, "", `{"text":"x"}`, 409, nil},
		{"PUT", secretPattern, "", `{"text":"y"}`, 200, nil},
		{"PUT", secretPattern, "", `{"text":"y"}`, 200, nil}, // unchanged
		{"PUT", secretPattern, "", `{"text":"z"}`, 412, []string{`If-Match: "9"`}},
		{"PUT", secretPattern, "", `{"text":"z"}`, 409, []string{"If-None-Match: *"}},
		{"GET", secretPattern, "", "", 200, nil},
		{"GET", secretPattern, "?consistency=local", "", 200, nil},
		{"GET", secretPattern, "", "", 200, []string{"Accept: application/octet-stream"}},
		{"GET", secretPattern, "?version=7", "", 404, nil},
		{"GET", secretPattern, "?x=7", "", 400, nil},
		{"HEAD", secretPattern, "?consistency=local", "", 200, nil},
		{"GET", secretPattern + "/versions", "", "", 200, nil},
		{"GET", secretPattern + "/shards", "", "", 200, nil},
		{"GET", "/v1/ns/{ns}/secrets", "?limit=1", "", 200, nil},
		{"DELETE", secretPattern, "", "", 204, nil},
		{"DELETE", secretPattern, "", "", 404, nil},
		{"GET", "/v1/ns/{ns}/secrets", "?deleted=true", "", 200, nil},
		{"POST", secretPattern + "/undelete", "", "", 200, nil},
		{"POST", secretPattern + "/undelete", "", "", 409, nil},
		{"POST", batchPattern, "", `{"operations":[{"op":"get","key":"K"},{"op":"get","key":"K2"}]}`, 404, nil},
		{"POST", batchPattern, "", `{"operations":[{"op":"get","key":"K"}]}`, 200, nil},
		{"POST", batchPattern, "", `{"operations":[{"op":"put","key":"K","text":"q"},{"op":"create","key":"K2","text":""}]}`, 200, nil},
		{"POST", secretPattern + "/destroy", "", `{"versions":[1]}`, 204, nil},
		{"GET", secretPattern, "?version=1", "", 410, nil},
		{"PUT", secretPattern, "", `x`, 415, []string{"Content-Type: text/plain"}},
		{"GET", "/v1/operations/{id}", "", "", 200, nil},
		{"POST", "/v1/tokens", "", `{"name":"ci","prefixes":["a"],"verbs":["read"]}`, 201, nil},
		{"GET", "/v1/tokens", "", "", 200, nil},
		{"DELETE", "/v1/tokens/{id}", "", "", 404, nil},
		{"GET", "/v1/cluster", "", "", 200, nil},
		{"GET", "/livez", "", "", 200, nil},
		{"GET", "/readyz", "?verbose", "", 200, nil},
		{"GET", "/metrics", "", "", 200, nil},
		{"GET", "/v1/openapi.json", "", "", 200, nil},
	} {
		id := dsv.NewTxID(1, 0).String()
		if strings.Contains(s.pattern, "tokens") {
			id = "0123456789abcdef"
		}
		url := strings.NewReplacer("{ns}", "team-a%2Fapp", "{key}", "K", "{id}", id).Replace(s.pattern) + s.suffix
		r := call(t, n, s.method, url, token, s.body, s.headers...)
		mustStatus(t, r, s.status)
		checkReply(t, d, s.pattern, r)
		got[s.method+" "+s.pattern] = true
	}
	for _, rt := range n.Server.Routes() {
		if name := rt.Method + " " + rt.Pattern; !got[name] && rt.Pattern != "/v1/tokens/{id}" {
			t.Errorf("no answer of %s was held against the document", name)
		}
	}
	for _, e := range []*dsv.Error{
		{Kind: dsv.KindUnavailable, Code: dsv.CodeNotEnoughShards, Detail: "x", Need: 3, Silent: []string{"n1"}, RetryAfter: time.Second},
		{Kind: dsv.KindUnavailable, Code: dsv.CodeLogUnavailable, Detail: "x", Phase: dsv.PhaseOrdering},
		{Kind: dsv.KindUnknownOutcome, Code: dsv.CodeOutcomeUnknown, Detail: "x", Operation: "op"},
		{Kind: dsv.KindDiskFull, Code: dsv.CodeDiskFull, Detail: "x"},
		{Kind: dsv.KindUnprocessable, Code: dsv.CodeIdempotencyReuse, Detail: "x", Faults: []dsv.Fault{{Line: 1, Name: "A", Code: "exists", Detail: "y"}}},
		{Kind: dsv.KindInternal},
	} {
		v.FailWith(func(string) error { return e })
		checkReply(t, d, secretPattern, call(t, n, "PUT", "/v1/ns/a/secrets/K", token, `{"text":"x"}`))
	}
}

func fullStatus() coordinator.Status {
	at := apitest.Epoch
	return coordinator.Status{
		Cluster: "c1", Node: "n1", Software: "0.1", State: "degraded", Why: []string{"n2 is down"}, Quorum: dsv.Quorum{K: 3, N: 5, W: 4}, Reachable: 4, Margin: 1,
		Members:    []coordinator.MemberStatus{{Node: "n1", Addr: "h:1", State: "alive", Lag: -1, RTT: 1500 * time.Microsecond, LastSeen: at, Shards: 7, Holes: -1}, {Node: "n2", State: "dead"}},
		Keepers:    []coordinator.KeeperStatus{{Keeper: "k1", Addr: "h:2", Reachable: true, Holds: true, Generation: 2, LastSeen: at}, {Keeper: "k2", Problem: "refused"}},
		Log:        coordinator.LogStatus{Brokers: []string{"b:9092"}, Available: true, Good: true, OldestWait: time.Millisecond},
		Partitions: []coordinator.PartitionStatus{{Partition: 1, Applied: 9, End: -1, T: at, Digest: "ab"}, {Partition: 2, Diverged: "gap"}},
	}
}
