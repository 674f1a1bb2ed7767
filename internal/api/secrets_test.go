package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
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
