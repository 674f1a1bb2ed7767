package identity

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dsvault/dsv"
)

// KeySize is the length of a shared key in bytes.
const KeySize = 32

// maxFile bounds every file read here.
const maxFile = 1 << 20

// NewKey draws a fresh shared key.
func NewKey() dsv.Secret {
	b := make([]byte, KeySize)
	_, _ = rand.Read(b)
	return dsv.SecretOf(b)
}

// WriteKeyFile writes a shared key into a new file of mode 0600. It refuses to
// overwrite and any length but KeySize.
func WriteKeyFile(path string, key dsv.Secret) error {
	if key.Len() != KeySize {
		return fmt.Errorf("identity: key file %s: the key has %d bytes, want %d", path, key.Len(), KeySize)
	}
	line := base64.StdEncoding.AppendEncode(nil, key.Reveal())
	line = append(line, '\n')
	defer clear(line)
	return writeNew(path, line, 0o600)
}

// ReadKeyFile reads what WriteKeyFile wrote. The error says which file and
// why: missing, open to group or others, not one line of base64, not 32 bytes.
func ReadKeyFile(path string) (dsv.Secret, error) {
	line, err := readPrivate("key file", path)
	if err != nil {
		return dsv.Secret{}, err
	}
	defer clear(line)
	text := line
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	for _, c := range text { // the decoder itself would skip line breaks
		if c == '\n' || c == '\r' {
			return dsv.Secret{}, fmt.Errorf("identity: key file %s has more than one line", path)
		}
	}
	key := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(key, text)
	if err != nil { // its text would tell a byte of the key
		clear(key)
		return dsv.Secret{}, fmt.Errorf("identity: key file %s is not one line of base64", path)
	}
	if n != KeySize {
		clear(key)
		return dsv.Secret{}, fmt.Errorf("identity: key file %s holds %d bytes, want %d", path, n, KeySize)
	}
	return dsv.SecretOf(key[:n]), nil
}

// WriteFiles writes the three files of an identity (each PEM) as Load reads
// them, the key with mode 0600. The CA file may exist if it is the same;
// certificate and key are never overwritten.
func WriteFiles(f Files, ca, cert, key []byte) error {
	if old, err := os.ReadFile(f.CA); err != nil || string(old) != string(ca) {
		if err := writeNew(f.CA, ca, 0o644); err != nil {
			return err
		}
	}
	if err := writeNew(f.Key, key, 0o600); err != nil {
		return err
	}
	return writeNew(f.Cert, cert, 0o644)
}

// writeNew makes a file that did not exist, whole and on disk, or none.
func writeNew(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path)
			err = fmt.Errorf("identity: write %s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readFile(what, path string, private bool) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("identity: no %s is set", what)
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("identity: %s %s does not exist: %w", what, path, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("identity: %s cannot be read: %w", what, err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("identity: %s cannot be read: %w", what, err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("identity: %s %s is not a file", what, path)
	}
	if m := st.Mode().Perm(); private && m&0o077 != 0 {
		return nil, fmt.Errorf("identity: %s %s has mode %04o, open to group or others: chmod 600 it", what, path, m)
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("identity: %s %s is larger than %d bytes", what, path, maxFile)
	}
	b := make([]byte, st.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		clear(b)
		return nil, fmt.Errorf("identity: %s %s cannot be read: %w", what, path, err)
	}
	return b, nil
}

func readPrivate(what, path string) ([]byte, error) { return readFile(what, path, true) }

func readCerts(what, path string) ([]*x509.Certificate, error) {
	text, err := readFile(what, path, false)
	if err != nil {
		return nil, err
	}
	return parseCerts(what, path, text)
}

func parseCerts(what, path string, rest []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("identity: %s %s: %w", what, path, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("identity: %s %s holds no PEM certificate", what, path)
	}
	return certs, nil
}

func readKey(path string) (crypto.Signer, error) {
	b, err := readPrivate("private key", path)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	return parseKey(path, b)
}

func parseKey(path string, b []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("identity: private key %s is not PEM", path)
	}
	defer clear(block.Bytes)
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		err = errors.New("a PEM block of type " + block.Type)
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("identity: private key %s holds no usable key (PKCS #8 is expected)", path)
	}
	return signer, nil
}
