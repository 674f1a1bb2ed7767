package identity

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Files are the paths of an identity: the CA's certificate, the process's own
// certificate (with intermediates, leaf first) and its private key.
type Files struct{ CA, Cert, Key string }

// Identity is who this process is and which CA it trusts. It does not change
// after Load and is safe for concurrent use.
type Identity struct {
	id    ID
	roots *x509.CertPool
	cert  tls.Certificate
}

// Load reads and checks an identity. Every fault of the three files is
// reported at once, each with its file: missing, unreadable, not PEM, a key
// open to group or others, a key of another certificate, a certificate
// without SPIFFE ID, expired, not yet valid, or of another CA.
func Load(f Files) (*Identity, error) {
	cas, err1 := readCerts("CA certificate", f.CA)
	certs, err2 := readCerts("certificate", f.Cert)
	key, err3 := readKey(f.Key)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return build(f, cas, certs, key)
}

// FromPEM is Load of the content of the three files.
func FromPEM(ca, cert, key []byte) (*Identity, error) {
	f := Files{CA: "given", Cert: "given", Key: "given"}
	cas, err1 := parseCerts("CA certificate", f.CA, ca)
	certs, err2 := parseCerts("certificate", f.Cert, cert)
	signer, err3 := parseKey(f.Key, key)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return build(f, cas, certs, signer)
}

// build makes an identity of its parts; f names them in errors.
func build(f Files, cas, certs []*x509.Certificate, key crypto.Signer) (*Identity, error) {
	roots := x509.NewCertPool()
	for _, c := range cas {
		roots.AddCert(c)
	}
	id, err := checkOwn(f, roots, certs, key)
	if err != nil {
		return nil, err
	}
	c := tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, x := range certs {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return &Identity{id: id, roots: roots, cert: c}, nil
}

func checkOwn(f Files, roots *x509.CertPool, certs []*x509.Certificate, key crypto.Signer) (ID, error) {
	var faults []error
	leaf := certs[0]
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		faults = append(faults, fmt.Errorf("identity: private key %s is not the key of certificate %s", f.Key, f.Cert))
	}
	id, err := certID(leaf)
	if err != nil {
		faults = append(faults, fmt.Errorf("%w (certificate %s)", err, f.Cert))
	}
	now := time.Now()
	switch {
	case now.After(leaf.NotAfter):
		faults = append(faults, fmt.Errorf("identity: certificate %s expired at %s", f.Cert, leaf.NotAfter.Format(time.RFC3339)))
	case now.Before(leaf.NotBefore):
		faults = append(faults, fmt.Errorf("identity: certificate %s is not valid before %s", f.Cert, leaf.NotBefore.Format(time.RFC3339)))
	default:
		if err := verifyChain(roots, certs, x509.ExtKeyUsageAny); err != nil {
			faults = append(faults, fmt.Errorf("%w (certificate %s, CA %s)", err, f.Cert, f.CA))
		}
	}
	return id, errors.Join(faults...)
}

// ID is the identity itself.
func (i *Identity) ID() ID { return i.id }

// NotAfter is when the certificate ends.
func (i *Identity) NotAfter() time.Time { return i.cert.Leaf.NotAfter }

func verifyChain(roots *x509.CertPool, certs []*x509.Certificate, usage x509.ExtKeyUsage) error {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return nil
}
