package integration

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// bad is one request that must be refused, with what it must be told.
type bad struct {
	method, path, body string
	headers            []string
	status             int
	code               dsv.Code
	field              string
	index              int
}

const badKey = "/v1/ns/bad/secrets/KEY"

func long(n int) string { return strings.Repeat("x", n) }

func many(n int, item string) string {
	return strings.TrimSuffix(strings.Repeat(item+",", n), ",")
}

func invalid(method, path, body, field string, headers ...string) bad {
	return bad{method, path, body, headers, 400, dsv.CodeInvalid, field, 0}
}

// badFields is a fault in each field of each call: the whole table of a single
// node is in internal/api.
func badFields() (out []bad) {
	add := func(b ...bad) { out = append(out, b...) }
	nine := strings.Repeat("a%2F", 8) + "a"
	for _, ns := range []string{"%2F", "a%2F", "%2Fa", "a%2F%2Fb", "..", "a%2F..%2Fb", "a%252Fb", "a%20b", "%C3%A9", "%FF", "a%00", nine, long(65), "-", "a:b"} {
		add(invalid("GET", "/v1/ns/"+ns+"/secrets/KEY", "", "namespace"), invalid("PUT", "/v1/ns/"+ns+"/secrets/KEY", `{"text":"x"}`, "namespace"),
			invalid("GET", "/v1/ns/"+ns+"/secrets", "", "namespace"), invalid("POST", "/v1/ns/"+ns+"/batch", `{"operations":[{"op":"get","key":"A"}]}`, "namespace"))
	}
	add(invalid("GET", badKey, "", "namespace", "X-DSV-Namespace: other"), invalid("GET", "/v1/ns/-/secrets/KEY", "", "namespace", "X-DSV-Namespace: a//b"))
	for _, key := range []string{".hidden", "..", "a%2Fb", "a:b", "a%0Ab", long(129), "%E2%82%AC"} {
		for _, call := range [][2]string{{"GET", ""}, {"PUT", ""}, {"POST", ""}, {"DELETE", ""}, {"GET", "/versions"}, {"GET", "/shards"}, {"POST", "/undelete"}, {"POST", "/destroy"}} {
			add(invalid(call[0], "/v1/ns/bad/secrets/"+key+call[1], "", "key"))
		}
	}
	for q, field := range map[string]string{"version=0": "version", "version=-1": "version", "version=01": "version", "version=1.0": "version", "version=18446744073709551616": "version",
		"version=1&version=2": "version", "version=1&at=2026-01-31T00:00:00Z": "at", "at=": "at", "at=yesterday": "at", "at=2026-02-30T00:00:00Z": "at", "at=0001-01-01T00:00:00Z": "at",
		"consistency=": "consistency", "consistency=Strict": "consistency", "nope=1": "nope", "%zz": "query"} {
		add(invalid("GET", badKey+"?"+q, "", field))
	}
	for q, field := range map[string]string{"limit=0": "limit", "limit=1001": "limit", "limit=ten": "limit", "prefix=a/b": "prefix", "prefix=" + long(129): "prefix", "after=%FF": "after",
		"deleted=1": "deleted", "consistency=no": "consistency", "cursor=x": "cursor"} {
		add(invalid("GET", "/v1/ns/bad/secrets?"+q, "", field))
	}
	for h, field := range map[string]string{"If-Match: 1": "If-Match", `If-Match: W/"1"`: "If-Match", "If-Match: *": "If-Match", `If-Match: "99999999999999999999"`: "If-Match",
		`If-None-Match: "1"`: "If-None-Match", "Idempotency-Key: " + long(129): "Idempotency-Key", "Idempotency-Key: é": "Idempotency-Key", "Idempotency-Key: ": "Idempotency-Key",
		"DSV-Requested-At: now": "DSV-Requested-At"} {
		add(invalid("PUT", badKey, `{"text":"x"}`, field, h))
	}
	for _, v := range []string{"1", "1:x", "65536:1", "1:-2", ":", "x"} {
		add(invalid("GET", badKey, "", "DSV-Min-Position", "DSV-Min-Position: "+v))
	}
	add(invalid("GET", "/v1/operations/x", "", "operation"), invalid("GET", "/v1/operations/"+dsv.NewTxID(60000, 1).String(), "", "operation"),
		invalid("DELETE", "/v1/tokens/XYZ", "", "token"), invalid("PUT", badKey+"?upsert=yes", `{"text":"x"}`, "upsert"))
	return append(append(out, badBodies()...), badBatches()...)
}

func badBodies() (out []bad) {
	v := func(body, field string) { out = append(out, invalid("POST", badKey, body, field)) }
	v(`{}`, "value")
	v(`{"value":"eA==","text":"x"}`, "text")
	v(`{"value":1}`, "value")
	v(`{"value":null}`, "value")
	v(`{"value":"eA"}`, "value")
	v(`{"value":"_-8="}`, "value")
	v(`{"text":1}`, "text")
	v("{\"text\":\"\xff\"}", "text")
	v(`{"text":"\ud800"}`, "text")
	v(`{"text":"x","txet":"y"}`, "txet")
	v(`{"Text":"x"}`, "Text")
	v(`{"text":"x"}{}`, "body")
	v(`{"text":"x",}`, "body")
	v(`[]`, "body")
	v(`null`, "body")
	v("\x00", "body")
	v(`{"text":"x","if_version":-1}`, "if_version")
	v(`{"text":"x","if_version":"1"}`, "if_version")
	v(`{"text":"x","if_version":1.5}`, "if_version")
	for _, body := range []string{`{}`, `{"versions":[]}`, `{"versions":[0]}`, `{"versions":[2,1]}`, `{"versions":["1"]}`, `{"versions":1}`, `{"all":true,"versions":[1]}`} {
		out = append(out, invalid("POST", badKey+"/destroy", body, "versions"))
	}
	const name, ns, verbs = `"name":"n"`, `"prefixes":["a"]`, `"verbs":["read"]`
	for body, field := range map[string]string{
		`{` + ns + `,` + verbs + `}`: "name", `{"name":"",` + ns + `,` + verbs + `}`: "name", `{"name":1,` + ns + `,` + verbs + `}`: "name",
		`{` + name + `,` + verbs + `}`: "prefixes", `{` + name + `,"prefixes":[],` + verbs + `}`: "prefixes", `{` + name + `,"prefixes":["*"],` + verbs + `}`: "prefixes",
		`{` + name + `,` + ns + `}`: "verbs", `{` + name + `,` + ns + `,"verbs":["write"]}`: "verbs", `{` + name + `,` + ns + `,"verbs":["admin"]}`: "verbs",
		`{` + name + `,` + ns + `,` + verbs + `,"expires":"soon"}`: "expires", `{` + name + `,` + ns + `,` + verbs + `,"expires":"2020-01-01T00:00:00Z"}`: "expires", `{` + name + `,` + ns + `,` + verbs + `,"ttl":1}`: "ttl"} {
		out = append(out, invalid("POST", "/v1/tokens", body, field))
	}
	other := func(status int, code dsv.Code, field, method, path, body string, headers ...string) {
		out = append(out, bad{method, path, body, headers, status, code, field, 0})
	}
	for _, typ := range []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "/", ""} {
		other(415, dsv.CodeUnsupportedMedia, "", "PUT", badKey, `{"text":"x"}`, "Content-Type: "+typ)
	}
	other(415, dsv.CodeUnsupportedMedia, "", "PUT", badKey, `{"text":"x"}`, "Content-Encoding: gzip")
	other(413, dsv.CodeTooLarge, "value", "PUT", badKey, long(dsv.MaxValue+1), "Content-Type: application/octet-stream")
	other(413, dsv.CodeTooLarge, "text", "PUT", badKey, `{"text":"`+long(dsv.MaxValue+1)+`"}`)
	other(413, dsv.CodeTooLarge, "value", "PUT", badKey, `{"value":"`+base64.StdEncoding.EncodeToString(make([]byte, dsv.MaxValue+1))+`"}`)
	other(405, dsv.CodeMethodNotAllowed, "", "PATCH", badKey, "")
	other(405, dsv.CodeMethodNotAllowed, "", "PUT", "/v1/cluster", "")
	other(404, dsv.CodeNotFound, "", "GET", "/v1/ns/a/b/secrets/KEY", "")
	other(404, dsv.CodeNotFound, "", "GET", "/v2/ns/bad/secrets/KEY", "")
	other(404, dsv.CodeNotFound, "", "DELETE", "/v1/tokens/0123456789abcdef", "")
	return out
}

func badBatches() (out []bad) {
	b := func(body, field string, index int) {
		out = append(out, bad{"POST", "/v1/ns/bad/batch", `{"operations":[` + body + `]}`, nil, 400, dsv.CodeInvalid, field, index})
	}
	const good = `{"op":"create","key":"A","text":"x"}`
	b(``, "operations", 0)
	b(`1`, "operations", 1)
	b(good+`,{}`, "op", 2)
	b(good+`,{"op":"rename","key":"B"}`, "op", 2)
	b(`{"op":"delete"}`, "key", 1)
	b(`{"op":"delete","key":".x"}`, "key", 1)
	b(good+`,`+good, "key", 2)
	b(good+`,{"op":"get","key":"B"}`, "op", 2)
	b(`{"op":"create","key":"A"}`, "value", 1)
	b(`{"op":"delete","key":"A","text":"x"}`, "text", 1)
	b(`{"op":"get","key":"A","version":0}`, "version", 1)
	b(`{"op":"destroy","key":"A"}`, "versions", 1)
	b(`{"op":"create","key":"A","text":"x","secret":"y"}`, "secret", 1)
	b(`{"op":"put","key":"A","text":"x","if_version":-1}`, "if_version", 1)
	var ops strings.Builder
	for i := range 257 {
		fmt.Fprintf(&ops, `{"op":"delete","key":"K%d"},`, i)
	}
	out = append(out, bad{"POST", "/v1/ns/bad/batch", `{"operations":[` + strings.TrimSuffix(ops.String(), ",") + `]}`, nil, 413, dsv.CodeTooLarge, "operations", 0},
		bad{"POST", "/v1/tokens", `{"name":"n","prefixes":[` + many(65, `"a"`) + `],"verbs":["read"]}`, nil, 413, dsv.CodeTooLarge, "prefixes", 0})
	return out
}

// badForState is right in form and refused for what is there: KEY has version
// 1 destroyed and version 2 live, GONE is deleted, DESTROYED has nothing left,
// and the idempotency key "used" belongs to another request.
func badForState() []bad {
	at := func(key string) string { return "/v1/ns/bad/secrets/" + key }
	r := func(status int, code dsv.Code, method, path, body string, headers ...string) bad {
		return bad{method, path, body, headers, status, code, "", 0}
	}
	return []bad{
		r(409, dsv.CodeExists, "POST", at("KEY"), `{"text":"x"}`),
		r(409, dsv.CodeExists, "POST", at("KEY")+"/undelete", ""),
		r(404, dsv.CodeNotFound, "PUT", at("NEVER"), `{"text":"x"}`),
		r(404, dsv.CodeNotFound, "PUT", at("GONE"), `{"text":"x"}`),
		r(404, dsv.CodeNotFound, "GET", at("NEVER"), ""),
		r(404, dsv.CodeNotFound, "GET", at("GONE"), ""),
		r(404, dsv.CodeNotFound, "HEAD", at("GONE"), ""),
		r(404, dsv.CodeNotFound, "GET", at("KEY")+"?version=3", ""),
		r(404, dsv.CodeNotFound, "GET", at("KEY")+"?at=2001-01-01T00:00:00Z", ""),
		r(404, dsv.CodeNotFound, "GET", at("NEVER")+"/versions", ""),
		r(404, dsv.CodeNotFound, "DELETE", at("GONE"), ""),
		r(404, dsv.CodeNotFound, "POST", at("NEVER")+"/undelete", ""),
		r(404, dsv.CodeNotFound, "POST", at("NEVER")+"/destroy", `{"all":true}`),
		r(410, dsv.CodeDestroyed, "GET", at("KEY")+"?version=1", ""),
		r(410, dsv.CodeDestroyed, "POST", at("DESTROYED")+"/undelete", ""),
		r(412, dsv.CodeVersionMismatch, "PUT", at("KEY"), `{"text":"x"}`, `If-Match: "1"`),
		r(412, dsv.CodeVersionMismatch, "PUT", at("KEY"), `{"text":"x","if_version":7}`),
		r(412, dsv.CodeVersionMismatch, "DELETE", at("KEY"), "", `If-Match: "3"`),
		r(409, dsv.CodeExists, "PUT", at("KEY")+"", `{"text":"x"}`, "If-None-Match: *"),
		{"PUT", at("KEY"), `{"text":"another"}`, []string{"Idempotency-Key: used"}, 422, dsv.CodeIdempotencyReuse, "Idempotency-Key", 0},
		{"POST", "/v1/ns/bad/batch", `{"operations":[{"op":"put","key":"KEY","text":"x"},{"op":"create","key":"NEW","text":"x"},{"op":"update","key":"NEVER","text":"x"}]}`, nil, 404, dsv.CodeNotFound, "", 3},
		{"POST", "/v1/ns/bad/batch", `{"operations":[{"op":"put","key":"KEY","text":"x"},{"op":"create","key":"KEY2","text":"x","if_version":5}]}`, nil, 412, dsv.CodeVersionMismatch, "", 2},
		{"POST", "/v1/ns/bad/batch", `{"operations":[{"op":"get","key":"KEY"},{"op":"get","key":"GONE"}]}`, nil, 404, dsv.CodeNotFound, "", 2},
	}
}

// TestBadInputSameEverywhere: every node refuses the same request with the same
// status, code, field and index, and nothing is changed by any.
func TestBadInputSameEverywhere(t *testing.T) {
	w := shared(t)
	w.badState(t)
	before := w.badSnapshot(t)
	a := w.asker(t)
	table := append(badFields(), badForState()...)
	for _, b := range table {
		what := fmt.Sprintf("%s %.90s %.90q %.90q", b.method, b.path, b.body, b.headers)
		for i := range w.Nodes() {
			got := a.do(t, i, b.method, b.path, b.body, b.headers...)
			if got.status != b.status || got.Code != b.code || b.method != "HEAD" && (got.Index != b.index || b.field != "" && got.Field != b.field || got.Detail == "") {
				t.Errorf("%s on %s: %d %s, field %q, index %d (%s); want %d %s, %q, %d", what, nodeNo(i), got.status, got.Code, got.Field, got.Index, got.Detail, b.status, b.code, b.field, b.index)
			}
		}
	}
	t.Logf("%d bad requests, each to five nodes", len(table))
	if d := cmp.Diff(before, w.badSnapshot(t)); d != "" {
		t.Errorf("refused requests changed something:\n%s", d)
	}
}

func (w *world) badState(t *testing.T) {
	t.Helper()
	ctx, cl := t.Context(), w.at[0]
	key, gone, destroyed := pathOf(t, "bad", "KEY"), pathOf(t, "bad", "GONE"), pathOf(t, "bad", "DESTROYED")
	must := func(_ client.Written, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []dsv.Path{key, gone, destroyed} {
		must(cl.Put(ctx, p, secret("v1"), nil))
	}
	must(cl.Put(ctx, key, secret("v2"), &client.WriteOptions{IdempotencyKey: "used"}))
	must(cl.Destroy(ctx, key, []uint64{1}, nil))
	must(cl.Delete(ctx, gone, nil))
	must(cl.Destroy(ctx, destroyed, nil, nil))
}

// badSnapshot is all there is in the namespace, and the tokens.
func (w *world) badSnapshot(t *testing.T) (out []any) {
	t.Helper()
	n, err := w.at[1].List(t.Context(), pathOf(t, "bad", "KEY").NS, &client.ListOptions{Deleted: true})
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, n.Names)
	for _, name := range n.Names {
		out = append(out, w.sameHistory(t, pathOf(t, "bad", name.Key)))
	}
	tokens, err := w.at[2].ListTokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range tokens {
		out = append(out, tok.ID)
	}
	f, err := w.at[3].Get(t.Context(), pathOf(t, "bad", "KEY"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, f.Version, text(f))
}
