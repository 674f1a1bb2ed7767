package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/api/apitest"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dsvctl": main})
}

type nodeKey struct{}

// served is the node behind one script.
type served struct {
	*apitest.Vault
	*apitest.Node
}

// TestScripts runs testdata/*.txtar: each has a node of its own, real TLS, and
// the token files operator.token (everything), reader.token (read and list
// under team-a) and unknown.token.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			v := apitest.NewVault()
			n := apitest.Serve(t, v, nil)
			env.Values[nodeKey{}] = served{v, n}
			for name, token := range map[string]string{
				"operator": v.Token(auth.AllVerbs, ""), "reader": v.Token(auth.Read|auth.List, "team-a"), "creator": v.Token(auth.Create, "team-a"),
				"unknown": string(auth.NewToken().Text().Reveal()),
			} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name+".token"), []byte(token+"\n"), 0o600); err != nil {
					return err
				}
			}
			if err := writeOtherCA(filepath.Join(env.WorkDir, "other.pem")); err != nil {
				return err
			}
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("DSV_ADDR", n.URL)
			env.Setenv("DSV_CA", n.CAFile)
			env.Setenv("DSV_TOKEN_FILE", filepath.Join(env.WorkDir, "operator.token"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code":  code,
			"mode":  mode,
			"fail":  fail,
			"state": state,
			"seal":  seal,

			"outcome": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Value(nodeKey{}).(served).Vault.SetOutcome(args[0])
			},
		},
	})
}

// writeOtherCA writes a certificate that signed nothing here.
func writeOtherCA(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

// code runs the rest and asks for the exit code: code 3 dsvctl secret get …
func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// mode asks for the permissions of a file: mode 600 FILE
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("mode %s, want %s", got, args[0])
	}
}

// fail makes calls of a name fail from now on: fail get 503 not_enough_shards;
// fail without arguments ends it.
func fail(ts *testscript.TestScript, _ bool, args []string) {
	v := ts.Value(nodeKey{}).(served).Vault
	if len(args) == 0 {
		v.FailWith(nil)
		return
	}
	status, err := strconv.Atoi(args[1])
	ts.Check(err)
	v.FailWith(func(op string) error {
		if op != args[0] {
			return nil
		}
		return &dsv.Error{
			Kind: dsv.KindOfStatus(status), Code: dsv.Code(args[2]), Detail: "as the test wants",
			Have: 2, Need: 3, Silent: []string{"n2", "n4"}, Operation: dsv.TxID{Partition: 1}.String(),
		}
	})
}

// state sets what status answers: state degraded
func state(ts *testscript.TestScript, _ bool, args []string) {
	at := apitest.Epoch
	ts.Value(nodeKey{}).(served).Vault.SetState(coordinator.Status{
		Cluster: "test", Node: "n1", Software: "0.1", State: args[0], Why: []string{"n2 does not answer"},
		Quorum: dsv.Quorum{K: 3, N: 5, W: 4}, Reachable: 4, Margin: 1,
		Members: []coordinator.MemberStatus{
			{Node: "n1", Addr: "h1:1", State: "alive", Position: 42, Shards: 7, RTT: 400 * time.Microsecond, LastSeen: at},
			{Node: "n2", Addr: "h2:1", State: "dead", Sealed: true, Position: 40, Lag: 2, Shards: -1, Holes: -1, Staged: -1},
		},
		Keepers:    []coordinator.KeeperStatus{{Keeper: "k1", Reachable: true, Holds: true, Generation: 1, LastSeen: at}, {Keeper: "k2", Problem: "connection refused"}},
		Log:        coordinator.LogStatus{Brokers: []string{"b1:9092"}, Available: true, Good: true},
		Partitions: []coordinator.PartitionStatus{{Partition: 0, Applied: 10, End: 13, T: at, Pending: 1}, {Partition: 1, End: 0, Diverged: "gap at 7"}},
	})
}

// seal seals the node: seal REASON, or opens it again: seal
func seal(ts *testscript.TestScript, _ bool, args []string) {
	n := ts.Value(nodeKey{}).(served).Node
	if len(args) == 0 {
		n.Sealed.Store(nil)
		return
	}
	n.Sealed.Store(&args[0])
}

// TestExitCodes maps every kind of answer.
func TestExitCodes(t *testing.T) {
	for status, want := range map[int]int{
		400: exitUsage, 401: exitDenied, 403: exitDenied, 404: exitNotFound, 405: exitServer, 409: exitConflict, 410: exitNotFound, 412: exitConflict,
		413: exitUsage, 415: exitUsage, 422: exitConflict, 429: exitServer, 500: exitServer, 502: exitServer, 503: exitUnavailable, 504: exitServer, 507: exitServer,
	} {
		if got := exitCode(&dsv.Error{Kind: dsv.KindOfStatus(status)}); got != want {
			t.Errorf("%d: exit code %d, want %d", status, got, want)
		}
	}
}

// TestYAMLKeepsTypes: what is a string stays one.
func TestYAMLKeepsTypes(t *testing.T) {
	v := struct {
		S string   `json:"s"`
		T string   `json:"t"`
		N int      `json:"n"`
		L []string `json:"l"`
		E []string `json:"e"`
	}{"123", "2026-01-31T00:00:00.000000Z", 5, []string{"true", "a: b"}, []string{}}
	got, err := yamlOf(v)
	want := "s: \"123\"\nt: \"2026-01-31T00:00:00.000000Z\"\nn: 5\nl:\n  - \"true\"\n  - 'a: b'\ne: []\n"
	if err != nil || string(got) != want {
		b, _ := json.Marshal(v)
		t.Errorf("of %s\n got %s\nwant %s, %v", b, got, want, err)
	}
}
