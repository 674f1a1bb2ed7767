package keeper

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
)

func TestServerRules(t *testing.T) {
	s, err := NewServer(ServerConfig{Listener: newMemNet().listen("k"), Insecure: true, MaxNodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	call := func(node, method, path, generation string, body []byte, claim ...string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(method, path, bytes.NewReader(body))
		r.Header.Set(headNode, node)
		if generation != "" {
			r.Header.Set(headGeneration, generation)
		}
		if len(claim) > 0 {
			r.Header.Set(headClaim, claim[0])
		}
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, r)
		return w
	}
	one, two := []byte("share one"), []byte("share two")
	id := strings.Repeat("0a", 16)
	steps := []struct {
		node, method, path, generation string
		body                           []byte
		claim                          string
		status                         int
	}{
		{"n1", "GET", "/v1/share", "", nil, "", 204},
		{"n1", "PUT", "/v1/share", "1", one, "", 201},
		{"n1", "PUT", "/v1/share", "1", one, "", 204},
		{"n1", "PUT", "/v1/share", "1", two, "", 409},
		{"n1", "GET", "/v1/share", "", nil, "", 200},
		{"n2", "GET", "/v1/share", "", nil, "", 204},
		{"n1", "PUT", "/v1/share", "3", two, "", 201},
		{"n1", "PUT", "/v1/share", "2", one, "", 409},
		{"n1", "PUT", "/v1/share", "1", one, "", 409},
		{"n1", "PUT", "/v1/share", "", one, "", 400},
		{"n1", "PUT", "/v1/share", "0", one, "", 400},
		{"n1", "PUT", "/v1/share", "-1", one, "", 400},
		{"n1", "PUT", "/v1/share", "1e3", one, "", 400},
		{"n1", "PUT", "/v1/share", "18446744073709551616", one, "", 400},
		{"n1", "PUT", "/v1/share", "9", nil, "", 411},
		{"n1", "PUT", "/v1/share", "9", make([]byte, MaxShare+1), "", 413},
		{"n1", "PUT", "/v1/share", "9", one, "short", 400},
		{"n1", "PUT", "/v1/share", "9", one, id, 409},
		{"n1", "POST", "/v1/share", "9", nil, "", 400},
		{"n1", "POST", "/v1/share", "", nil, id, 400},
		{"n1", "POST", "/v1/share", "3", nil, id, 409},
		{"n2", "PUT", "/v1/share", "1", make([]byte, MaxShare), "", 201},
		{"n3", "POST", "/v1/share", "1", nil, id, 204},
		{"n4", "PUT", "/v1/share", "1", one, "", 507},
		{"n4", "POST", "/v1/share", "1", nil, id, 507},
		{"n4", "GET", "/v1/share", "", nil, "", 204},
		{"n4", "GET", "/v1/status", "", nil, "", 200},
		{"", "GET", "/v1/share", "", nil, "", 403},
		{"N1", "GET", "/v1/share", "", nil, "", 403},
		{"../n1", "PUT", "/v1/share", "9", one, "", 403},
		{"", "GET", "/v1/status", "", nil, "", 403},
		{"n1", "DELETE", "/v1/share", "", nil, "", 405},
		{"n1", "PUT", "/v1/status", "", one, "", 405},
		{"n1", "GET", "/v1/shares", "", nil, "", 404},
		{"n1", "GET", "/v1/share/n2", "", nil, "", 404},
		{"n1", "GET", "/", "", nil, "", 404},
		{"n1", "GET", "/debug/pprof/", "", nil, "", 404},
	}
	for i, st := range steps {
		var claim []string
		if st.claim != "" {
			claim = []string{st.claim}
		}
		if w := call(st.node, st.method, st.path, st.generation, st.body, claim...); w.Code != st.status {
			t.Errorf("step %d, %s %s of %s: %d, want %d", i, st.method, st.path, st.node, w.Code, st.status)
		}
	}
	w := call("n1", "GET", "/v1/share", "", nil)
	if !bytes.Equal(w.Body.Bytes(), two) || w.Header().Get(headGeneration) != "3" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%q %v", w.Body, w.Header())
	}
	w = call("n1", "GET", "/v1/status", "", nil)
	var st Status
	if err := json.Unmarshal(w.Body.Bytes(), &st); err != nil || !st.Held || st.Generation != 3 || st.Incarnation != s.Incarnation().String() || st.StartedAt.IsZero() {
		t.Errorf("%+v %v", st, err)
	}
	if bytes.Contains(w.Body.Bytes(), two) {
		t.Error("the status tells the share")
	}
	// A body that ends early changes nothing.
	r := httptest.NewRequest("PUT", "/v1/share", iotestShort{})
	r.Header.Set(headNode, "n1")
	r.Header.Set(headGeneration, "10")
	r.ContentLength = 10
	rec := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(rec, r)
	if rec.Code != 400 || !bytes.Equal(call("n1", "GET", "/v1/share", "", nil).Body.Bytes(), two) {
		t.Errorf("a short body: %d", rec.Code)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if w := call("n1", "GET", "/v1/share", "", nil); w.Code != 503 || w.Body.Len() > 20 {
		t.Errorf("after Close: %d", w.Code)
	}
}

type iotestShort struct{}

func (iotestShort) Read(b []byte) (int, error) { return copy(b, "abc"), io.ErrUnexpectedEOF }

func TestConfigsAreCheckedWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		parts []string
	}{
		"zero server": {second(NewServer(ServerConfig{MaxNodes: -1})), []string{"listener", "tls", "max nodes"}},
		"no client certificates": {second(NewServer(ServerConfig{Listener: &memListener{}, TLS: &tls.Config{},
			Caller: func(*tls.ConnectionState) (dsv.NodeID, error) { return "n1", nil }})), []string{"client certificate"}},
		"no caller":        {second(NewServer(ServerConfig{Listener: &memListener{}, TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}})), []string{"caller"}},
		"both":             {second(NewServer(ServerConfig{Listener: &memListener{}, TLS: &tls.Config{}, Insecure: true})), []string{"insecure"}},
		"zero custodian":   {second(New(CustodianConfig{})), []string{"cluster", "node", "keepers", "threshold", "tls"}},
		"bad keepers":      {second(New(CustodianConfig{Cluster: "c", Node: "n", Threshold: 2, Insecure: true, Keepers: []Target{{"K", "a"}, {"k2", ""}, {"k2", "b"}}})), []string{"[a-z0-9-]", "address", "twice"}},
		"low threshold":    {second(New(CustodianConfig{Cluster: "c", Node: "n", Threshold: 2, Insecure: true, Keepers: targets(4)})), []string{"threshold"}},
		"high threshold":   {second(New(CustodianConfig{Cluster: "c", Node: "n", Threshold: 4, Insecure: true, Keepers: targets(3)})), []string{"threshold"}},
		"too many":         {second(New(CustodianConfig{Cluster: "c", Node: "n", Threshold: 6, Insecure: true, Keepers: targets(10)})), []string{"keepers"}},
		"negative times":   {second(New(CustodianConfig{Cluster: "c", Node: "n", Threshold: 2, Insecure: true, Keepers: targets(3), PollEvery: -1})), []string{"poll every"}},
		"tls missing":      {second(New(CustodianConfig{Cluster: "c", Node: "n", Threshold: 2, Keepers: targets(3)})), []string{"tls"}},
		"cluster too long": {second(New(CustodianConfig{Cluster: strings.Repeat("c", 256), Node: "n", Threshold: 2, Insecure: true, Keepers: targets(3)})), []string{"cluster"}},
	} {
		if tt.err == nil || dsv.KindOf(tt.err) != dsv.KindInvalid {
			t.Errorf("%s: %v", name, tt.err)
			continue
		}
		for _, p := range tt.parts {
			if !strings.Contains(tt.err.Error(), p) {
				t.Errorf("%s: %q is not in %v", name, p, tt.err)
			}
		}
	}
	var zero Server
	if zero.Run(context.Background()) == nil || zero.Close() != nil || zero.Locked() {
		t.Error("the zero server serves")
	}
}

func second[T any](_ T, err error) error { return err }

func targets(n int) (list []Target) {
	for i := range n {
		id := fmt.Sprintf("k%d", i)
		list = append(list, Target{dsv.NodeID(id), id})
	}
	return list
}

func TestPersistForDevelopment(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "insecure-dev-keepers")
	var logs logBuffer
	open := func() (*Server, error) {
		return NewServer(ServerConfig{Listener: newMemNet().listen("k"), Insecure: true, InsecurePersistDir: dir, Logger: textLogger(&logs)})
	}
	for round := range 3 {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		a, _ := s.shelf.get("n1")
		if want := fmt.Sprintf("share %d", round); round > 0 && (string(a.body) != want || a.generation != uint64(round)) {
			t.Fatalf("round %d: %q", round, a.body)
		}
		if _, err := s.shelf.put("n1", uint64(round+1), nil, fmt.Appendf(nil, "share %d", round+1)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(logs.String(), "INSECURE"); n != 3 {
		t.Errorf("%d warnings in 3 starts", n)
	}
	if st, err := os.Stat(filepath.Join(dir, "n1.share")); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st, err)
	}
	for name, bad := range map[string][]byte{"n1.share": {1, 2}, "N1.share": make([]byte, 20), "n2.share": make([]byte, 2000)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// pki is a throwaway CA.
type pki struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{}
	p.cert, p.key = p.sign(t, "ca", true, nil)
	return p
}

func (p *pki) sign(t *testing.T, name string, ca bool, parent *pki) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	signer, issuer := key, tmpl
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (p *pki) tls(t *testing.T, name string) *tls.Config {
	t.Helper()
	cert, key := p.sign(t, name, false, p)
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// node takes common names "node <id>" only.
func nodeOf(cs *tls.ConnectionState) (dsv.NodeID, error) {
	id, ok := strings.CutPrefix(cs.PeerCertificates[0].Subject.CommonName, "node ")
	if !ok {
		return "", fmt.Errorf("not a node")
	}
	return dsv.ParseNodeID(id)
}

// Over real TLS on real sockets: a node gets its own share only, others get
// none, and a node talks to the keeper it means only.
func TestIdentitiesOverTLS(t *testing.T) {
	ca, otherCA := newPKI(t), newPKI(t)
	var list []Target
	for _, id := range []dsv.NodeID{"k1", "k2", "k3"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(ServerConfig{Listener: ln, TLS: ca.tls(t, string(id)), Caller: nodeOf})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Run(context.Background()) }()
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		list = append(list, Target{id, ln.Addr().String()})
	}
	custodian := func(node dsv.NodeID, conf *tls.Config, mix bool) *Custodian {
		c, err := New(CustodianConfig{
			Cluster: "c1", Node: node, Keepers: list, Threshold: 2, AttemptTimeout: 2 * time.Second,
			TLS: func(keeper dsv.NodeID) *tls.Config {
				conf := conf.Clone()
				conf.ServerName = string(keeper)
				if mix && keeper == "k1" {
					conf.ServerName = "k7"
				}
				return conf
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	obtain := func(c *Custodian, opt ObtainOptions, limit time.Duration) (*Root, Collected, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return c.Obtain(ctx, opt)
	}
	n1 := ca.tls(t, "node n1")
	root, got, err := obtain(custodian("n1", n1, false), ObtainOptions{NewDirectory: true}, 10*time.Second)
	if err != nil || !got.Fresh {
		t.Fatal(got, err)
	}
	defer root.Wipe()
	again, got2, err := obtain(custodian("n1", n1, false), ObtainOptions{Known: &got.Check}, 10*time.Second)
	if err != nil || got2.Fresh || !again.Derive("x").Equal(root.Derive("x")) {
		t.Fatal(got2, err)
	}
	again.Wipe()
	// A keeper that is another than it should be is not asked.
	c := custodian("n1", n1, true)
	if third, _, err := obtain(c, ObtainOptions{Known: &got.Check}, 10*time.Second); err != nil {
		t.Fatal(err)
	} else {
		third.Wipe()
	}

	// Nobody else gets n1's share: another node has a shelf of its own, a
	// keeper or operator none, a foreign certificate no connection.
	for name, tt := range map[string]struct {
		conf *tls.Config
		want string
	}{
		"another node":   {ca.tls(t, "node n2"), "holds no share"},
		"a keeper":       {ca.tls(t, "k2"), "does not take this node's identity"},
		"an operator":    {ca.tls(t, "operator o1"), "does not take this node's identity"},
		"a bad name":     {ca.tls(t, "node N1"), "does not take this node's identity"},
		"a foreign CA":   {mixed(ca.tls(t, "x"), otherCA.tls(t, "node n1")), "tls: "},
		"no certificate": {mixed(ca.tls(t, "x"), &tls.Config{}), "tls: "},
	} {
		c := custodian("n1", tt.conf, false)
		if err := refused(t, c, tt.want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Plain HTTP gets nothing.
	resp, err := http.Get("http://" + list[0].Addr + "/v1/share")
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Error(resp.Status)
		}
	}
}

// refused runs Obtain until the reason is the wanted one.
func refused(t *testing.T, c *Custodian, want string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if strings.Contains(c.Reason(), want) {
				cancel()
			}
		}
	}()
	root, _, err := c.Obtain(ctx, ObtainOptions{})
	if err == nil {
		root.Wipe()
		return fmt.Errorf("it got the key of n1")
	}
	if !strings.Contains(err.Error(), want) {
		return fmt.Errorf("%q is not in %w", want, err)
	}
	return nil
}

// mixed trusts what a trusts and shows the certificate of b.
func mixed(a, b *tls.Config) *tls.Config {
	a.Certificates = b.Certificates
	return a
}
