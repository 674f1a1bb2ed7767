package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/dsvault/dsv"
)

// Role is what a process is: the middle of its SPIFFE ID.
type Role string

// The roles.
const (
	RoleNode     Role = "node"
	RoleKeeper   Role = "keeper"
	RoleOperator Role = "operator"
	RoleServer   Role = "api" // a process that only serves the HTTP API (a node's own certificate serves it too)
	RoleBroker   Role = "broker"
)

func (r Role) valid() bool {
	switch r {
	case RoleNode, RoleKeeper, RoleOperator, RoleServer, RoleBroker:
		return true
	}
	return false
}

// Why a peer is refused. Errors of handshakes and of PeerID wrap one of these.
var (
	ErrNoCertificate = errors.New("identity: the peer showed no certificate")
	ErrNoID          = errors.New("identity: the certificate carries no single DSV SPIFFE ID")
	ErrUntrusted     = errors.New("identity: the certificate is not of our CA")
	ErrWrongPeer     = errors.New("identity: the peer is another one than wanted")
	ErrNotAllowed    = errors.New("identity: the peer is not allowed here")
)

// ID is a SPIFFE ID of DSV. An ID that ParseID or NewID made is well-formed;
// the zero value is nobody.
type ID struct {
	TrustDomain string
	Role        Role
	Name        string
}

// NewID checks the parts of an ID: the trust domain is 1 to 255 of [a-z0-9._-],
// the role one of the roles, the name 1 to 64 of [a-z0-9-]. The error is a
// KindInvalid error that names the field.
func NewID(trustDomain string, role Role, name string) (ID, error) {
	if !validTrustDomain(trustDomain) {
		return ID{}, dsv.Invalid("trust domain", "is not 1 to 255 characters of [a-z0-9._-]")
	}
	if !role.valid() {
		return ID{}, dsv.Invalid("role", "is not node, keeper, operator, api or broker")
	}
	if _, err := dsv.ParseNodeID(name); err != nil {
		return ID{}, dsv.Invalid("name", "is not 1 to 64 characters of [a-z0-9-]")
	}
	return ID{trustDomain, role, name}, nil
}

// ParseID reads the form that String writes, and nothing else.
func ParseID(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, "spiffe://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 || parts[1] != "dsv" {
		return ID{}, dsv.Invalid("spiffe id", "is not spiffe://TRUST-DOMAIN/dsv/ROLE/NAME")
	}
	return NewID(parts[0], Role(parts[2]), parts[3])
}

// String is the URI.
func (i ID) String() string {
	return "spiffe://" + i.TrustDomain + "/dsv/" + string(i.Role) + "/" + i.Name
}

// IsZero reports whether i is nobody.
func (i ID) IsZero() bool { return i == ID{} }

// NodeID is the name as the word for members and keepers.
func (i ID) NodeID() dsv.NodeID { return dsv.NodeID(i.Name) }

func (i ID) url() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.TrustDomain, Path: "/dsv/" + string(i.Role) + "/" + i.Name}
}

func validTrustDomain(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// certID is the one SPIFFE ID of a certificate. As the X.509-SVID standard
// asks, more than one URI makes a certificate no identity at all.
func certID(c *x509.Certificate) (ID, error) {
	if len(c.URIs) != 1 {
		return ID{}, fmt.Errorf("%w: it has %d URIs", ErrNoID, len(c.URIs))
	}
	id, err := ParseID(c.URIs[0].String())
	if err != nil {
		return ID{}, fmt.Errorf("%w: %w", ErrNoID, err)
	}
	return id, nil
}
