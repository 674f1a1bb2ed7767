package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"github.com/dsvault/dsv"
)

const (
	scheme     = "dsv."
	idBytes    = 8
	idSize     = 2 * idBytes
	secretSize = 32
	textSize   = len(scheme) + idSize + 1 + 43 // 43 = unpadded base64 of 32 bytes
)

// Token is a bearer token. One that [NewToken] or [ParseToken] returned is
// well-formed; the zero Token matches no grant.
type Token struct {
	ID     string     // 16 of [0-9a-f]; no secret
	Secret dsv.Secret // 32 bytes
}

// NewToken draws a fresh token.
func NewToken() Token {
	var id [idBytes]byte
	secret := make([]byte, secretSize)
	_, _ = rand.Read(id[:])
	_, _ = rand.Read(secret)
	return Token{ID: hex.EncodeToString(id[:]), Secret: dsv.SecretOf(secret)}
}

// ParseToken reads the text of a token. It accepts exactly what Text writes
// and does not keep b. The error is KindUnauthenticated and repeats nothing of
// b.
func ParseToken(b []byte) (Token, error) {
	if len(b) != textSize || !bytes.HasPrefix(b, []byte(scheme)) || b[len(scheme)+idSize] != '.' {
		return Token{}, refused()
	}
	id := string(b[len(scheme) : len(scheme)+idSize])
	if !wellFormedID(id) {
		return Token{}, refused()
	}
	// The decoder skips line ends: the exact length decoded shows them.
	secret := make([]byte, secretSize+1)
	n, err := base64.RawURLEncoding.Strict().Decode(secret, b[len(scheme)+idSize+1:])
	if err != nil || n != secretSize {
		clear(secret)
		return Token{}, refused()
	}
	return Token{ID: id, Secret: dsv.SecretOf(secret[:n])}, nil
}

// ParseID reports a KindInvalid error (field "token") unless s has the form
// of a token's id.
func ParseID(s string) (string, error) {
	if !wellFormedID(s) {
		return "", dsv.Invalid("token", "is not a token id: use 16 characters of [0-9a-f]")
	}
	return s, nil
}

func wellFormedID(s string) bool {
	if len(s) != idSize {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

// Hash is SHA-256 of the secret bytes, the only form that is ever stored.
func (t Token) Hash() [32]byte { return sha256.Sum256(t.Secret.Reveal()) }

// Text is the form ParseToken reads. The caller wipes it.
func (t Token) Text() dsv.Secret {
	b := make([]byte, 0, textSize)
	b = append(b, scheme...)
	b = append(b, t.ID...)
	b = append(b, '.')
	return dsv.SecretOf(base64.RawURLEncoding.AppendEncode(b, t.Secret.Reveal()))
}

// refused is the one answer to every token that does not count.
func refused() error {
	return dsv.E(dsv.KindUnauthenticated, dsv.CodeUnauthenticated, "the token is unknown, wrong or expired")
}
