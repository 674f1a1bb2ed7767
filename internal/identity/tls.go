package identity

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// ServerTLS is the server side between nodes, keepers and operators. The
// client must show a certificate of our CA with an ID of our trust domain;
// allow then decides about that ID, and its error refuses the handshake (it is
// wrapped in ErrNotAllowed). A nil allow refuses everyone. In TLS 1.3 a client
// learns of a refusal only when it first reads.
func (i *Identity) ServerTLS(allow func(ID) error) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{i.cert},
		ClientAuth:             tls.RequireAnyClientCert, // the chain is checked below, with a reason
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			id, err := i.verifyPeer(&cs, x509.ExtKeyUsageClientAuth)
			if err != nil {
				return err
			}
			if allow == nil {
				return fmt.Errorf("%w: %s", ErrNotAllowed, id)
			}
			if err := allow(id); err != nil {
				return fmt.Errorf("%w: %s: %w", ErrNotAllowed, id, err)
			}
			return nil
		},
	}
}

// ClientTLS is the client side between nodes, keepers and operators: the
// server must show a certificate of our CA whose ID is want. Host names are
// not looked at.
func (i *Identity) ClientTLS(want ID) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{i.cert},
		InsecureSkipVerify:     true, // no host name: VerifyConnection checks the chain and the ID
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			id, err := i.verifyPeer(&cs, x509.ExtKeyUsageServerAuth)
			if err != nil {
				return err
			}
			if id != want {
				return fmt.Errorf("%w: it is %s, not %s", ErrWrongPeer, id, want)
			}
			return nil
		},
	}
}

func (i *Identity) verifyPeer(cs *tls.ConnectionState, usage x509.ExtKeyUsage) (ID, error) {
	if len(cs.PeerCertificates) == 0 {
		return ID{}, ErrNoCertificate
	}
	if err := verifyChain(i.roots, cs.PeerCertificates, usage); err != nil {
		return ID{}, err
	}
	id, err := certID(cs.PeerCertificates[0])
	if err != nil {
		return ID{}, err
	}
	if id.TrustDomain != i.id.TrustDomain {
		return ID{}, fmt.Errorf("%w: %s is of another trust domain than %s", ErrUntrusted, id, i.id.TrustDomain)
	}
	return id, nil
}

// PeerID is the SPIFFE ID of the peer of a finished handshake. It reads the
// certificate only: the chain was checked by the handshake, if that was made
// with settings of this package. ErrNoCertificate if the peer showed none.
func PeerID(cs *tls.ConnectionState) (ID, error) {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return ID{}, ErrNoCertificate
	}
	return certID(cs.PeerCertificates[0])
}

// HTTPServerTLS is the server side of the public HTTP API. With
// optionalClientCert a client may show a certificate, which must then be of
// our CA and trust domain; ask PeerID for it.
func (i *Identity) HTTPServerTLS(optionalClientCert bool) *tls.Config {
	c := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{i.cert},
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if optionalClientCert {
		c.ClientAuth = tls.RequestClientCert
		c.SessionTicketsDisabled = true
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			_, err := i.verifyPeer(&cs, x509.ExtKeyUsageClientAuth)
			return err
		}
	}
	return c
}

// HTTPClientTLS is the client side of the public HTTP API: host names are
// checked against the certificates in caFile, or the system's if it is "".
// No client certificate is shown.
func HTTPClientTLS(caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if caFile == "" {
		return c, nil
	}
	certs, err := readCerts("CA certificate", caFile)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	for _, x := range certs {
		c.RootCAs.AddCert(x)
	}
	return c, nil
}

// HTTPClientTLS is the client side of the public HTTP API for a process with
// an identity: host names are checked against its own CA, and its certificate
// is shown when asked for.
func (i *Identity) HTTPClientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: i.roots, Certificates: []tls.Certificate{i.cert}}
}

// BrokerTLS is the client side towards Kafka brokers: host names are checked
// against our CA and our certificate is shown. TLS 1.2 is accepted there.
func (i *Identity) BrokerTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: i.roots, Certificates: []tls.Certificate{i.cert}}
}
