package setup

import (
	"net"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
)

// TestInitLogWithoutFiles: CONFIG everywhere and one token, from what is in
// memory alone; there is only ever one first token.
func TestInitLogWithoutFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca, err := identity.NewCA("prod", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(role identity.Role, name string, hosts ...string) *identity.Identity {
		cert, key, err := ca.Issue(role, name, hosts, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		id, err := identity.FromPEM(ca.PEM(), cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	all := func(identity.ID) error { return nil }
	b, err := commitlog.StartBroker(commitlog.BrokerConfig{Listener: ln, Memory: true, TLS: issue(identity.RoleBroker, "broker", "127.0.0.1").ServerTLS(all)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	o := LogOptions{Topology: topology(ln.Addr().String()), Identity: issue(identity.RoleOperator, "operator"), Key: identity.NewKey()}
	if _, err := InitLog(t.Context(), o); dsv.AsError(err).Field != "id" {
		t.Errorf("without a cluster id: %v", err)
	}
	o.Topology.ID = "c1"
	if err := o.Topology.Check(); err != nil {
		t.Fatal(err)
	}
	text, err := InitLog(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	made, err := auth.ParseToken(text.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	w := logWork{LogOptions: o}
	l, err := commitlog.Open(t.Context(), w.logConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	found, err := survey(t.Context(), l, w.config())
	if err != nil {
		t.Fatal(err)
	}
	if len(found.configured) != o.Topology.Partitions || found.initToken != made.ID {
		t.Errorf("%d partitions have CONFIG, first token %q; made %q", len(found.configured), found.initToken, made.ID)
	}
	if _, err := InitLog(t.Context(), o); dsv.KindOf(err) != dsv.KindConflict {
		t.Errorf("a second first token: %v", err)
	}
}
