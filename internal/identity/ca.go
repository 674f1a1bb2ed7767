package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"time"
)

// Names of the files of a saved CA inside its directory.
const (
	CACertFile = "ca.crt"
	CAKeyFile  = "ca.key"
)

// backdate is how far before now a certificate begins to be valid, for peers
// whose clock is behind.
const backdate = 5 * time.Minute

// CA is a certificate authority of one trust domain. It is safe for
// concurrent use.
type CA struct {
	trustDomain string
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCA makes a self-signed authority (ECDSA P-256) that is valid from a few
// minutes ago until validity from now.
func NewCA(trustDomain string, validity time.Duration) (*CA, error) {
	if !validTrustDomain(trustDomain) {
		return nil, fmt.Errorf("identity: trust domain %q is not 1 to 255 characters of [a-z0-9._-]", trustDomain)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"DSV"}, CommonName: "DSV CA " + trustDomain},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{trustDomain, cert, key}, nil
}

// TrustDomain is the trust domain of everything this CA issues.
func (ca *CA) TrustDomain() string { return ca.trustDomain }

// PEM is the CA's certificate, the content of Files.CA.
func (ca *CA) PEM() []byte { return certPEM(ca.cert.Raw) }

// Issue makes a key and a certificate for (role, name), for TLS clients and
// servers, valid for the hosts (DNS names and IP addresses) until validity
// from now or until the CA ends, whichever is first. The key is PKCS #8.
func (ca *CA) Issue(role Role, name string, hosts []string, validity time.Duration) (cert, key []byte, err error) {
	id, err := NewID(ca.trustDomain, role, name)
	if err != nil {
		return nil, nil, err
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	end := now.Add(validity)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"DSV"}, OrganizationalUnit: []string{string(role)}, CommonName: name},
		URIs:                  []*url.URL{id.url()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, priv.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("identity: issue %s: %w", id, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, err
	}
	return certPEM(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// Save writes the CA into an existing directory. It refuses to overwrite.
func (ca *CA) Save(dir string) error {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(key)
	if err := writeNew(filepath.Join(dir, CAKeyFile), key, 0o600); err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, CACertFile), ca.PEM(), 0o644)
}

// LoadCA reads what Save wrote and checks that the parts fit.
func LoadCA(dir string) (*CA, error) {
	certs, err := readCerts("CA certificate", filepath.Join(dir, CACertFile))
	if err != nil {
		return nil, err
	}
	keyPath := filepath.Join(dir, CAKeyFile)
	signer, err := readKey(keyPath)
	if err != nil {
		return nil, err
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	cert := certs[0]
	switch {
	case !ok || !key.PublicKey.Equal(cert.PublicKey):
		return nil, fmt.Errorf("identity: %s is not the key of %s", keyPath, filepath.Join(dir, CACertFile))
	case !cert.IsCA:
		return nil, errors.New("identity: " + filepath.Join(dir, CACertFile) + " is not the certificate of a CA")
	case len(cert.URIs) != 1 || cert.URIs[0].Scheme != "spiffe" || !validTrustDomain(cert.URIs[0].Host):
		return nil, errors.New("identity: " + filepath.Join(dir, CACertFile) + " names no trust domain")
	}
	return &CA{cert.URIs[0].Host, cert, key}, nil
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40 // positive, never zero
	return new(big.Int).SetBytes(b[:])
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
