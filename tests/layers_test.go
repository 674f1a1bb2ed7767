package tests

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/dsvault/dsv"

// row is one package of the house. A package imports only packages on lower
// floors, further narrowed by only and never; what it may take from outside
// the module is free unless the library has an owner (owners) or the package
// is a leaf (then outside lists it all).
type row struct {
	pkg     string   // relative to the module; "" is the root package, "x/…" is every package under x
	floor   int      // 0 is the ground
	only    []string // when set: the DSV packages it may import, and no other
	never   []string // DSV packages on lower floors that it must not import all the same
	users   []string // when set: the only packages that may import this one
	outside []string // leaves: the outside libraries (path prefixes) it may import
	testing bool     // help for tests: any test may import it, no code may
	why     string
}

// Floors of the house, from the ground up.
const (
	ground = iota
	leaf
	judges // auth, keeper: decisions and keys over leaves
	items
	machine
	copyFloor
	peers
	transactions
	repairs
	verbs
	doors
	assembly
	installation
	development
	commands
	plays
)

// house is the table of design: floors, and a reason per row.
var house = []row{
	{pkg: "", floor: ground, why: "the words of the system; imports nothing of DSV, does no I/O"},

	{pkg: "client", floor: leaf, why: "Go client of the HTTP API: what an outside program may import, so words only"},
	{pkg: "internal/shard", floor: leaf, outside: []string{"github.com/hashicorp/vault/shamir", "github.com/klauspost/reedsolomon"},
		why: "bytes in, n shards out: knows no names, no network, no disk"},
	{pkg: "internal/commitlog", floor: leaf, outside: []string{"github.com/twmb/franz-go", "google.golang.org/protobuf"},
		why: "sealed bytes in an order: knows positions, not records"},
	{pkg: "internal/store", floor: leaf, outside: []string{"github.com/dgraph-io/badger/v4", "github.com/google/btree", "golang.org/x/sys"},
		why: "keys and values with transactions: knows no type of ours"},
	{pkg: "internal/gossip", floor: leaf, outside: []string{"github.com/hashicorp/memberlist", "google.golang.org/protobuf"},
		why: "hints between nodes: decides nothing, so it must know nothing"},
	{pkg: "internal/dotenv", floor: leaf, outside: []string{"go.yaml.in/yaml/v3"}, why: "text in, text out; dsvctl uses it without a node"},
	{pkg: "internal/identity", floor: leaf, outside: []string{"github.com/spiffe/go-spiffe/v2", "github.com/google/renameio/v2", "golang.org/x/sys"},
		why: "certificates, TLS and key files; every wire stands on it"},
	{pkg: "internal/meta/metapb", floor: leaf, outside: []string{"google.golang.org/protobuf"},
		users: []string{"internal/meta", "internal/auth", "internal/replica", "internal/peer", "internal/txn", "internal/coordinator", "internal/repair", "internal/node", "internal/setup"},
		why:   "generated data of the log's language; whoever builds, judges or reads a record speaks it, leaves and doors do not"},
	{pkg: "internal/peer/memnet", floor: leaf, testing: true, why: "a network in memory; no process ever runs on it"},

	{pkg: "internal/auth", floor: judges, never: []string{"internal/store", "internal/commitlog", "internal/gossip", "internal/shard"},
		why: "tokens and policies as pure decisions: no I/O at all"},
	{pkg: "internal/keeper", floor: judges, never: []string{"internal/store", "internal/commitlog", "internal/gossip"},
		why: "the root key and its keepers: a keeper has no disk, no log and no view of the cluster"},
	{pkg: "internal/datastore", floor: items, only: []string{"", "internal/store"}, why: "typed items and index rows over store, and nothing else"},
	{pkg: "internal/meta", floor: machine, only: []string{"", "internal/datastore", "internal/store", "internal/meta/metapb"},
		why: "the deterministic machine: no clock, no randomness, no log, no network"},
	{pkg: "internal/replica", floor: copyFloor, never: []string{"internal/gossip", "internal/keeper", "internal/dotenv"},
		why: "this node's copy: joins log, machine and store; never dials anyone"},
	{pkg: "internal/peer", floor: peers, never: []string{"internal/gossip", "internal/keeper", "internal/dotenv"},
		why: "node to node; judges each caller again with auth, asks the replica for rows"},
	{pkg: "internal/txn", floor: transactions, never: []string{"internal/gossip", "internal/keeper", "internal/dotenv", "internal/identity"},
		why: "one transaction for coordinator and repair; names a store transaction, never opens a store"},
	{pkg: "internal/repair", floor: repairs, never: []string{"internal/auth", "internal/gossip", "internal/keeper", "internal/dotenv"},
		why: "sees no request and no policy"},
	{pkg: "internal/coordinator", floor: verbs, never: []string{"internal/gossip", "internal/keeper", "internal/identity"},
		why: "one file per verb; knows a request and a caller, not where the root key or a peer's certificate comes from"},
	{pkg: "internal/api", floor: doors, never: []string{"internal/store", "internal/datastore", "internal/shard", "internal/keeper", "internal/commitlog", "internal/replica", "internal/peer", "internal/txn", "internal/meta", "internal/gossip"},
		why: "HTTP only: a handler that could reach a shard or a key would be a way around the guard"},
	{pkg: "internal/api/apitest", floor: assembly, testing: true, why: "the API over a vault in memory: what stands beside the coordinator is tested on it"},
	{pkg: "internal/node", floor: assembly, why: "builds the one node that main and the tests run; the only place that knows all parts"},
	{pkg: "internal/setup", floor: installation, why: "writes what a node reads: so above node, for its Config"},

	{pkg: "internal/dev", floor: development, why: "a whole cluster in one process for `dsvnode dev` and tests: sets up, then runs the same nodes"},

	{pkg: "cmd/dsvctl", floor: commands, only: []string{"", "client", "internal/dotenv", "internal/setup"},
		why: "what a user meets goes over the HTTP API; init is the one thing done before there is a cluster"},
	{pkg: "cmd/dsvnode", floor: commands, never: []string{"internal/store", "internal/shard", "internal/meta", "internal/coordinator", "internal/replica"},
		why: "flags and environment -> a Config -> Run"},

	{pkg: "tests", floor: plays, why: "plays with the whole house; may import anything"},
	{pkg: "tests/…", floor: plays, testing: true, why: "demo, bench, a Kafka to test on; no code of the house imports them"},
}

// owners: one owner per outside library, and nobody else.
var owners = map[string]string{
	"github.com/hashicorp/vault":       "internal/shard",
	"github.com/klauspost/reedsolomon": "internal/shard",
	"github.com/twmb/franz-go":         "internal/commitlog",
	"github.com/dgraph-io/badger":      "internal/store",
	"github.com/hashicorp/memberlist":  "internal/gossip",
	"github.com/go-chi/chi":            "internal/api",
}

// within names the only packages of an owned module that even its owner uses.
var within = map[string]string{
	"github.com/hashicorp/vault": "github.com/hashicorp/vault/shamir", // the rest of the module is BUSL-1.1
}

// imports of one package, tests apart: paths as written in the source.
type imports struct{ code, tests []string }

// graph maps a package, relative to the module, to its imports.
type graph map[string]imports

func TestLayers(t *testing.T) {
	g, err := readGraph("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(g) < 5 {
		t.Fatalf("read only %d packages: the graph is not being read", len(g))
	}
	for _, f := range faults(house, g) {
		t.Error(f)
	}
}

// TestLayersCanFail feeds the check graphs with one wrong arrow each.
func TestLayersCanFail(t *testing.T) {
	own := module + "/"
	for _, c := range []struct{ name, pkg, imp, want string }{
		{"upstairs", "internal/store", own + "internal/meta", "upstairs"},
		{"the root imports a leaf", "", own + "internal/shard", "upstairs"},
		{"sideways between leaves", "internal/gossip", own + "internal/commitlog", "sideways"},
		{"api reaches the store", "internal/api", own + "internal/store", "must not"},
		{"api reaches a shard", "internal/api", own + "internal/shard", "must not"},
		{"repair sees policy", "internal/repair", own + "internal/auth", "must not"},
		{"dsvctl reaches inside", "cmd/dsvctl", own + "internal/peer", "may import only"},
		{"record language in a door", "internal/api", own + "internal/meta/metapb", "is for"},
		{"the house imports its tests", "cmd/dsvnode", own + "tests/demo", "help for tests"},
		{"chi outside api", "internal/peer", "github.com/go-chi/chi/v5", "belongs to internal/api"},
		{"franz-go outside commitlog", "internal/replica", "github.com/twmb/franz-go/pkg/kgo", "belongs to internal/commitlog"},
		{"badger outside store", "internal/node", "github.com/dgraph-io/badger/v4", "belongs to internal/store"},
		{"memberlist outside gossip", "internal/node", "github.com/hashicorp/memberlist", "belongs to internal/gossip"},
		{"shamir outside shard", "internal/keeper", "github.com/hashicorp/vault/shamir", "belongs to internal/shard"},
		{"the rest of vault", "internal/shard", "github.com/hashicorp/vault/helper", "only github.com/hashicorp/vault/shamir"},
		{"reedsolomon outside shard", "internal/peer", "github.com/klauspost/reedsolomon", "belongs to internal/shard"},
		{"a leaf with another library", "internal/shard", "github.com/spf13/cobra", "is not in its row"},
		{"help for tests in code", "internal/node", own + "internal/peer/memnet", "help for tests"},
		{"a package without a row", "internal/utils", "fmt", "has no row"},
		{"an import without a row", "internal/node", own + "internal/utils", "has no row"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for kind, imp := range map[string]imports{"code": {code: []string{c.imp}}, "test": {tests: []string{c.imp}}} {
				got := faults(house, graph{c.pkg: imp})
				lenient := kind == "test" && slices.Contains([]string{"sideways", "must not", "may import only", "is for", "help for tests", "is not in its row"}, c.want)
				switch {
				case lenient && len(got) != 0:
					t.Errorf("%s: %q, want none: tests only may not look upstairs or borrow owned libraries", kind, got)
				case !lenient && (len(got) != 1 || !strings.Contains(got[0], c.want)):
					t.Errorf("%s: %q, want one fault with %q", kind, got, c.want)
				}
			}
		})
	}
	good := graph{
		"internal/meta":  {code: []string{"fmt", module, own + "internal/store", own + "internal/meta/metapb"}},
		"internal/shard": {code: []string{"github.com/hashicorp/vault/shamir"}},
		"tests/demo":     {code: []string{own + "internal/node", "github.com/twmb/franz-go/pkg/kgo"}},
	}
	if got := faults(house, good); len(got) != 0 {
		t.Errorf("good arrows are refused: %q", got)
	}
}

// TestHouseTable: every row has a reason, one row per package, and each name
// in it is a row itself.
func TestHouseTable(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range house {
		if r.why == "" || seen[r.pkg] {
			t.Errorf("%q: no reason, or twice", r.pkg)
		}
		seen[r.pkg] = true
	}
	for _, r := range house {
		for _, p := range slices.Concat(r.only, r.never, r.users) {
			if !seen[p] {
				t.Errorf("%q names %q, which has no row", r.pkg, p)
			}
		}
	}
	for lib, o := range owners {
		if !seen[o] {
			t.Errorf("%s is owned by %q, which has no row", lib, o)
		}
	}
}

// TestMainsAreShort: a main parses flags and runs; work belongs below.
func TestMainsAreShort(t *testing.T) {
	mains, err := filepath.Glob("../cmd/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mains {
		b, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b, []byte("\n")); n >= 60 {
			t.Errorf("%s has %d lines: under 60, move work to another file or floor", m, n)
		}
	}
}

// faults lists everything in g that the table forbids.
func faults(table []row, g graph) []string {
	var out []string
	for _, pkg := range slices.Sorted(maps.Keys(g)) {
		from, ok := find(table, pkg)
		if !ok {
			out = append(out, fmt.Sprintf("%s has no row in the table of floors: add one with a reason", name(pkg)))
			continue
		}
		for _, imp := range g[pkg].code {
			out = append(out, arrow(table, from, pkg, imp, false)...)
		}
		for _, imp := range g[pkg].tests {
			out = append(out, arrow(table, from, pkg, imp, true)...)
		}
	}
	return out
}

// arrow judges one import. Test files may look sideways, so that a leaf's
// test can use another leaf; never upstairs, never at another's library.
func arrow(table []row, from row, pkg, imp string, test bool) []string {
	if from.floor == plays {
		return nil
	}
	fault := func(format string, a ...any) []string {
		return []string{fmt.Sprintf("%s imports %s: ", name(pkg), imp) + fmt.Sprintf(format, a...)}
	}
	target, ours := strings.CutPrefix(imp, module)
	target = strings.TrimPrefix(target, "/")
	if !ours {
		return outside(from, pkg, imp, test, fault)
	}
	to, ok := find(table, target)
	switch {
	case !ok:
		return fault("%s has no row in the table of floors", name(target))
	case target == pkg || test && to.testing:
		return nil
	case to.testing:
		return fault("it is help for tests (%s)", to.why)
	case to.floor > from.floor:
		return fault("the arrow points upstairs (%s)", from.why)
	case test:
		return nil
	case to.floor == from.floor:
		return fault("the arrow points sideways (%s)", from.why)
	case slices.Contains(from.never, target):
		return fault("it must not (%s)", from.why)
	case from.only != nil && !slices.Contains(from.only, target):
		return fault("it may import only %q (%s)", from.only, from.why)
	case to.users != nil && !slices.Contains(to.users, pkg):
		return fault("%s is for %q (%s)", target, to.users, to.why)
	}
	return nil
}

func outside(from row, pkg, imp string, test bool, fault func(string, ...any) []string) []string {
	for lib, owner := range owners {
		if !under(imp, lib) {
			continue
		}
		if owner != pkg {
			return fault("the library belongs to %s", owner)
		}
		if w, ok := within[lib]; ok && imp != w {
			return fault("only %s of that module may be used", w)
		}
	}
	std := !strings.Contains(strings.Split(imp, "/")[0], ".")
	if std || test || from.floor != leaf || from.pkg == "client" {
		return nil
	}
	if !slices.ContainsFunc(from.outside, func(p string) bool { return under(imp, p) }) {
		return fault("a leaf uses the root package, the standard library and its own library; this one is not in its row")
	}
	return nil
}

func under(imp, prefix string) bool { return imp == prefix || strings.HasPrefix(imp, prefix+"/") }

func find(table []row, pkg string) (row, bool) {
	for _, r := range table {
		if r.pkg == pkg {
			return r, true
		}
	}
	for _, r := range table {
		if p, ok := strings.CutSuffix(r.pkg, "/…"); ok && strings.HasPrefix(pkg, p+"/") {
			return r, true
		}
	}
	return row{}, false
}

func name(pkg string) string {
	if pkg == "" {
		return "the root package"
	}
	return pkg
}

// readGraph reads every package of the module under root, whatever its build
// tags; modules of their own, testdata and hidden folders are left out.
func readGraph(root string) (graph, error) {
	g := graph{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(root, p, d.Name())
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		pkg := path.Clean(filepath.ToSlash(rel))
		if pkg == "." {
			pkg = ""
		}
		im := g[pkg]
		for _, s := range f.Imports {
			v := strings.Trim(s.Path.Value, "\"`")
			if strings.HasSuffix(p, "_test.go") {
				im.tests = append(im.tests, v)
			} else {
				im.code = append(im.code, v)
			}
		}
		g[pkg] = im
		return nil
	})
	return g, err
}

func skip(root, p, base string) error {
	if p == root {
		return nil
	}
	_, err := os.Stat(filepath.Join(p, "go.mod"))
	if err == nil || base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return filepath.SkipDir
	}
	return nil
}
