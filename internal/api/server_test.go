package api_test

import (
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
	if strings.Contains(r.body, "hidden") || strings.Contains(r.body, "HIDDEN") {
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
