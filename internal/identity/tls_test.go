package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const domain = "vault.example"

func mustCA(t *testing.T, trustDomain string) *CA {
	t.Helper()
	ca, err := NewCA(trustDomain, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// issueFiles writes an identity of issuer that trusts the CA in trusted.
func issueFiles(t *testing.T, issuer, trusted *CA, role Role, name string, validity time.Duration, hosts ...string) Files {
	t.Helper()
	cert, key, err := issuer.Issue(role, name, hosts, validity)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := Files{filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	if err := WriteFiles(f, trusted.PEM(), cert, key); err != nil {
		t.Fatal(err)
	}
	return f
}

func mustIdentity(t *testing.T, ca *CA, role Role, name string, hosts ...string) *Identity {
	t.Helper()
	i, err := Load(issueFiles(t, ca, ca, role, name, time.Hour, hosts...))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// foreign builds an identity whose certificate no Load would accept.
func foreign(t *testing.T, issuer, trusted *CA, role Role, name string, validity time.Duration) *Identity {
	t.Helper()
	certPEM, keyPEM, err := issuer.Issue(role, name, nil, validity)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	id, err := certID(c.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(trusted.cert)
	return &Identity{id: id, roots: roots, cert: c}
}

// shake runs one handshake and one byte each way, and returns what each side saw.
func shake(server, client *tls.Config) (sc, cc tls.ConnectionState, serverErr, clientErr error) {
	a, b := net.Pipe()
	done := make(chan struct{})
	s := tls.Server(a, server)
	go func() {
		defer close(done)
		defer func() { _ = a.Close() }()
		if serverErr = s.Handshake(); serverErr != nil {
			return
		}
		if _, serverErr = s.Write([]byte{1}); serverErr == nil {
			_, serverErr = s.Read(make([]byte, 1))
		}
		sc = s.ConnectionState()
	}()
	c := tls.Client(b, client)
	if clientErr = c.Handshake(); clientErr == nil {
		if _, clientErr = c.Read(make([]byte, 1)); clientErr == nil {
			_, clientErr = c.Write([]byte{1})
		}
		cc = c.ConnectionState()
	}
	_ = b.Close()
	<-done
	return sc, cc, serverErr, clientErr
}

func allowRole(r Role) func(ID) error {
	return func(id ID) error {
		if id.Role != r {
			return errors.New("role " + string(id.Role) + " has no business here")
		}
		return nil
	}
}

func TestMutualTLS(t *testing.T) {
	ca := mustCA(t, domain)
	n1, n2 := mustIdentity(t, ca, RoleNode, "n1"), mustIdentity(t, ca, RoleNode, "n2")
	sc, cc, serr, cerr := shake(n1.ServerTLS(allowRole(RoleNode)), n2.ClientTLS(n1.ID()))
	if serr != nil || cerr != nil {
		t.Fatalf("server %v, client %v", serr, cerr)
	}
	if id, err := PeerID(&sc); err != nil || id != n2.ID() {
		t.Errorf("server sees %v, %v", id, err)
	}
	if id, err := PeerID(&cc); err != nil || id != n1.ID() {
		t.Errorf("client sees %v, %v", id, err)
	}
	if sc.Version != tls.VersionTLS13 {
		t.Errorf("version %x", sc.Version)
	}
}

func TestServerRefuses(t *testing.T) {
	ca, other, otherDomain := mustCA(t, domain), mustCA(t, domain), mustCA(t, "other.example")
	server := mustIdentity(t, ca, RoleNode, "n1")
	keeper := mustIdentity(t, ca, RoleKeeper, "k1")
	noCert := keeper.ClientTLS(server.ID())
	noCert.Certificates = nil
	old := keeper.ClientTLS(server.ID())
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	both := foreign(t, otherDomain, ca, RoleNode, "n2", time.Hour)
	twoRoots := server.ServerTLS(allowRole(RoleNode))
	cross := &Identity{id: server.id, roots: x509.NewCertPool(), cert: server.cert}
	cross.roots.AddCert(ca.cert)
	cross.roots.AddCert(otherDomain.cert)

	for _, c := range []struct {
		name   string
		server *tls.Config
		client *tls.Config
		is     error
		reason string
	}{
		{"wrong role", twoRoots, keeper.ClientTLS(server.ID()), ErrNotAllowed, "dsv/keeper/k1"},
		{"nobody is allowed", server.ServerTLS(nil), keeper.ClientTLS(server.ID()), ErrNotAllowed, ""},
		{"other CA", twoRoots, foreign(t, other, ca, RoleNode, "n2", time.Hour).ClientTLS(server.ID()), ErrUntrusted, "unknown authority"},
		{"trusted CA, other trust domain", cross.ServerTLS(allowRole(RoleNode)), func() *tls.Config {
			c := both.ClientTLS(server.ID())
			c.VerifyConnection = nil
			return c
		}(), ErrUntrusted, "another trust domain"},
		{"expired", twoRoots, foreign(t, ca, ca, RoleNode, "n2", -time.Minute).ClientTLS(server.ID()), ErrUntrusted, "expired"},
		{"self-signed", twoRoots, (&Identity{id: server.id, roots: server.roots, cert: tls.Certificate{Certificate: [][]byte{other.cert.Raw}, PrivateKey: other.key}}).ClientTLS(server.ID()), ErrUntrusted, "unknown authority"},
		{"no certificate", twoRoots, noCert, nil, "didn't provide a certificate"},
		{"TLS 1.2", twoRoots, old, nil, "unsupported versions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, serr, cerr := shake(c.server, c.client)
			if serr == nil || cerr == nil {
				t.Fatalf("let in: server %v, client %v", serr, cerr)
			}
			if c.is != nil && !errors.Is(serr, c.is) {
				t.Errorf("server said %v, want %v", serr, c.is)
			}
			if !strings.Contains(serr.Error(), c.reason) {
				t.Errorf("server said %q, want %q in it", serr, c.reason)
			}
		})
	}
}

func TestClientRefuses(t *testing.T) {
	ca, other := mustCA(t, domain), mustCA(t, domain)
	client := mustIdentity(t, ca, RoleNode, "n2")
	want := ID{domain, RoleNode, "n1"}
	all := func(ID) error { return nil }
	for _, c := range []struct {
		name   string
		server *Identity
		is     error
		reason string
	}{
		{"wrong name", mustIdentity(t, ca, RoleNode, "n3"), ErrWrongPeer, "dsv/node/n3"},
		{"wrong role", mustIdentity(t, ca, RoleKeeper, "n1"), ErrWrongPeer, "dsv/keeper/n1"},
		{"other CA", foreign(t, other, ca, RoleNode, "n1", time.Hour), ErrUntrusted, "unknown authority"},
		{"expired", foreign(t, ca, ca, RoleNode, "n1", -time.Minute), ErrUntrusted, "expired"},
		{"self-signed", &Identity{id: want, roots: client.roots, cert: tls.Certificate{Certificate: [][]byte{other.cert.Raw}, PrivateKey: other.key}}, ErrUntrusted, "unknown authority"},
		{"the CA itself", &Identity{id: want, roots: client.roots, cert: tls.Certificate{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key}}, ErrNoID, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, serr, cerr := shake(c.server.ServerTLS(all), client.ClientTLS(want))
			if serr == nil || !errors.Is(cerr, c.is) || !strings.Contains(cerr.Error(), c.reason) {
				t.Fatalf("server %v, client %v; want %v with %q", serr, cerr, c.is, c.reason)
			}
		})
	}
}

func TestPublicAPI(t *testing.T) {
	ca, other := mustCA(t, domain), mustCA(t, domain)
	node := mustIdentity(t, ca, RoleNode, "n1", "localhost", "127.0.0.1")
	f := issueFiles(t, ca, ca, RoleOperator, "alice", time.Hour)
	alice, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := HTTPClientTLS(f.CA)
	if err != nil {
		t.Fatal(err)
	}
	with := func(c *tls.Config, host string) *tls.Config { c = c.Clone(); c.ServerName = host; return c }

	if sc, _, serr, cerr := shake(node.HTTPServerTLS(true), with(plain, "localhost")); serr != nil || cerr != nil {
		t.Errorf("no certificate: %v, %v", serr, cerr)
	} else if _, err := PeerID(&sc); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("PeerID: %v", err)
	}
	if sc, _, serr, cerr := shake(node.HTTPServerTLS(true), with(alice.HTTPClientTLS(), "127.0.0.1")); serr != nil || cerr != nil {
		t.Errorf("alice: %v, %v", serr, cerr)
	} else if id, err := PeerID(&sc); err != nil || id != alice.ID() {
		t.Errorf("PeerID: %v, %v", id, err)
	}
	if _, _, serr, cerr := shake(node.HTTPServerTLS(false), with(alice.BrokerTLS(), "localhost")); serr != nil || cerr != nil {
		t.Errorf("alice, no certificate asked for: %v, %v", serr, cerr)
	}
	if _, _, serr, cerr := shake(node.HTTPServerTLS(false), with(plain, "elsewhere")); serr == nil || cerr == nil {
		t.Error("a wrong host name was accepted")
	}
	mallory := foreign(t, other, ca, RoleOperator, "alice", time.Hour)
	if _, _, serr, _ := shake(node.HTTPServerTLS(true), with(mallory.HTTPClientTLS(), "localhost")); !errors.Is(serr, ErrUntrusted) {
		t.Errorf("foreign certificate: %v", serr)
	}
}

func TestLoadRefuses(t *testing.T) {
	ca, other := mustCA(t, domain), mustCA(t, domain)
	good := issueFiles(t, ca, ca, RoleNode, "n1", time.Hour)
	second := issueFiles(t, ca, ca, RoleNode, "n2", time.Hour)
	open := issueFiles(t, ca, ca, RoleNode, "n1", time.Hour)
	if err := os.Chmod(open.Key, 0o640); err != nil {
		t.Fatal(err)
	}
	caDir := t.TempDir()
	if err := ca.Save(caDir); err != nil {
		t.Fatal(err)
	}
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		f    Files
		want []string
	}{
		{"nothing set", Files{}, []string{"no CA certificate is set", "no certificate is set", "no private key is set"}},
		{"all missing", Files{"/nowhere/a", "/nowhere/b", "/nowhere/c"}, []string{"/nowhere/a does not exist", "/nowhere/b does not exist", "/nowhere/c does not exist"}},
		{"directory", Files{caDir, good.Cert, good.Key}, []string{"is not a file"}},
		{"junk", Files{junk, junk, junk}, []string{"no PEM certificate", "is not PEM"}},
		{"key of another", Files{good.CA, good.Cert, second.Key}, []string{"is not the key of certificate"}},
		{"key open to the group", open, []string{"mode 0640"}},
		{"a certificate for a key", Files{good.CA, good.Cert, filepath.Join(caDir, CACertFile)}, []string{"open to group or others"}},
		{"expired", issueFiles(t, ca, ca, RoleNode, "n1", -time.Minute), []string{"expired at"}},
		{"no SPIFFE ID", Files{good.CA, filepath.Join(caDir, CACertFile), filepath.Join(caDir, CAKeyFile)}, []string{"no single DSV SPIFFE ID"}},
		{"other CA", issueFiles(t, ca, other, RoleNode, "n1", time.Hour), []string{"not of our CA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(c.f)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
		})
	}
	if i, err := Load(good); err != nil || i.ID().String() != "spiffe://vault.example/dsv/node/n1" || time.Until(i.NotAfter()) > time.Hour {
		t.Errorf("good: %v, %v", i, err)
	}
}

// TestFromPEM: what Issue made is an identity without ever being a file, and
// the faults of Load are told here too.
func TestFromPEM(t *testing.T) {
	ca, other := mustCA(t, domain), mustCA(t, domain)
	cert, key, err := ca.Issue(RoleNode, "n1", []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, foreignKey, err := ca.Issue(RoleNode, "n1", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	n1, err := FromPEM(ca.PEM(), cert, key)
	if err != nil || n1.ID() != (ID{domain, RoleNode, "n1"}) {
		t.Fatalf("%v, %v", n1, err)
	}
	n2 := mustIdentity(t, ca, RoleNode, "n2")
	if _, _, serr, cerr := shake(n1.ServerTLS(allowRole(RoleNode)), n2.ClientTLS(n1.ID())); serr != nil || cerr != nil {
		t.Errorf("server %v, client %v", serr, cerr)
	}
	for _, c := range []struct {
		name          string
		ca, cert, key []byte
		want          string
	}{
		{"nothing", nil, nil, nil, "no PEM certificate"},
		{"no key", ca.PEM(), cert, cert, "no usable key"},
		{"key of another", ca.PEM(), cert, foreignKey, "is not the key of certificate"},
		{"other CA", other.PEM(), cert, key, "not of our CA"},
	} {
		if _, err := FromPEM(c.ca, c.cert, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A running process refuses a peer whose certificate ended after its own start.
func TestExpiresWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := mustCA(t, domain)
		n1, n2 := mustIdentity(t, ca, RoleNode, "n1"), mustIdentity(t, ca, RoleNode, "n2")
		if _, _, serr, cerr := shake(n1.ServerTLS(allowRole(RoleNode)), n2.ClientTLS(n1.ID())); serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		time.Sleep(time.Hour + time.Second) // the bubble's clock
		if _, _, _, cerr := shake(n1.ServerTLS(allowRole(RoleNode)), n2.ClientTLS(n1.ID())); !errors.Is(cerr, ErrUntrusted) {
			t.Fatalf("client: %v", cerr)
		}
	})
}
