package replica

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"github.com/dsvault/dsv"
)

// errSealed is a shard row whose tag does not fit: damaged, foreign or moved.
var errSealed = errors.New("replica: shard row does not open")

// sealer seals shard rows at rest: AES-256-GCM under a key of its own for each
// row, HKDF-SHA256(base, salt, share set, rank), bound to this node, the share
// set and the rank. Row: version 1, salt (16), ciphertext and tag. The key is
// used once, so the nonce is zero.
type sealer struct {
	base []byte // derived from the node's root key
	node dsv.NodeID
}

const saltSize = 16

func (s *sealer) aead(salt []byte, set dsv.ShareSet, rank int) (cipher.AEAD, []byte, error) {
	info := make([]byte, 0, saltSize+dsv.ShareSetSize+1)
	info = append(info, salt...)
	info = set.AppendBinary(info)
	info = append(info, byte(rank))
	key, err := hkdf.Expand(sha256.New, s.base, string(info), 32)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	aad := append(info[saltSize:], s.node...)
	return gcm, aad, err
}

var zeroNonce [12]byte

func (s *sealer) seal(set dsv.ShareSet, rank int, shard []byte) ([]byte, error) {
	row := make([]byte, 1+saltSize, 1+saltSize+len(shard)+16)
	row[0] = 1
	_, _ = rand.Read(row[1:])
	gcm, aad, err := s.aead(row[1:1+saltSize], set, rank)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(row, zeroNonce[:], shard, aad), nil
}

func (s *sealer) open(set dsv.ShareSet, rank int, row []byte) ([]byte, error) {
	if len(row) < 1+saltSize+16 || row[0] != 1 {
		return nil, errSealed
	}
	gcm, aad, err := s.aead(row[1:1+saltSize], set, rank)
	if err != nil {
		return nil, err
	}
	b, err := gcm.Open(nil, zeroNonce[:], row[1+saltSize:], aad)
	if err != nil {
		return nil, errSealed
	}
	return b, nil
}
