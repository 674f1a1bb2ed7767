package api_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/api"
	"github.com/dsvault/dsv/internal/api/apitest"
	"github.com/dsvault/dsv/internal/auth"
)

// bad is one request that must be refused before the vault is asked.
type bad struct {
	method, path, body string
	headers            []string
	status             int
	code               dsv.Code
	field              string
	index              int
}

const secretPath = "/v1/ns/a/secrets/K"

func long(n int) string { return strings.Repeat("x", n) }

// badNames are names in paths.
func badNames() []bad {
	inv := func(path, field string, headers ...string) bad {
		return bad{"GET", path, "", headers, 400, dsv.CodeInvalid, field, 0}
	}
	nine := strings.Repeat("a%2F", 8) + "a"
	return []bad{
		inv("/v1/ns/%2F/secrets/K", "namespace"),
		inv("/v1/ns/a%2F/secrets/K", "namespace"),
		inv("/v1/ns/%2Fa/secrets/K", "namespace"),
		inv("/v1/ns/a%2F%2Fb/secrets/K", "namespace"),
		inv("/v1/ns/../secrets/K", "namespace"),
		inv("/v1/ns/a%2F..%2Fb/secrets/K", "namespace"),
		inv("/v1/ns/a%252Fb/secrets/K", "namespace"), // encoded twice is no slash
		inv("/v1/ns/a%20b/secrets/K", "namespace"),
		inv("/v1/ns/%C3%A9/secrets/K", "namespace"),
		inv("/v1/ns/%FF/secrets/K", "namespace"),
		inv("/v1/ns/a%00/secrets/K", "namespace"),
		inv("/v1/ns/"+nine+"/secrets/K", "namespace"),
		inv("/v1/ns/"+long(65)+"/secrets/K", "namespace"),
		inv("/v1/ns/"+nine+"/secrets", "namespace"),
		inv("/v1/ns/-/secrets/K", "namespace"),
		inv("/v1/ns/a/secrets/K", "namespace", "X-DSV-Namespace: b"),
		inv("/v1/ns/-/secrets/K", "namespace", "X-DSV-Namespace: a//b"),
		inv("/v1/ns/-/secrets/K", "X-DSV-Namespace", "X-DSV-Namespace: a", "X-DSV-Namespace: a"),
		inv("/v1/ns/a/secrets/.hidden", "key"),
		inv("/v1/ns/a/secrets/..", "key"),
		inv("/v1/ns/a/secrets/a%2Fb", "key"),
		inv("/v1/ns/a/secrets/a%252Fb", "key"),
		inv("/v1/ns/a/secrets/a:b", "key"),
		inv("/v1/ns/a/secrets/a%0Ab", "key"),
		inv("/v1/ns/a/secrets/"+long(129), "key"),
		inv("/v1/ns/a/secrets/%E2%82%AC/versions", "key"),
		inv("/v1/operations/x", "operation"),
		inv("/v1/operations/"+dsv.NewTxID(1, 1).String()+"A", "operation"),
		{"DELETE", "/v1/tokens/XYZ", "", nil, 400, dsv.CodeInvalid, "token", 0},
		{"DELETE", "/v1/tokens/0123456789ABCDEF", "", nil, 400, dsv.CodeInvalid, "token", 0},
	}
}

// badParameters are queries and headers of reads and writes.
func badParameters() []bad {
	get := func(query, field string, headers ...string) bad {
		return bad{"GET", secretPath + query, "", headers, 400, dsv.CodeInvalid, field, 0}
	}
	list := func(query, field string) bad {
		return bad{"GET", "/v1/ns/a/secrets" + query, "", nil, 400, dsv.CodeInvalid, field, 0}
	}
	put := func(field string, headers ...string) bad {
		return bad{"PUT", secretPath, `{"text":"x"}`, headers, 400, dsv.CodeInvalid, field, 0}
	}
	return []bad{
		get("?version=0", "version"), get("?version=-1", "version"), get("?version=01", "version"), get("?version=1.0", "version"),
		get("?version=one", "version"), get("?version=", "version"), get("?version=18446744073709551616", "version"), get("?version=+1", "version"),
		get("?version=1&version=2", "version"), get("?version=1&at=2026-01-31T00:00:00Z", "at"),
		get("?at=", "at"), get("?at=yesterday", "at"), get("?at=2026-01-31", "at"), get("?at=2026-01-31T00:00:00", "at"), get("?at=1769817600", "at"),
		get("?at=2026-02-30T00:00:00Z", "at"), get("?at=2026-01-31T00:00:00,5Z", "at"), get("?at=0001-01-01T00:00:00Z", "at"), get("?at=2026-01-31T00:00:00+01:00", "at"),
		get("?consistency=", "consistency"), get("?consistency=Strict", "consistency"), get("?consistency=eventual", "consistency"),
		get("?nope=1", "nope"), get("?Version=1", "Version"), get("?%zz", "query"), get("?a;b", "query"),
		get("", "DSV-Min-Position", "DSV-Min-Position: 1"), get("", "DSV-Min-Position", "DSV-Min-Position: 1:x"), get("", "DSV-Min-Position", "DSV-Min-Position: 65536:1"),
		get("", "DSV-Min-Position", "DSV-Min-Position: 1:-2"), get("", "DSV-Min-Position", "DSV-Min-Position: 1:1", "DSV-Min-Position: 1:1"),
		{"HEAD", secretPath + "?version=0", "", nil, 400, dsv.CodeInvalid, "version", 0},
		{"GET", secretPath + "/versions?version=1", "", nil, 400, dsv.CodeInvalid, "version", 0},
		{"GET", secretPath + "/versions?consistency=x", "", nil, 400, dsv.CodeInvalid, "consistency", 0},
		{"GET", secretPath + "/shards?x=1", "", nil, 400, dsv.CodeInvalid, "x", 0},
		{"GET", "/v1/cluster?x=1", "", nil, 400, dsv.CodeInvalid, "x", 0},
		{"GET", "/v1/tokens?x=1", "", nil, 400, dsv.CodeInvalid, "x", 0},
		{"DELETE", "/v1/tokens/0123456789abcdef?x=1", "", nil, 400, dsv.CodeInvalid, "x", 0},
		{"GET", "/v1/operations/" + dsv.NewTxID(1, 1).String() + "?x=1", "", nil, 400, dsv.CodeInvalid, "x", 0},
		list("?limit=0", "limit"), list("?limit=1001", "limit"), list("?limit=ten", "limit"), list("?limit=", "limit"), list("?limit=-1", "limit"),
		list("?prefix=a/b", "prefix"), list("?prefix=.a", "prefix"), list("?prefix="+long(129), "prefix"), list("?after=%FF", "after"),
		list("?deleted=1", "deleted"), list("?deleted=", "deleted"), list("?consistency=no", "consistency"), list("?cursor=x", "cursor"),
		put("If-Match", "If-Match: 1"), put("If-Match", `If-Match: "x"`), put("If-Match", `If-Match: W/"1"`), put("If-Match", `If-Match: ""`),
		put("If-Match", `If-Match: "1", "2"`), put("If-Match", "If-Match: *"), put("If-Match", `If-Match: "01"`), put("If-Match", `If-Match: "99999999999999999999"`),
		put("If-Match", `If-Match: "1"`, `If-Match: "1"`),
		put("If-None-Match", `If-None-Match: "1"`), put("If-None-Match", `If-None-Match: *`, `If-None-Match: *`),
		put("Idempotency-Key", "Idempotency-Key: "+long(129)), put("Idempotency-Key", "Idempotency-Key: é"), put("Idempotency-Key", "Idempotency-Key: "),
		put("Idempotency-Key", "Idempotency-Key: a", "Idempotency-Key: b"), put("Idempotency-Key", "Idempotency-Key: a\tb"),
		put("DSV-Requested-At", "DSV-Requested-At: now"), put("DSV-Requested-At", "DSV-Requested-At: 1969-12-31T23:59:59Z"),
		{"PUT", secretPath + "?upsert=yes", `{"text":"x"}`, nil, 400, dsv.CodeInvalid, "upsert", 0},
		{"PUT", secretPath + "?upsert=true&upsert=true", `{"text":"x"}`, nil, 400, dsv.CodeInvalid, "upsert", 0},
		{"PUT", secretPath + "?upsert=true", `{"text":"x"}`, []string{"If-None-Match: *"}, 400, dsv.CodeInvalid, "If-None-Match", 0},
		{"POST", secretPath + "?upsert=true", `{"text":"x"}`, nil, 400, dsv.CodeInvalid, "upsert", 0},
		{"PUT", secretPath, `{"text":"x","if_version":2}`, []string{`If-Match: "1"`}, 400, dsv.CodeInvalid, "if_version", 0},
		{"DELETE", secretPath + "?x=1", "", nil, 400, dsv.CodeInvalid, "x", 0},
		{"DELETE", secretPath, "", []string{"If-Match: *"}, 400, dsv.CodeInvalid, "If-Match", 0},
		{"POST", secretPath + "/undelete", "", []string{"If-Match: 1"}, 400, dsv.CodeInvalid, "If-Match", 0},
	}
}

// badValues are bodies of create, update and put.
func badValues() []bad {
	v := func(body, field string) bad {
		return bad{"POST", secretPath, body, nil, 400, dsv.CodeInvalid, field, 0}
	}
	typed := func(contentType string) bad {
		return bad{"PUT", secretPath, `{"text":"x"}`, []string{"Content-Type: " + contentType}, 415, dsv.CodeUnsupportedMedia, "", 0}
	}
	tooLong := base64.StdEncoding.EncodeToString(make([]byte, maxValue+1))
	return []bad{
		v(`{}`, "value"), v(`{"if_version":1}`, "value"), v(`{"value":"eA==","text":"x"}`, "text"), v(`{"text":"x","value":"eA=="}`, "value"),
		v(`{"value":"eA==","value":"eA=="}`, "value"), v(`{"value":1}`, "value"), v(`{"value":null}`, "value"), v(`{"value":["x"]}`, "value"), v(`{"value":true}`, "value"),
		v(`{"value":"eA"}`, "value"), v(`{"value":"eA=\n="}`, "value"), v(`{"value":"eB=="}`, "value"), v(`{"value":"_-8="}`, "value"), v(`{"value":" eA=="}`, "value"),
		v(`{"value":"eA==\r\n"}`, "value"), v(`{"value":"é"}`, "value"), v(`{"value":"eA==eA=="}`, "value"),
		v(`{"text":1}`, "text"), v(`{"text":null}`, "text"), v(`{"text":{"a":1}}`, "text"), v("{\"text\":\"\xff\"}", "text"), v(`{"text":"\ud800"}`, "text"),
		v(`{"text":"\ud800\u0041"}`, "text"), v(`{"text":"\udc00"}`, "text"), v(`{"text":"\u00g0"}`, "text"), v(`{"text":"\x"}`, "text"), v("{\"text\":\"a\nb\"}", "text"),
		v("{\"text\":\"\\n\xff\"}", "text"), v("{\"text\":\"\\n\x01\"}", "text"), v(`{"text":"\`, "text"), v(`{"text":"\"`, "text"), v(`{"text":"\u12`, "text"),
		v(`{"text":"x`, "text"), v(`{"text":"x"`, "body"), v(`{"text":"x",}`, "body"), v(`{"text":"x"}{}`, "body"), v(`{"text":"x"} x`, "body"), v(`{"text":"x"}]`, "body"),
		v(`{,"text":"x"}`, "body"), v(`{"text" "x"}`, "body"), v(`{text:"x"}`, "body"), v(`{'text':'x'}`, "body"), v(`[]`, "body"), v(`"x"`, "body"), v(`null`, "body"), v(` `, "body"),
		v("\ufeff{\"text\":\"x\"}", "body"), v(`{"text":"x" "a":1}`, "body"), v(`{"text":"x"/**/}`, "body"), v("\x00", "body"), v(strings.Repeat(`{"value":`, 5000), "value"),
		v(`{"text":"x","txet":"y"}`, "txet"), v(`{"Text":"x"}`, "Text"), v(`{"text":"x","":1}`, `""`), v(`{"text":"x","`+long(100)+`":1}`, long(64)+"…"),
		v(`{"text":"x","if_version":-1}`, "if_version"), v(`{"text":"x","if_version":"1"}`, "if_version"), v(`{"text":"x","if_version":1.5}`, "if_version"),
		v(`{"text":"x","if_version":1e2}`, "if_version"), v(`{"text":"x","if_version":01}`, "if_version"), v(`{"text":"x","if_version":9007199254740992}`, "if_version"),
		v(`{"text":"x","if_version":null}`, "if_version"), v(`{"text":"x","if_version":1,"if_version":1}`, "if_version"), v(`{"text":"x","if_version":99999999999999999999999}`, "if_version"),
		typed("text/plain"), typed("application/x-www-form-urlencoded"), typed("application/json; charset=latin1"), typed("multipart/form-data; boundary=x"), typed("/"), typed(""),
		{"PUT", secretPath, `{"text":"x"}`, []string{"Content-Encoding: gzip"}, 415, dsv.CodeUnsupportedMedia, "", 0},
		{"PUT", secretPath, long(maxValue + 1), []string{"Content-Type: application/octet-stream"}, 413, dsv.CodeTooLarge, "value", 0},
		{"PUT", secretPath, `{"text":"` + long(maxValue+1) + `"}`, nil, 413, dsv.CodeTooLarge, "text", 0},
		{"PUT", secretPath, `{"text":"\n` + long(maxValue) + `"}`, nil, 413, dsv.CodeTooLarge, "text", 0},
		{"PUT", secretPath, `{"value":"` + tooLong + `"}`, nil, 413, dsv.CodeTooLarge, "value", 0},
		{"PUT", secretPath, long(3*maxValue + 64<<10 + 1), nil, 413, dsv.CodeTooLarge, "body", 0},
		{"DELETE", secretPath, `{"if_version":"x"}`, nil, 400, dsv.CodeInvalid, "if_version", 0},
		{"DELETE", secretPath, `{"version":1}`, nil, 400, dsv.CodeInvalid, "version", 0},
		{"DELETE", secretPath, `x`, []string{"Content-Type: application/octet-stream"}, 415, dsv.CodeUnsupportedMedia, "", 0},
		{"POST", secretPath + "/undelete", `[]`, nil, 400, dsv.CodeInvalid, "body", 0},
	}
}

// badOthers are bodies of destroy, batch and tokens.
func badOthers() []bad {
	d := func(body, field string) bad {
		return bad{"POST", secretPath + "/destroy", body, nil, 400, dsv.CodeInvalid, field, 0}
	}
	b := func(body, field string, index int) bad {
		return bad{"POST", "/v1/ns/a/batch", `{"operations":[` + body + `]}`, nil, 400, dsv.CodeInvalid, field, index}
	}
	tk := func(body, field string) bad {
		return bad{"POST", "/v1/tokens", body, nil, 400, dsv.CodeInvalid, field, 0}
	}
	const good = `{"op":"create","key":"A","text":"x"}`
	const name, ns, verbs = `"name":"n"`, `"prefixes":["a"]`, `"verbs":["read"]`
	many := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	var ops strings.Builder
	for i := range 257 {
		fmt.Fprintf(&ops, `{"op":"delete","key":"K%d"},`, i)
	}
	mega := `"` + long(maxValue) + `"`
	big := ""
	for i := range 4<<20/maxValue + 1 {
		big += fmt.Sprintf(`{"op":"put","key":"K%d","text":%s},`, i, mega)
	}
	return []bad{
		d(`{}`, "versions"), d(`{"versions":[]}`, "versions"), d(`{"all":false}`, "versions"), d(`{"all":true,"versions":[1]}`, "versions"), d(`{"all":1}`, "all"),
		d(`{"all":"true"}`, "all"), d(`{"versions":1}`, "versions"), d(`{"versions":[0]}`, "versions"), d(`{"versions":[2,1]}`, "versions"), d(`{"versions":[1,1]}`, "versions"),
		d(`{"versions":["1"]}`, "versions"), d(`{"versions":[1,]}`, "versions"), d(`{"versions":[1 2]}`, "versions"), d(`{"versions":[1],"x":1}`, "x"), d(`{"all":tru}`, "all"),
		{"POST", secretPath + "/destroy", "", nil, 415, dsv.CodeUnsupportedMedia, "", 0},
		{"POST", "/v1/ns/a/batch", `{}`, nil, 400, dsv.CodeInvalid, "operations", 0},
		{"POST", "/v1/ns/a/batch", `{"operations":{}}`, nil, 400, dsv.CodeInvalid, "operations", 0},
		{"POST", "/v1/ns/a/batch", `{"ops":[]}`, nil, 400, dsv.CodeInvalid, "ops", 0},
		{"POST", "/v1/ns/a/batch?x=1", `{}`, nil, 400, dsv.CodeInvalid, "x", 0},
		{"POST", "/v1/ns/a/batch", `{"operations":[]}`, []string{"Idempotency-Key: " + long(129)}, 400, dsv.CodeInvalid, "Idempotency-Key", 0},
		{"POST", "/v1/ns/a/batch", `{"operations":[` + strings.TrimSuffix(ops.String(), ",") + `]}`, nil, 413, dsv.CodeTooLarge, "operations", 0},
		{"POST", "/v1/ns/a/batch", `{"operations":[` + strings.TrimSuffix(big, ",") + `]}`, nil, 413, dsv.CodeTooLarge, "operations", 4<<20/maxValue + 1},
		b(``, "operations", 0), b(`1`, "operations", 1), b(good+`,{}`, "op", 2), b(good+`,{"op":"rename","key":"B"}`, "op", 2), b(`{"op":1,"key":"A"}`, "op", 1),
		b(`{"op":"delete"}`, "key", 1), b(`{"op":"delete","key":".x"}`, "key", 1), b(`{"op":"delete","key":"`+long(129)+`"}`, "key", 1), b(`{"op":"delete","key":5}`, "key", 1),
		b(good+`,`+good, "key", 2), b(good+`,{"op":"get","key":"B"}`, "op", 2), b(`{"op":"get","key":"B"},`+good, "op", 2), b(`{"op":"create","key":"A"}`, "value", 1),
		b(`{"op":"create","key":"A","text":"x","value":""}`, "value", 1), b(`{"op":"delete","key":"A","text":"x"}`, "text", 1), b(`{"op":"get","key":"A","if_version":1}`, "if_version", 1),
		b(`{"op":"get","key":"A","version":0}`, "version", 1), b(`{"op":"create","key":"A","text":"x","version":1}`, "version", 1), b(`{"op":"destroy","key":"A"}`, "versions", 1),
		b(`{"op":"destroy","key":"A","versions":[2,1]}`, "versions", 1), b(`{"op":"delete","key":"A","all":true}`, "all", 1), b(`{"op":"create","key":"A","text":"x","secret":"y"}`, "secret", 1),
		b(`{"op":"create","key":"A","key":"A","text":"x"}`, "key", 1), b(`{"op":"put","key":"A","value":"!"}`, "value", 1), b(`{"op":"put","key":"A","text":"x","if_version":-1}`, "if_version", 1),
		tk(`{`+ns+`,`+verbs+`}`, "name"), tk(`{"name":"",`+ns+`,`+verbs+`}`, "name"), tk(`{"name":"`+long(129)+`",`+ns+`,`+verbs+`}`, "name"), tk(`{"name":"a\nb",`+ns+`,`+verbs+`}`, "name"),
		tk(`{"name":1,`+ns+`,`+verbs+`}`, "name"), tk(`{`+name+`,`+verbs+`}`, "prefixes"), tk(`{`+name+`,"prefixes":[],`+verbs+`}`, "prefixes"), tk(`{`+name+`,"prefixes":"a",`+verbs+`}`, "prefixes"),
		tk(`{`+name+`,"prefixes":["a/"],`+verbs+`}`, "prefixes"), tk(`{`+name+`,"prefixes":["*"],`+verbs+`}`, "prefixes"), tk(`{`+name+`,"prefixes":[1],`+verbs+`}`, "prefixes"),
		tk(`{`+name+`,`+ns+`}`, "verbs"), tk(`{`+name+`,`+ns+`,"verbs":[]}`, "verbs"), tk(`{`+name+`,`+ns+`,"verbs":["write"]}`, "verbs"), tk(`{`+name+`,`+ns+`,"verbs":["READ"]}`, "verbs"),
		tk(`{`+name+`,`+ns+`,"verbs":["admin"]}`, "verbs"), tk(`{`+name+`,`+ns+`,`+verbs+`,"expires":"soon"}`, "expires"), tk(`{`+name+`,`+ns+`,`+verbs+`,"expires":1}`, "expires"),
		tk(`{`+name+`,`+ns+`,`+verbs+`,"expires":"2020-01-01T00:00:00Z"}`, "expires"), tk(`{`+name+`,`+ns+`,`+verbs+`,"ttl":1}`, "ttl"),
		{"POST", "/v1/tokens", `{` + name + `,"prefixes":[` + many(65, `"a"`) + `],` + verbs + `}`, nil, 413, dsv.CodeTooLarge, "prefixes", 0},
		{"POST", "/v1/tokens", `{` + name + `,` + ns + `,"verbs":[` + many(17, `"read"`) + `]}`, nil, 413, dsv.CodeTooLarge, "verbs", 0},
		{"POST", "/v1/tokens", `{}`, []string{"Content-Type: text/plain"}, 415, dsv.CodeUnsupportedMedia, "", 0},
	}
}

const maxValue = 256 << 10 // configured here, so that the table stays quick

func TestBadInput(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, func(c *api.Config) { c.MaxValue = maxValue })
	token := v.Token(auth.AllVerbs, "")
	for _, table := range [][]bad{badNames(), badParameters(), badValues(), badOthers()} {
		for _, tt := range table {
			what := fmt.Sprintf("%s %.80s %.80q %.80q", tt.method, tt.path, tt.body, tt.headers)
			r := call(t, n, tt.method, tt.path, token, tt.body, tt.headers...)
			if tt.method == "HEAD" {
				if r.StatusCode != tt.status || r.Header.Get("DSV-Code") != string(tt.code) {
					t.Errorf("%s: %d %s", what, r.StatusCode, r.Header.Get("DSV-Code"))
				}
				continue
			}
			if r.StatusCode != tt.status {
				t.Errorf("%s: %d %.200s, want %d", what, r.StatusCode, r.body, tt.status)
				continue
			}
			p := mustProblem(t, r, tt.status, tt.code)
			if p.Field != tt.field || p.Index != tt.index || p.Detail == "" {
				t.Errorf("%s: field %q index %d, want %q %d: %s", what, p.Field, p.Index, tt.field, tt.index, p.Detail)
			}
		}
	}
	if got := calls(v); got != 0 {
		t.Errorf("%d calls reached the vault", got)
	}
}

// TestGoodAtTheBounds is the other side: what is just allowed is taken.
func TestGoodAtTheBounds(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, func(c *api.Config) { c.MaxValue = maxValue })
	token := v.Token(auth.AllVerbs, "")
	ns := strings.TrimSuffix(strings.Repeat(long(64)+"%2F", 8), "%2F")
	for i, tt := range []struct {
		body    string
		headers []string
		size    int
	}{
		{`{"text":"` + long(maxValue) + `"}`, nil, maxValue},
		{`{"value":"` + base64.StdEncoding.EncodeToString(make([]byte, maxValue)) + `"}`, nil, maxValue},
		{strings.Repeat("\x00", maxValue), []string{"Content-Type: application/octet-stream"}, maxValue},
		{"", []string{"Content-Type: application/octet-stream", "Idempotency-Key: " + long(128)}, 0},
		{` { "text" : "` + strings.Repeat(`\n`, 1000) + `" , "if_version" : 0 } ` + "\r\n\t", []string{"Content-Type: Application/JSON; charset=UTF-8"}, 1000},
		{`{"text":"\ud83d\ude00\u0000\/\b\f\r\t\\"}`, nil, 11},
		{`{"text":""}`, nil, 0},
	} {
		path := fmt.Sprintf("/v1/ns/%s/secrets/%s%d", ns, long(127), i)
		mustStatus(t, call(t, n, "POST", path, token, tt.body, tt.headers...), 201)
		r := call(t, n, "GET", path, token, "", "Accept: application/octet-stream")
		if len(r.body) != tt.size {
			t.Errorf("%d: %d bytes back, want %d", i, len(r.body), tt.size)
		}
	}
	// Without Content-Length the bound holds as well.
	r, err := http.NewRequest("PUT", n.URL+secretPath, io.MultiReader(bytes.NewReader(make([]byte, maxValue)), strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Authorization", "Bearer "+token)
	if p := mustProblem(t, do(t, n, r), 413, dsv.CodeTooLarge); p.Field != "value" {
		t.Errorf("%+v", p)
	}
}

// TestRefusedBodiesOverHTTP2: the problem arrives although most of the body
// was never read. A "Connection: close" there would cut it off.
func TestRefusedBodiesOverHTTP2(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: n.Roots}, ForceAttemptHTTP2: true}}
	defer c.CloseIdleConnections()
	for token, status := range map[string]int{v.Token(auth.AllVerbs, ""): 413, "none": 401} {
		r, err := http.NewRequest("PUT", n.URL+secretPath, bytes.NewReader(make([]byte, 8<<20)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != status || !bytes.Contains(b, []byte(`"status":`+strconv.Itoa(status))) {
			t.Errorf("HTTP/%d %d %s, %v", resp.ProtoMajor, resp.StatusCode, b, err)
		}
	}
}
