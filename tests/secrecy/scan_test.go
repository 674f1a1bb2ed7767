package secrecy

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// TestNoMarkAnywhere stores values in every way there is, lets as many writes
// fail as there are ways to fail, breaks and repairs things meanwhile, and then
// looks for the values, the names and the tokens everywhere.
func TestNoMarkAnywhere(t *testing.T) {
	h := theHouse(t)
	tokens := h.tokens(t)
	h.store(t)
	h.storeByCommand(t)
	h.misplace(t)
	h.refusedWrites(t, tokens.reader)
	h.degradedWrites(t)
	h.refill(t, 1)
	h.stopAndStart(t) // so that all is in tables too, not in write-ahead logs alone

	marks := append([]mark{h.value, h.name}, tokens.marks...)
	h.scanFiles(t, tokens.marks)
	for i := range h.Nodes() {
		for _, path := range []string{"/metrics", "/v1/cluster", "/readyz?verbose", "/livez", "/v1/openapi.json"} {
			a := h.ask(t, i, "GET", path, "")
			if f := find([]byte(a.all), marks); f != "" || a.status != 200 {
				t.Errorf("%s of %s: %d, %s", path, h.NodeID(i), a.status, f)
			}
		}
	}
}

// made is the tokens of the test, and the marks of all secrets of tokens.
type made struct {
	reader, writer string
	marks          []mark
}

func (h *house) tokens(t *testing.T) made {
	t.Helper()
	var out made
	note := func(what, text string) string {
		secret := text[strings.LastIndexByte(text, '.')+1:]
		raw, err := base64.RawURLEncoding.DecodeString(secret)
		if err != nil || len(raw) != 32 {
			t.Fatalf("%s: a token is not of the form that this test knows", what)
		}
		out.marks = append(out.marks, markOf(what, secret), markOf(what+" (bytes)", string(raw)))
		return text
	}
	op := must[dsv.Secret](t)(h.Token())
	note("operator's token", string(op.Reveal()))
	for _, x := range []struct {
		verb string
		text *string
	}{{"read", &out.reader}, {"create", &out.writer}} {
		tok := must[client.Token](t)(h.cl.CreateToken(t.Context(), client.TokenRequest{Name: x.verb, Prefixes: []string{""}, Verbs: []string{x.verb}}))
		*x.text = note("token to "+x.verb, string(tok.Text.Reveal()))
	}
	told, err := h.ctl(t, h.dir, "", "token", "create", "--name", "by-command", "--verb", "read", "--prefix", "team-a")
	text := regexp.MustCompile(`dsv\.[0-9a-f]+\.[\w-]{43}`).FindString(told)
	if err != nil || text == "" {
		t.Fatalf("%v: %s", err, told)
	}
	note("token by dsvctl", text)
	return out
}

// store writes and reads in every way that works.
func (h *house) store(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	big := strings.Repeat("\n"+h.value.text, 8000)
	for i, tail := range []string{"", "-short", "\x00\xff bytes", big} {
		p := h.path(t, "way", fmt.Sprint("K", i))
		must[client.Written](t)(h.cl.Create(ctx, p, h.secret(tail), nil))
		must[client.Written](t)(h.cl.Update(ctx, p, h.secret(tail+" again"), nil))
		must[client.Written](t)(h.cl.Put(ctx, p, h.secret(tail+" and again"), nil))
		first := must[client.Found](t)(h.cl.Get(ctx, p, &client.ReadOptions{Version: 1}))
		if string(first.Value.Reveal()) != h.value.text+tail {
			t.Fatalf("%s: not what was stored", p)
		}
		must[client.Found](t)(h.cl.Get(ctx, p, &client.ReadOptions{At: first.ValidFrom.Time}))
		must[client.Found](t)(h.cl.Get(ctx, p, &client.ReadOptions{Consistency: client.Local}))
		must[client.History](t)(h.cl.History(ctx, p, nil))
		must[client.Shards](t)(h.cl.Shards(ctx, p))
	}
	p := h.path(t, "way", "K0")
	must[client.Names](t)(h.cl.List(ctx, p.NS, nil))
	must[client.Written](t)(h.cl.Delete(ctx, p, nil))
	must[client.Written](t)(h.cl.Undelete(ctx, p, nil))
	must[client.Written](t)(h.cl.Destroy(ctx, p, []uint64{1}, nil))
	var ops, gets []client.Op
	for i := range 8 {
		key := h.path(t, "batch", fmt.Sprint("B", i)).Key
		ops = append(ops, client.Op{Kind: client.OpCreate, Key: key, Value: h.secret(fmt.Sprint(i))})
		gets = append(gets, client.Op{Kind: client.OpGet, Key: key})
	}
	ns := h.path(t, "batch", "B").NS
	must[client.BatchResult](t)(h.cl.Batch(ctx, ns, ops, nil))
	must[client.BatchResult](t)(h.cl.Batch(ctx, ns, gets, nil))
	for i, body := range []string{
		`{"value":"` + base64.StdEncoding.EncodeToString([]byte(h.value.text)) + `"}`,
		`{"text":"` + h.value.text + ` \u00e4"}`,
	} {
		if a := h.ask(t, i, "POST", h.url(h.path(t, "json", fmt.Sprint("J", i)), ""), body); a.status != 201 {
			t.Fatalf("%d %s", a.status, a.all)
		}
	}
}

// url is the path of a secret in the API.
func (h *house) url(p dsv.Path, rest string) string {
	return "/v1/ns/" + strings.ReplaceAll(p.NS.String(), "/", "%2F") + "/secrets/" + p.Key.String() + rest
}

// storeByCommand lets dsvctl take values out of a .env file; where that fails
// it says nothing of them, and it leaves none behind in the folder.
func (h *house) storeByCommand(t *testing.T) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ns := h.path(t, "env", "E").NS.String()
	text := fmt.Sprintf("# settings\nPLAIN_%[2]s=%[1]s\nexport QUOTED_%[2]s=\"%[1]s with spaces\"\nLONG_%[2]s='%[1]s\n%[1]s'\n", h.value.text, strings.ToUpper(h.name.text))
	silent := func(out string) {
		t.Helper()
		if f := find([]byte(out), []mark{h.value}); f != "" {
			t.Errorf("dsvctl repeats %s", f)
		}
	}
	write := func() {
		if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	out, err := h.ctl(t, dir, "", "env", "encrypt", "-n", ns, ".env", "--all", "--in-place")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	silent(out)
	found, files, err := scanTree(dir, []mark{h.value}, nil)
	if err != nil || len(found) > 0 || files != 1 {
		t.Errorf("after env encrypt the folder has %d files; %v, %v", files, found, err)
	}
	if out, err := h.ctl(t, dir, "", "env", "render", "-n", ns, ".env"); err != nil || !strings.Contains(out, h.value.text+" with spaces") {
		t.Errorf("rendered: %v: %s", err, out)
	}
	write()
	for _, args := range [][]string{
		{"env", "encrypt", "-n", ns, ".env", "--all", "--in-place"}, // all exist
		{"env", "encrypt", "-n", ns + "/..bad//", ".env", "--all"},
		{"secret", "create", "-n", ns, "PLAIN_" + strings.ToUpper(h.name.text), "-"},
		{"secret", "update", "-n", ns, "missing", "@.env"},
	} {
		out, err := h.ctl(t, dir, h.value.text, args...)
		if err == nil {
			t.Errorf("%v does not fail: %s", args, out)
		}
		silent(out)
	}
	must[string](t)(h.ctl(t, dir, h.value.text, "secret", "create", "-n", ns, "stdin_"+h.name.text, "-"))
}

// misplace sends values where none belongs. The answer repeats none, but for
// the name of a field or parameter that does not exist.
func (h *house) misplace(t *testing.T) {
	t.Helper()
	v, p := h.value.text, h.path(t, "misplaced", "M")
	url, batch := h.url(p, ""), strings.TrimSuffix(h.url(p, ""), "/secrets/"+p.Key.String())+"/batch"
	for _, x := range []struct {
		method, path, body string
		headers            []string
		echo               bool
	}{
		{method: "POST", path: url, body: v},
		{method: "POST", path: url, body: `"` + v + `"`},
		{method: "POST", path: url, body: `{"value":"` + v + `!"}`},
		{method: "POST", path: url, body: `{"value":["` + v + `"]}`},
		{method: "POST", path: url, body: `{"value":{"text":"` + v + `"}}`},
		{method: "POST", path: url, body: `{"text":"` + v},
		{method: "POST", path: url, body: `{"text":"` + v + `\ud800"}`},
		{method: "POST", path: url, body: `{"text":"` + v + "\xff" + `"}`},
		{method: "POST", path: url, body: `{"text":"` + v + `"} {"text":"` + v + `"}`},
		{method: "POST", path: url, body: `{"text":"` + v + `","text":"` + v + `"}`},
		{method: "POST", path: url, body: `{"text":"` + v + `","value":"` + v + `"}`},
		{method: "POST", path: url, body: `{"text":"x","if_version":"` + v + `"}`},
		{method: "POST", path: url, body: `{"` + v + `":1}`, echo: true},
		{method: "POST", path: url, body: `{"text":"` + v + `"}`, headers: []string{"Content-Type: text/" + v}},
		{method: "POST", path: url, body: v, headers: []string{"Content-Type: text/plain"}},
		{method: "POST", path: url, body: `{"text":"` + v + `"}`, headers: []string{"If-Match: " + v}},
		{method: "POST", path: url, body: `{"text":"` + v + `"}`, headers: []string{"DSV-Requested-At: " + v}},
		{method: "POST", path: url, body: `{"text":"` + v + `"}`, headers: []string{"Idempotency-Key: " + strings.Repeat(v, 10)}},
		{method: "POST", path: url, body: `{"text":"` + v + `"}`, headers: []string{"Content-Encoding: " + v}},
		{method: "POST", path: url, body: `{"text":"` + v + `"}`, headers: []string{"Authorization: Bearer " + v}},
		{method: "POST", path: url, body: `{"text":"` + v + `"}`, headers: []string{"Authorization: " + v}},
		{method: "POST", path: url + "?upsert=" + v, body: `{"text":"x"}`, echo: true}, // upsert is none of POST's
		{method: "PUT", path: url + "?upsert=" + v, body: `{"text":"x"}`},
		{method: "GET", path: url + "?version=" + v},
		{method: "GET", path: url + "?at=" + v},
		{method: "GET", path: url + "?consistency=" + v},
		{method: "GET", path: url + "?" + v + "=1", echo: true},
		{method: "GET", path: url + "?%zz" + v},
		{method: "GET", path: url, headers: []string{"DSV-Min-Position: " + v}},
		{method: "GET", path: url, headers: []string{"Accept: " + v}},
		{method: "GET", path: "/v1/operations/" + v},
		{method: "GET", path: "/v1/" + v},
		{method: v, path: url},
		{method: "POST", path: url + "/destroy", body: `{"versions":["` + v + `"]}`},
		{method: "POST", path: batch, body: `{"operations":"` + v + `"}`},
		{method: "POST", path: batch, body: `{"operations":[{"op":"` + v + `","key":"K"}]}`},
		{method: "POST", path: batch, body: `{"operations":[{"op":"create","key":" ` + v + `","text":"x"}]}`},
		{method: "POST", path: batch, body: `{"operations":[{"op":"create","key":"K","text":"` + v + `"},{"op":"create","key":"K","text":"` + v + `"}]}`},
		{method: "POST", path: batch, body: `{"operations":[{"op":"get","key":"K","text":"` + v + `"}]}`},
		{method: "POST", path: "/v1/ns/" + v + "%00/secrets/K", body: `{"text":"` + v + `"}`},
		{method: "POST", path: "/v1/ns/a/secrets/." + v, body: `{"text":"` + v + `"}`},
		{method: "POST", path: "/v1/tokens", body: `{"name":"x","prefixes":["` + v + ` "],"verbs":["read"]}`},
		{method: "POST", path: "/v1/tokens", body: `{"name":"x","prefixes":["a"],"verbs":["` + v + `"]}`},
		{method: "DELETE", path: "/v1/tokens/" + v},
	} {
		a := h.ask(t, 2, x.method, x.path, x.body, x.headers...)
		what := strings.ReplaceAll(fmt.Sprintf("%s %s %s %q", x.method, x.path, x.body, x.headers), v, "VALUE")
		f := find([]byte(a.all), []mark{h.value})
		if a.status < 400 || a.status >= 500 || f != "" && !x.echo {
			t.Errorf("%s: %d; %s in %s", what, a.status, f, strings.ReplaceAll(a.all, v, "VALUE"))
		}
	}
}

// refusedWrites are well-formed writes that the vault refuses.
func (h *house) refusedWrites(t *testing.T, reader string) {
	t.Helper()
	p := h.path(t, "refused", "R")
	must[client.Written](t)(h.cl.Create(t.Context(), p, h.secret("1"), &client.WriteOptions{IdempotencyKey: "first-" + h.name.text}))
	text := func(tail string) string { return `{"text":"` + h.value.text + tail + `"}` }
	ops := `{"operations":[{"op":"create","key":"N_` + h.name.text + `","text":"` + h.value.text + `"},{"op":"create","key":"` + p.Key.String() + `","text":"` + h.value.text + `"}]}`
	ns := strings.TrimSuffix(h.url(p, ""), "/secrets/"+p.Key.String())
	for _, x := range []struct {
		method, path, body string
		status             int
		headers            []string
	}{
		{"POST", h.url(p, ""), text("2"), 409, nil},
		{"PUT", h.url(p, ""), text("3"), 412, []string{`If-Match: "7"`}},
		{"PUT", h.url(h.path(t, "refused", "absent"), ""), text("4"), 404, nil},
		{"POST", h.url(p, ""), text("5"), 422, []string{"Idempotency-Key: first-" + h.name.text}},
		{"POST", ns + "/batch", ops, 409, nil},
		{"POST", h.url(h.path(t, "refused", "large"), ""), text(strings.Repeat(h.value.text, 1<<20/markSize)), 413, nil},
		{"PUT", h.url(p, ""), text("6"), 403, []string{"Authorization: Bearer " + reader}},
		{"PUT", h.url(p, ""), text("7"), 401, []string{"Authorization: "}},
		{"GET", h.url(h.path(t, "refused", "absent"), "?version=3"), "", 404, nil},
	} {
		for i := range h.Nodes() {
			a := h.ask(t, i, x.method, x.path, x.body, x.headers...)
			if f := find([]byte(a.all), []mark{h.value}); f != "" || a.status != x.status {
				t.Errorf("%s %s %s on %s: %d, want %d; %s", x.method, x.path[:20], x.headers, h.NodeID(i), a.status, x.status, f)
			}
		}
	}
}

// degradedWrites are writes that a broken cluster cannot do.
func (h *house) degradedWrites(t *testing.T) {
	t.Helper()
	refused := func(what string, i int, status ...int) {
		t.Helper()
		p := h.path(t, "degraded", strings.ReplaceAll(what, " ", "-"))
		a := h.ask(t, i, "POST", h.url(p, ""), `{"text":"`+h.value.text+`"}`)
		if f := find([]byte(a.all), []mark{h.value}); f != "" || !slices.Contains(status, a.status) {
			t.Errorf("%s: %d, %s: %s", what, a.status, f, a.all)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(errors.Join(h.Node(3).Kill(), h.Node(4).Kill()))
	refused("two of five down", 0, 503, 504)
	check(h.Node(4).Start())
	check(h.WaitReady(t.Context(), 4))
	// With its keepers silent a node stays sealed.
	check(errors.Join(h.Keeper(0).Pause(), h.Keeper(1).Pause(), h.Node(3).Start()))
	eventually(t, "a sealed node answers", func() error {
		if a, err := h.try(3, "/livez"); err != nil || a != 200 {
			return fmt.Errorf("%d, %w", a, err)
		}
		return nil
	})
	refused("sealed", 3, 503)
	check(errors.Join(h.Keeper(0).Resume(), h.Keeper(1).Resume()))
	check(h.WaitReady(t.Context(), 3))
	check(h.PauseLog())
	refused("the log silent", 0, 503, 504)
	check(h.ResumeLog())
	eventually(t, "writes go again", func() error {
		_, err := h.cl.Put(t.Context(), h.path(t, "degraded", "again"), h.secret(time.Now().String()), nil)
		return err
	})
}

// refill loses a node's whole directory and waits until it has all its shards.
func (h *house) refill(t *testing.T, i int) {
	t.Helper()
	if err := errors.Join(h.Node(i).Stop(), os.RemoveAll(h.DataDir(i)), h.Node(i).Start(), h.WaitReady(t.Context(), i)); err != nil {
		t.Fatal(err)
	}
	h.allHolesFilled(t)
}

// allHolesFilled waits until every node has every shard it should hold.
func (h *house) allHolesFilled(t *testing.T) {
	t.Helper()
	eventually(t, "refilled", func() error {
		s, err := h.cl.Status(t.Context())
		if err != nil {
			return err
		}
		for _, n := range s.Members {
			if n.Holes != 0 {
				return fmt.Errorf("%s has %d holes", n.Node, n.Holes)
			}
		}
		return nil
	})
}

// stopAndStart closes every node cleanly, one after the other.
func (h *house) stopAndStart(t *testing.T) {
	t.Helper()
	for i := range h.Nodes() {
		if err := errors.Join(h.Node(i).Stop(), h.Node(i).Start(), h.WaitReady(t.Context(), i)); err != nil {
			t.Fatal(err)
		}
	}
}

// try asks node i without a token and gives the status.
func (h *house) try(i int, path string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return h.get(ctx, h.Endpoint(i)+path)
}

// scanFiles looks for all marks in all that the cluster has on disk.
func (h *house) scanFiles(t *testing.T, tokens []mark) {
	t.Helper()
	token := h.Layout().OperatorToken()
	found, files, err := scanTree(h.dir, append([]mark{h.value, h.name}, tokens...), func(p string) bool { return p == token })
	if err != nil {
		t.Fatal(err)
	}
	for p, hits := range found {
		t.Errorf("%s: %s", strings.TrimPrefix(p, h.dir), strings.Join(hits, ", "))
	}
	// The operator's token is found in its own file: the scan sees it.
	if hits, _, err := scanFile(token, tokens[:1]); err != nil || len(hits) == 0 {
		t.Errorf("the token is not found in its own file: %q, %v", hits, err)
	}
	for what, pattern := range map[string]string{
		"tables": "cluster/nodes/*/data/store/*.sst", "write-ahead logs": "cluster/nodes/*/data/store/*.mem", "value logs": "cluster/nodes/*/data/store/*.vlog",
		"configuration": "cluster/nodes/*/dsv.yaml", "logs of nodes": "n?.log", "logs of keepers": "k?.log",
	} {
		all, err := filepath.Glob(filepath.Join(h.dir, pattern))
		if err != nil || len(all) < 3 {
			t.Errorf("%s: %d files scanned, %v", what, len(all), err)
		}
	}
	log := int64(0) // what the brokers have on disk
	for _, pattern := range []string{"broker/*", "broker/*/*", "broker/*/*/*", "kafka/*/*/*.log", "kafka/*/*/*/*.log"} {
		for _, p := range must[[]string](t)(filepath.Glob(filepath.Join(h.dir, pattern))) {
			if st := must[os.FileInfo](t)(os.Stat(p)); st.Mode().IsRegular() {
				log += st.Size()
			}
		}
	}
	if log < 50_000 {
		t.Errorf("the log has %d bytes on disk: this test does not know where", log)
	}
	t.Logf("%d files hold no mark, %d bytes of them are the log", files, log)
}
