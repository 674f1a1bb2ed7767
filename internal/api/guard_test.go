package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/api"
	"github.com/dsvault/dsv/internal/api/apitest"
	"github.com/dsvault/dsv/internal/auth"
)

// untouchable is a body that must not be read.
type untouchable struct{ read bool }

func (u *untouchable) Read([]byte) (int, error) { u.read = true; return 0, io.ErrUnexpectedEOF }
func (u *untouchable) Close() error             { return nil }

// pathOf fills a pattern with names.
func pathOf(rt api.Route, ns, key string) string {
	id := "0123456789abcdef"
	if strings.Contains(rt.Pattern, "operations") {
		id = dsv.NewTxID(1, 0).String()
	}
	return strings.NewReplacer("{ns}", ns, "{key}", key, "{id}", id).Replace(rt.Pattern)
}

type refusal struct {
	status int
	body   string
	read   bool
}

// send asks for a route with a body that must stay unread.
func send(h http.Handler, rt api.Route, path, token string, header http.Header) refusal {
	body := &untouchable{}
	r := httptest.NewRequest(rt.Method, path, body)
	r.ContentLength = 1 << 30
	if header != nil {
		r.Header = header.Clone()
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Request-ID", "fixed")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return refusal{w.Code, w.Body.String(), body.read}
}

// TestEveryRouteHasAGuard walks the router, not the table: a handler that came
// by another way than the table is found.
func TestEveryRouteHasAGuard(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	table := map[string]api.Route{}
	for _, rt := range n.Server.Routes() {
		table[rt.Method+" "+rt.Pattern] = rt
	}
	walked := api.WalkRoutes(t, n.Server)
	if len(walked) != len(table) {
		t.Errorf("router has %d routes, table %d", len(walked), len(table))
	}
	for _, name := range walked {
		rt, ok := table[name]
		if !ok {
			t.Errorf("%s is served but stands in no table", name)
			continue
		}
		if rt.Guard == api.Closed {
			t.Errorf("%s has no guard", name)
		}
		if (rt.Guard == api.Secret || rt.Guard == api.Namespace) && rt.Verbs == 0 {
			t.Errorf("%s asks for no verb", name)
		}
		if rt.Guard == api.Public && rt.Write {
			t.Errorf("%s is public and writes", name)
		}
	}
}

func TestRoutesTimesRoles(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	h := n.Server.Handler()
	everything := auth.AllVerbs &^ auth.Admin
	owner := v.Token(everything, "team-a")
	mustStatus(t, call(t, n, "POST", "/v1/ns/team-a/secrets/THERE", owner, `{"text":"x"}`), 201)

	right := map[api.Guard]string{
		api.Known: v.Token(auth.List, "elsewhere"), api.Admin: v.Token(auth.Admin, ""),
		api.Namespace: owner, api.Secret: owner,
	}
	for _, rt := range n.Server.Routes() {
		name := rt.Method + " " + rt.Pattern
		if rt.Guard == api.Public {
			if got := send(h, rt, rt.Pattern, "", nil); got.status/100 != 2 || got.read {
				t.Errorf("%s: public answers %d, body read %v", name, got.status, got.read)
			}
			continue
		}
		there, absent := pathOf(rt, "team-a", "THERE"), pathOf(rt, "team-a", "ABSENT")
		before := calls(v)
		for role, token := range map[string]string{
			"none": "", "garbage": "x", "unknown": string(auth.NewToken().Text().Reveal()), "upper": strings.ToUpper(owner),
		} {
			a, b := send(h, rt, there, token, nil), send(h, rt, absent, token, nil)
			if a.status != 401 || a != b || a.read {
				t.Errorf("%s as %s: %+v and %+v, want the same 401 with the body unread", name, role, a, b)
			}
		}
		denied := map[string]string{}
		if rt.Guard != api.Known {
			denied["other namespace"] = v.Token(everything, "team-ab", "team-b", "team-a/sub")
		}
		switch rt.Guard {
		case api.Admin:
			denied["no admin"] = v.Token(everything, "")
		case api.Secret:
			denied["verb missing"] = v.Token(everything&^rt.Verbs, "team-a")
			denied["admin alone"] = v.Token(auth.Admin, "")
		case api.Namespace:
			denied["verbs missing"] = v.Token(everything&^rt.Verbs, "team-a")
			denied["admin alone"] = v.Token(auth.Admin, "")
		}
		for role, token := range denied {
			a, b := send(h, rt, there, token, nil), send(h, rt, absent, token, nil)
			if a.status != 403 || a != b || a.read {
				t.Errorf("%s as %s: %+v and %+v, want the same 403 with the body unread", name, role, a, b)
			}
		}
		if after := calls(v); after != before {
			t.Errorf("%s: refused callers reached the vault", name)
		}
		if got := send(h, rt, there, right[rt.Guard], nil); got.status == 401 || got.status == 403 {
			t.Errorf("%s: the right caller gets %d %s", name, got.status, got.body)
		}
	}
}

func TestPutNeedsTheVerbsOfWhatItMayDo(t *testing.T) {
	v := apitest.NewVault()
	h := apitest.Serve(t, v, nil).Server.Handler()
	put := api.Route{Method: "PUT"}
	create, update := v.Token(auth.Create, "a"), v.Token(auth.Update, "a")
	both := v.Token(auth.Create|auth.Update, "a")
	onlyNew := http.Header{"If-None-Match": {"*"}}
	for _, tt := range []struct {
		name, path, token string
		header            http.Header
		denied            bool
	}{
		{"update with update", "/v1/ns/a/secrets/K", update, nil, false},
		{"update with create", "/v1/ns/a/secrets/K", create, nil, true},
		{"upsert with update", "/v1/ns/a/secrets/K?upsert=true", update, nil, true},
		{"upsert with create", "/v1/ns/a/secrets/K?upsert=true", create, nil, true},
		{"upsert with both", "/v1/ns/a/secrets/K?upsert=true", both, nil, false},
		{"if none match with update", "/v1/ns/a/secrets/K", update, onlyNew, true},
		{"if none match with create", "/v1/ns/a/secrets/K", create, onlyNew, false},
		{"twice, upsert=false first", "/v1/ns/a/secrets/K?upsert=false&upsert=true", update, nil, false}, // 400 later
		{"not upsert", "/v1/ns/a/secrets/K?upsert=false", create, nil, true},
	} {
		got := send(h, put, tt.path, tt.token, tt.header)
		if (got.status == 403) != tt.denied {
			t.Errorf("%s: %d %s", tt.name, got.status, got.body)
		}
	}
	if n := v.Count("put") + v.Count("create") + v.Count("update"); n != 0 {
		t.Errorf("%d writes took place", n)
	}
}

func TestBatchOperationsAreJudgedOneByOne(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	token := v.Token(auth.Create, "a")
	r := call(t, n, "POST", "/v1/ns/a/batch", token, `{"operations":[{"op":"create","key":"A","text":"1"},{"op":"delete","key":"B"}]}`)
	p := mustProblem(t, r, 403, "denied")
	if p.Index != 2 || v.Count("batch") != 0 {
		t.Errorf("index %d, batches %d", p.Index, v.Count("batch"))
	}
	r = call(t, n, "POST", "/v1/ns/a/batch", token, `{"operations":[{"op":"put","key":"A","text":"1"}]}`)
	mustProblem(t, r, 403, "denied")
}

func TestSealedAnswersProbesAlone(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	reason := "1 of 2 keepers hold this node's share"
	n.Sealed.Store(&reason)
	token := v.Token(auth.AllVerbs, "")
	for _, rt := range n.Server.Routes() {
		got := send(n.Server.Handler(), rt, pathOf(rt, "a", "K"), token, nil)
		switch {
		case rt.Pattern == "/readyz":
			if got.status != 503 || !strings.Contains(got.body, "[-]seal failed: "+reason) {
				t.Errorf("readyz: %d %q", got.status, got.body)
			}
		case rt.Guard == api.Public:
			if got.status != 200 {
				t.Errorf("%s: %d", rt.Pattern, got.status)
			}
		default:
			var p struct{ Code, Detail string }
			if rt.Method != "HEAD" {
				_ = json.Unmarshal([]byte(got.body), &p)
			}
			if got.status != 503 || got.read || rt.Method != "HEAD" && (p.Code != "sealed" || !strings.Contains(p.Detail, reason)) {
				t.Errorf("%s %s: %+v", rt.Method, rt.Pattern, got)
			}
		}
	}
	n.Sealed.Store(nil)
	mustStatus(t, call(t, n, "GET", "/readyz", "", ""), 200)
	n.Server.SetVault(nil)
	mustProblem(t, call(t, n, "GET", "/v1/cluster", token, ""), 503, "not_ready")
	mustStatus(t, call(t, n, "GET", "/readyz", "", ""), 503)
}

// calls is how many calls of any name got through.
func calls(v *apitest.Vault) int {
	sum := 0
	for _, op := range []string{"create", "update", "put", "delete", "undelete", "destroy", "get", "head", "history", "list", "batch", "shards", "operation", "status", "token create", "token list", "token revoke"} {
		sum += v.Count(op)
	}
	return sum
}
