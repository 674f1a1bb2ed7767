package api_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/api"
	"github.com/dsvault/dsv/internal/api/apitest"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// TestLifeOfASecret takes every verb through the client and the real routes.
func TestLifeOfASecret(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	c := newClient(t, v.Token(auth.AllVerbs, ""), n)
	ctx := context.Background()
	p := mustPath(t, "team-a/app", "DB_PASSWORD")
	val := func(s string) dsv.Secret { return dsv.SecretOf([]byte(s)) }
	at := func(s int) client.Time { return client.Time{Time: apitest.Epoch.Add(time.Duration(s) * time.Second)} }

	w, err := c.Create(ctx, p, val("one\x00\xff"), nil)
	if err != nil || w.Version != 1 || w.ValidFrom != at(0) || !w.PreviousValidTo.IsZero() || w.Key != "DB_PASSWORD" || w.Namespace != "team-a/app" {
		t.Fatalf("create: %+v, %v", w, err)
	}
	if w.Position != (dsv.Position{Partition: 3, Offset: 1}) || w.Operation == "" {
		t.Errorf("create stands on %v, operation %q", w.Position, w.Operation)
	}
	if _, err = c.Create(ctx, p, val("x"), nil); dsv.CodeOf(err) != dsv.CodeExists || dsv.KindOf(err) != dsv.KindConflict {
		t.Errorf("second create: %v", err)
	}
	one := uint64(1)
	if w, err = c.Update(ctx, p, val("two"), &client.WriteOptions{IfVersion: &one}); err != nil || w.Version != 2 || w.PreviousValidTo != at(1) {
		t.Fatalf("update: %+v, %v", w, err)
	}
	if _, err = c.Update(ctx, p, val("x"), &client.WriteOptions{IfVersion: &one}); dsv.CodeOf(err) != dsv.CodeVersionMismatch {
		t.Errorf("stale update: %v", err)
	}
	if w, err = c.Update(ctx, p, val("two"), nil); err != nil || !w.Unchanged || w.Version != 2 {
		t.Errorf("equal update: %+v, %v", w, err)
	}
	if w, err = c.Put(ctx, p, val(""), nil); err != nil || w.Version != 3 {
		t.Errorf("put of the empty value: %+v, %v", w, err)
	}
	for _, tt := range []struct {
		o     *client.ReadOptions
		value string
		state string
	}{
		{nil, "", "current"},
		{&client.ReadOptions{Version: 1}, "one\x00\xff", "past"},
		{&client.ReadOptions{At: apitest.Epoch.Add(1500 * time.Millisecond)}, "two", "past"},
		{&client.ReadOptions{Consistency: client.Local}, "", "current"},
	} {
		f, err := c.Get(ctx, p, tt.o)
		if err != nil || string(f.Value.Reveal()) != tt.value || f.State != tt.state || f.Author == "" || f.PaddedSize != 64 {
			t.Errorf("get %+v: %+v, %v", tt.o, f, err)
		}
		h, err := c.Head(ctx, p, tt.o)
		f.Value = dsv.Secret{}
		if diff := cmp.Diff(f, h, cmp.Comparer(func(a, b dsv.Secret) bool { return a.Len() == b.Len() })); diff != "" || err != nil {
			t.Errorf("head differs from get: %s, %v", diff, err)
		}
		if tt.o != nil && tt.o.Consistency == client.Local && f.Lag != 25*time.Millisecond {
			t.Errorf("lag %v", f.Lag)
		}
	}
	if w, err = c.Delete(ctx, p, nil); err != nil || w.Version != 3 || w.PreviousValidTo.IsZero() || w.Operation == "" {
		t.Errorf("delete: %+v, %v", w, err)
	}
	for _, o := range []*client.ReadOptions{nil, {Version: 9}} {
		if _, err = c.Get(ctx, p, o); dsv.KindOf(err) != dsv.KindNotFound {
			t.Errorf("get %+v of a deleted secret: %v", o, err)
		}
		if _, err = c.Head(ctx, p, o); dsv.CodeOf(err) != dsv.CodeNotFound {
			t.Errorf("head %+v of a deleted secret: %v", o, err)
		}
	}
	if w, err = c.Undelete(ctx, p, nil); err != nil || w.Version != 3 {
		t.Errorf("undelete: %+v, %v", w, err)
	}
	if _, err = c.Undelete(ctx, p, nil); dsv.KindOf(err) != dsv.KindConflict {
		t.Errorf("second undelete: %v", err)
	}
	if _, err = c.Destroy(ctx, p, []uint64{1, 2}, nil); err != nil {
		t.Errorf("destroy: %v", err)
	}
	if _, err = c.Get(ctx, p, &client.ReadOptions{Version: 1}); dsv.CodeOf(err) != dsv.CodeDestroyed {
		t.Errorf("get of a destroyed version: %v", err)
	}
	if _, err = c.Head(ctx, p, &client.ReadOptions{Version: 1}); dsv.CodeOf(err) != dsv.CodeDestroyed {
		t.Errorf("head of a destroyed version: %v", err)
	}
	h, err := c.History(ctx, p, nil)
	if err != nil || len(h.Versions) != 3 {
		t.Fatalf("history: %+v, %v", h, err)
	}
	var states []string
	for _, ver := range h.Versions {
		states = append(states, ver.State)
	}
	if diff := cmp.Diff([]string{"destroyed", "destroyed", "current"}, states); diff != "" {
		t.Error(diff)
	}
	if ivs := h.Versions[2].Intervals; len(ivs) != 2 || !ivs[1].To.IsZero() || ivs[0].To.IsZero() {
		t.Errorf("intervals %v", ivs)
	}
	if s, err := c.Shards(ctx, p); err != nil || len(s.Versions) != 3 || s.Versions[0].Holders[2].State != "good" {
		t.Errorf("shards: %+v, %v", s, err)
	}
	if _, err = c.Destroy(ctx, p, nil, nil); err != nil || v.Count("destroy") != 2 {
		t.Errorf("destroy all: %v", err)
	}
	if w.Operation != "" {
		id, _ := dsv.ParseTxID(w.Operation)
		if o, err := c.Operation(ctx, id); err != nil || o.State != client.Committed || o.Results[0].Version != 1 {
			t.Errorf("operation: %+v, %v", o, err)
		}
	}
	if _, err := c.Operation(ctx, dsv.NewTxID(0, 1<<40)); dsv.CodeOf(err) != dsv.CodeForgotten || dsv.KindOf(err) != dsv.KindGone {
		t.Errorf("old operation: %v", err)
	}
}

func TestListPages(t *testing.T) {
	v := apitest.NewVault()
	c := newClient(t, v.Token(auth.AllVerbs, ""), apitest.Serve(t, v, nil))
	ctx := context.Background()
	for _, k := range []string{"B", "A", "C", "AA"} {
		if _, err := c.Create(ctx, mustPath(t, "ns", k), dsv.SecretOf([]byte(k)), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Delete(ctx, mustPath(t, "ns", "C"), nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	o := &client.ListOptions{Limit: 2, Deleted: true}
	for {
		page, err := c.List(ctx, mustPath(t, "ns", "x").NS, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range page.Names {
			got = append(got, n.Key)
		}
		if o.After = page.Next; o.After == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"A", "AA", "B", "C"}, got); diff != "" {
		t.Error(diff)
	}
	page, err := c.List(ctx, mustPath(t, "ns", "x").NS, &client.ListOptions{Prefix: "A"})
	if err != nil || len(page.Names) != 2 || page.Next != "" {
		t.Errorf("prefix: %+v, %v", page, err)
	}
}

func TestBatchThroughClient(t *testing.T) {
	v := apitest.NewVault()
	c := newClient(t, v.Token(auth.AllVerbs, ""), apitest.Serve(t, v, nil))
	ctx := context.Background()
	ns := mustPath(t, "ns/sub", "x").NS
	key := func(s string) dsv.Key { return mustPath(t, "x", s).Key }
	zero := uint64(0)
	r, err := c.Batch(ctx, ns, []client.Op{
		{Kind: client.OpCreate, Key: key("A"), Value: dsv.SecretOf([]byte("a")), IfVersion: &zero},
		{Kind: client.OpPut, Key: key("B"), Value: dsv.SecretOf(nil)},
	}, nil)
	if err != nil || len(r.Written) != 2 || r.Written[1].Key != "B" || r.Written[1].Version != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	r, err = c.Batch(ctx, ns, []client.Op{{Kind: client.OpGet, Key: key("B")}, {Kind: client.OpGet, Key: key("A"), Version: 1}}, nil)
	if err != nil || len(r.Found) != 2 || r.Found[0].Value.Len() != 0 || string(r.Found[1].Value.Reveal()) != "a" {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err = c.Batch(ctx, ns, []client.Op{
		{Kind: client.OpDelete, Key: key("A")}, {Kind: client.OpDestroy, Key: key("B"), Versions: []uint64{1}}, {Kind: client.OpCreate, Key: key("C")}, {Kind: client.OpUpdate, Key: key("NONE")},
	}, nil)
	if e := dsv.AsError(err); e == nil || e.Index != 4 || e.Code != dsv.CodeNotFound {
		t.Errorf("%+v", e)
	}
	if _, err := c.Get(ctx, dsv.Path{NS: ns, Key: key("C")}, nil); dsv.KindOf(err) != dsv.KindNotFound {
		t.Errorf("a refused batch left something: %v", err)
	}
}

func TestTokensThroughClient(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	c := newClient(t, v.Token(auth.AllVerbs, ""), n)
	ctx := context.Background()
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	made, err := c.CreateToken(ctx, client.TokenRequest{Name: "ci \"β\"", Prefixes: []string{"team-a"}, Verbs: []string{"read", "list"}, Expires: end})
	if err != nil || made.Text.Len() != 64 || !made.Expires.Equal(end) || made.Name != "ci \"β\"" {
		t.Fatalf("%+v, %v", made, err)
	}
	limited := newClient(t, string(made.Text.Reveal()), n)
	if _, err := limited.Get(ctx, mustPath(t, "team-a/x", "K"), nil); dsv.KindOf(err) != dsv.KindNotFound {
		t.Errorf("read inside: %v", err)
	}
	if _, err := limited.Get(ctx, mustPath(t, "team-b", "K"), nil); dsv.KindOf(err) != dsv.KindDenied {
		t.Errorf("read outside: %v", err)
	}
	list, err := c.ListTokens(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, x := range list {
		if x.Text.Len() != 0 {
			t.Error("a list holds a token's text")
		}
	}
	if err := c.RevokeToken(ctx, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := limited.Get(ctx, mustPath(t, "team-a/x", "K"), nil); dsv.KindOf(err) != dsv.KindUnauthenticated {
		t.Errorf("revoked: %v", err)
	}
	if err := c.RevokeToken(ctx, made.ID); dsv.KindOf(err) != dsv.KindNotFound {
		t.Errorf("revoked twice: %v", err)
	}
	if err := c.RevokeToken(ctx, "../cluster"); dsv.KindOf(err) != dsv.KindInvalid {
		t.Errorf("no id: %v", err)
	}
}

func TestAnswersOnTheWire(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	token := v.Token(auth.AllVerbs, "")
	r := call(t, n, "POST", "/v1/ns/team-a%2Fapp/secrets/K", token, `{"text":"a\"\u00e9\n"}`, "X-Request-ID: abc-1.2_3")
	mustStatus(t, r, 201)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Etag": `"1"`, "Location": "/v1/ns/team-a%2Fapp/secrets/K", "Cache-Control": "no-store",
		"X-Request-Id": "abc-1.2_3", "Dsv-Position": "3:1",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	op := dsv.TxID{Partition: 3, T0: 1}.String()
	want := `{"namespace":"team-a/app","key":"K","version":1,"valid_from":"2026-01-31T00:00:00.000000Z","previous_valid_to":null,"operation":"` + op + `"}`
	if r.body != want {
		t.Errorf("create\n got %s\nwant %s", r.body, want)
	}
	// The same secret by Location, by the header, and with a pointless escape.
	for _, get := range []reply{
		call(t, n, "GET", r.Header.Get("Location"), token, ""),
		call(t, n, "GET", "/v1/ns/-/secrets/K", token, "", "X-DSV-Namespace: team-a/app"),
		call(t, n, "GET", "/v1/ns/team-a%2Fapp/secrets/K", token, "", "X-DSV-Namespace: team-a/app"),
		call(t, n, "GET", "/v1/ns/team%2Da%2fapp/secrets/%4B", token, ""),
	} {
		mustStatus(t, get, 200)
		if !strings.Contains(get.body, `"value":"YSLDqQo="`) || !strings.Contains(get.body, `"valid_to":null`) {
			t.Errorf("get: %s", get.body)
		}
	}
	raw := call(t, n, "GET", "/v1/ns/team-a%2Fapp/secrets/K", token, "", "Accept: application/octet-stream")
	if raw.body != "a\"é\n" || raw.Header.Get("Content-Type") != "application/octet-stream" || raw.Header.Get("DSV-Version") != "1" {
		t.Errorf("raw: %q %v", raw.body, raw.Header)
	}
	del := call(t, n, "DELETE", "/v1/ns/team-a%2Fapp/secrets/K", token, "", `If-Match: "1"`)
	if del.StatusCode != 204 || del.body != "" || del.Header.Get("DSV-Valid-To") == "" || del.Header.Get("DSV-Position") != "3:2" {
		t.Errorf("delete: %d %q %v", del.StatusCode, del.body, del.Header)
	}
	mustStatus(t, call(t, n, "DELETE", "/v1/ns/team-a%2Fapp/secrets/K", token, `{"if_version":1}`), 404)
	if r := call(t, n, "PUT", "/v1/ns/a/secrets/NEW", token, `{"value":""}`, "If-None-Match: *"); r.StatusCode != 201 || r.Header.Get("Location") == "" {
		t.Errorf("PUT with If-None-Match: %d", r.StatusCode)
	}
	mustProblem(t, call(t, n, "PUT", "/v1/ns/a/secrets/NEW", token, `{"value":""}`, "If-None-Match: *"), 409, "exists")
	odd := call(t, n, "GET", "/livez", "", "", "X-Request-ID: not well formed")
	if id := odd.Header.Get("X-Request-Id"); id == "" || strings.Contains(id, " ") {
		t.Errorf("request id %q", id)
	}
}

func TestMetaReachesTheVault(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	token := v.Token(auth.AllVerbs, "")
	mustStatus(t, call(t, n, "POST", "/v1/ns/a/secrets/K", token, `{"text":"x"}`,
		"Idempotency-Key: order 7", "DSV-Requested-At: 2025-12-24T18:00:00.1234567+01:00", "X-Request-ID: r1"), 201)
	want := coordinator.RequestMeta{RequestID: "r1", IdempotencyKey: "order 7", RequestedAt: time.Date(2025, 12, 24, 17, 0, 0, 123456000, time.UTC)}
	if v.LastMeta != want {
		t.Errorf("got %+v, want %+v", v.LastMeta, want)
	}
	get := func(query string, headers ...string) coordinator.Read {
		t.Helper()
		mustStatus(t, call(t, n, "GET", "/v1/ns/a/secrets/K"+query, token, "", headers...), 200)
		return v.LastRead
	}
	if rd := get(""); rd.Consistency != coordinator.Strict || rd.MinPosition != nil {
		t.Errorf("%+v", rd)
	}
	if rd := get("?consistency=index"); rd.Consistency != coordinator.Index {
		t.Errorf("%+v", rd)
	}
	if rd := get("", "DSV-Min-Position: 4:77"); rd.MinPosition == nil || *rd.MinPosition != (dsv.Position{Partition: 4, Offset: 77}) {
		t.Errorf("%+v", rd)
	}
	if rd := get("?consistency=strict", "DSV-Min-Position: 4:77"); rd.MinPosition != nil {
		t.Errorf("strict by name: %+v", rd)
	}
	if rd := get("?at=2026-01-31T00%3A00%3A00.5%2B00:00"); !rd.At.Equal(apitest.Epoch.Add(time.Second / 2)) {
		t.Errorf("%+v", rd)
	}
}

// TestErrorsOfTheVault maps every kind through the one table and hides causes.
func TestErrorsOfTheVault(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	token := v.Token(auth.AllVerbs, "")
	secret := errors.New("badger: key team-a/hunter2")
	for _, tt := range []struct {
		err    *dsv.Error
		status int
		want   client.Problem
	}{
		{&dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotEnoughShards, Detail: "2 of 3 holders answered", Have: 2, Need: 3, Silent: []string{"n1", "n4"}, RetryAfter: 250 * time.Millisecond, Err: secret},
			503, client.Problem{Code: dsv.CodeNotEnoughShards, Detail: "2 of 3 holders answered", Have: new(2), Need: 3, Silent: []string{"n1", "n4"}, RetryAfter: .25}},
		{&dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotEnoughShards, Need: 3},
			503, client.Problem{Code: dsv.CodeNotEnoughShards, Detail: "not_enough_shards", Have: new(0), Need: 3}},
		{&dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeWriteQuorum, Detail: "x", Phase: dsv.PhaseWriting},
			503, client.Problem{Code: dsv.CodeWriteQuorum, Detail: "x", Phase: "writing"}},
		{&dsv.Error{Kind: dsv.KindUnknownOutcome, Code: dsv.CodeOutcomeUnknown, Detail: "x", Operation: "op1"},
			504, client.Problem{Code: dsv.CodeOutcomeUnknown, Detail: "x", Operation: "op1"}},
		{&dsv.Error{Kind: dsv.KindDiskFull, Code: dsv.CodeDiskFull, Detail: "x"}, 507, client.Problem{Code: dsv.CodeDiskFull, Detail: "x"}},
		{&dsv.Error{Kind: dsv.KindUnprocessable, Code: dsv.CodeIdempotencyReuse, Detail: "x"}, 422, client.Problem{Code: dsv.CodeIdempotencyReuse, Detail: "x"}},
		{&dsv.Error{Kind: dsv.KindTooMany, Code: dsv.CodeTooMany, Detail: "x", RetryAfter: 3 * time.Second}, 429, client.Problem{Code: dsv.CodeTooMany, Detail: "x", RetryAfter: 3}},
		{&dsv.Error{Kind: dsv.KindDenied, Code: dsv.CodeDenied, Detail: "because of rule 7", Err: secret}, 403, client.Problem{Code: dsv.CodeDenied, Detail: "the caller may not do this here"}},
		{&dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Field: "env", Detail: "has faults", Faults: []dsv.Fault{{Line: 3, Name: "A", Code: "not_found", Detail: "is missing"}}},
			400, client.Problem{Code: dsv.CodeInvalid, Field: "env", Detail: "env has faults", Faults: []dsv.Fault{{Line: 3, Name: "A", Code: "not_found", Detail: "is missing"}}}},
		{&dsv.Error{Kind: dsv.KindInternal, Code: dsv.CodeInternal, Detail: "row hunter2", Err: secret},
			500, client.Problem{Code: dsv.CodeInternal, Detail: "an internal error; the node's log has it under the request id"}},
	} {
		v.FailWith(func(string) error { return tt.err })
		r := call(t, n, "GET", "/v1/ns/a/secrets/K", token, "")
		p := mustProblem(t, r, tt.status, tt.err.Code)
		tt.want.Type, tt.want.Title, tt.want.Status, tt.want.RequestID = "urn:dsv:problem:"+string(tt.err.Code), p.Title, tt.status, p.RequestID
		if diff := cmp.Diff(tt.want, p); diff != "" || p.Title == "" {
			t.Errorf("%s: %s", tt.err.Code, diff)
		}
		if strings.Contains(r.body, "hunter2") {
			t.Errorf("a cause leaked: %s", r.body)
		}
		if (r.Header.Get("Retry-After") != "") != (tt.err.RetryAfter > 0) {
			t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
		}
	}
	v.FailWith(func(string) error { return errors.New("plain") })
	mustProblem(t, call(t, n, "GET", "/v1/ns/a/secrets/K", token, ""), 500, "internal")
	v.FailWith(func(string) error { return context.DeadlineExceeded })
	mustProblem(t, call(t, n, "GET", "/v1/ns/a/secrets/K", token, ""), 503, "not_ready")
	mustProblem(t, call(t, n, "PUT", "/v1/ns/a/secrets/K", token, `{"text":""}`), 504, "outcome_unknown")
	v.FailWith(func(string) error { panic("secret hunter2") })
	mustProblem(t, call(t, n, "GET", "/v1/ns/a/secrets/K", token, ""), 500, "internal")
}

func TestInFlightIsBounded(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, func(c *api.Config) { c.MaxInFlight = 1 })
	token := v.Token(auth.AllVerbs, "")
	inside, leave := make(chan struct{}), make(chan struct{})
	v.FailWith(func(op string) error {
		if op == "status" {
			close(inside)
			<-leave
		}
		return nil
	})
	first := make(chan reply)
	go func() { first <- call(t, n, "GET", "/v1/cluster", token, "") }()
	<-inside
	r := call(t, n, "GET", "/v1/cluster", "", "") // refused before it is asked who it is
	mustProblem(t, r, 429, "too_many_requests")
	if r.Header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
	}
	mustStatus(t, call(t, n, "GET", "/livez", "", ""), 200)
	close(leave)
	mustStatus(t, <-first, 200)
	mustStatus(t, call(t, n, "GET", "/v1/tokens", token, ""), 200)
}

func TestVaultGetsADeadline(t *testing.T) {
	v := apitest.NewVault()
	var left time.Duration
	n := apitest.Serve(t, deadlines{v, &left}, func(c *api.Config) { c.RequestTimeout = time.Minute })
	mustStatus(t, call(t, n, "GET", "/v1/cluster", v.Token(auth.List, ""), ""), 200)
	if left <= 50*time.Second || left > time.Minute {
		t.Errorf("the vault has %v", left)
	}
}

type deadlines struct {
	*apitest.Vault
	left *time.Duration
}

func (d deadlines) Status(ctx context.Context, s *coordinator.Session) (coordinator.Status, error) {
	end, _ := ctx.Deadline()
	*d.left = time.Until(end)
	return d.Vault.Status(ctx, s)
}

func TestOtherMethodsAndPaths(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	r := call(t, n, "PATCH", "/v1/ns/a%2Fb/secrets/K", "", "")
	mustProblem(t, r, 405, "method_not_allowed")
	if got := r.Header.Get("Allow"); got != "GET, HEAD, POST, PUT, DELETE" {
		t.Errorf("Allow %q", got)
	}
	mustProblem(t, call(t, n, "GET", "/v1/ns/a/b/secrets/K", "", ""), 404, "not_found")
	mustProblem(t, call(t, n, "GET", "/", "", ""), 404, "not_found")
}

func TestMetricsNameNoSecrets(t *testing.T) {
	v := apitest.NewVault()
	n := apitest.Serve(t, v, nil)
	mustStatus(t, call(t, n, "POST", "/v1/ns/hidden-ns/secrets/HIDDEN_KEY", v.Token(auth.AllVerbs, ""), `{"text":"x"}`), 201)
	r := call(t, n, "GET", "/metrics", "", "")
	mustStatus(t, r, 200)
	if !strings.Contains(r.body, `dsv_http_request_duration_seconds_count{code="201",method="POST",route="/v1/ns/{ns}/secrets/{key}"} 1`) {
		t.Errorf("no duration in %s", r.body)
	}
	if bytes.Contains([]byte(r.body), []byte("hidden")) || strings.Contains(r.body, "HIDDEN") {
		t.Error("a name stands in the metrics")
	}
}

func TestReadyz(t *testing.T) {
	v := apitest.NewVault()
	good := true
	n := apitest.Serve(t, v, func(c *api.Config) {
		c.Checks = func(context.Context) []api.Check {
			return []api.Check{{Name: "log", OK: good, Reason: "silent for 3 s"}, {Name: "store", OK: true}}
		}
	})
	for _, tt := range []struct {
		path, body string
		good       bool
		status     int
	}{
		{"/readyz", "ok\n", true, 200},
		{"/readyz?verbose", "[+]seal ok\n[+]log ok\n[+]store ok\nok\n", true, 200},
		{"/readyz", "[+]seal ok\n[-]log failed: silent for 3 s\n[+]store ok\nnot ready\n", false, 503},
	} {
		good = tt.good
		r := call(t, n, "GET", tt.path, "", "")
		if r.StatusCode != tt.status || r.body != tt.body {
			t.Errorf("%s: %d %q", tt.path, r.StatusCode, r.body)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := api.New(api.Config{}); dsv.AsError(err).Field != "state" {
		t.Errorf("%v", err)
	}
}
