// Package identity says who a process is and whom it talks to: SPIFFE IDs,
// the built-in certificate authority that `dsvctl init` makes, the
// certificate files of a process, the TLS settings made from them, and the
// files of shared 32-byte keys. It is a leaf: it decides that a peer is who it
// says it is, never what that peer may do with secrets.
//
// # Identities
//
// An identity is spiffe://TRUST-DOMAIN/dsv/ROLE/NAME, written as the one URI
// subject alternative name of a certificate. A certificate may carry DNS names
// and IP addresses beside it, so that a node's certificate also serves its
// HTTP API.
//
// # Files
//
// Certificates are PEM (CERTIFICATE blocks, leaf first), private keys PEM
// (PRIVATE KEY, PKCS #8; ECDSA P-256 where we make them). A saved CA is a
// directory with ca.crt and ca.key. A shared key file is one line: the
// standard base64 form, padded, of exactly 32 bytes. Private keys and key
// files are written with mode 0600, never over an existing file, and are
// refused when group or others have any right to them.
//
// # Trust
//
// Between nodes, keepers and operators: TLS 1.3 only, both sides show a
// certificate, each chain ends at the CA of the process's own files, the
// trust domain is the process's own, and the SPIFFE ID decides; host names do
// not matter and there is no session resumption. For the public HTTP API and
// for Kafka brokers the host name decides, as elsewhere.
package identity
