package shard

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/vault/shamir"
	"github.com/klauspost/reedsolomon"

	"github.com/dsvault/dsv"
)

// Binding is what a value is bound to: the cluster, the secret and the share
// set. Never the version number.
type Binding struct {
	ClusterID string
	Path      dsv.Path
	Set       dsv.ShareSet
}

func (b Binding) validate() error {
	switch {
	case b.ClusterID == "" || len(b.ClusterID) > 1<<16-1:
		return dsv.Invalid("cluster id", "is empty or too long")
	case b.Path.NS.IsZero() || b.Path.Key.IsZero():
		return dsv.Invalid("path", "is empty")
	case b.Set.IsZero():
		return dsv.Invalid("share set", "is empty")
	}
	return nil
}

const aadLabel = "dsv shard 1"

// aad is the additional data of the cipher, see the package comment.
func (b Binding) aad() []byte {
	ns, key := b.Path.NS.String(), b.Path.Key.String()
	out := make([]byte, 0, len(aadLabel)+6+len(b.ClusterID)+len(ns)+len(key)+dsv.ShareSetSize)
	out = append(out, aadLabel...)
	for _, s := range [...]string{b.ClusterID, ns, key} {
		out = binary.BigEndian.AppendUint16(out, uint16(len(s)))
		out = append(out, s...)
	}
	return b.Set.AppendBinary(out)
}

// Sealed is one version, split.
type Sealed struct {
	Shards     [][]byte   // n encoded shards in rank order; they share one allocation
	Digests    [][32]byte // of each
	PaddedSize int        // bytes
}

// Seal makes the n shards of value under a fresh data key. The value is only
// read. It refuses a quorum that does not validate, a binding with an empty
// part and a value of more than dsv.MaxValue bytes, each with a *dsv.Error.
func Seal(q dsv.Quorum, b Binding, value dsv.Secret) (Sealed, error) {
	return sealer{rand.Reader, shamir.Split}.seal(q, b, value)
}

// sealer is where randomness comes from; tests hand in their own.
type sealer struct {
	random io.Reader
	split  func(secret []byte, parts, threshold int) ([][]byte, error)
}

func (s sealer) seal(q dsv.Quorum, b Binding, value dsv.Secret) (Sealed, error) {
	if err := q.Validate(); err != nil {
		return Sealed{}, err
	}
	if err := b.validate(); err != nil {
		return Sealed{}, err
	}
	if value.Len() > dsv.MaxValue {
		return Sealed{}, dsv.E(dsv.KindTooLarge, dsv.CodeTooLarge, fmt.Sprintf("value is larger than %d bytes", dsv.MaxValue))
	}
	var key [keySize]byte
	defer clear(key[:])
	if _, err := io.ReadFull(s.random, key[:]); err != nil {
		return Sealed{}, fmt.Errorf("shard: data key: %w", err)
	}
	keyShares, err := s.split(key[:], q.N, q.K)
	if err != nil {
		return Sealed{}, fmt.Errorf("shard: split: %w", err)
	}
	defer wipeAll(keyShares)

	text := pad(value.Reveal())
	padded := len(text)
	text = newGCM(key[:]).Seal(text[:0], zeroNonce[:], text, b.aad()) // in place: no plaintext stays behind
	return spread(q, b.Set, keyShares, text, padded)
}

// spread cuts the ciphertext into fragments and writes the n encoded shards.
func spread(q dsv.Quorum, set dsv.ShareSet, keyShares [][]byte, text []byte, padded int) (Sealed, error) {
	size := EncodedSize(padded, q.K)
	all := make([]byte, q.N*size)
	out := Sealed{Shards: make([][]byte, q.N), Digests: make([][32]byte, q.N), PaddedSize: padded}
	fragments := make([][]byte, q.N)
	for rank := range q.N {
		b := all[rank*size : (rank+1)*size : (rank+1)*size]
		putHeader(b, set, rank, q, padded)
		copy(b[offKeyShare:headerSize], keyShares[rank])
		out.Shards[rank], fragments[rank] = b, b[headerSize:]
	}
	for rank := range q.K {
		text = text[copy(fragments[rank], text):]
	}
	code, err := codeOf(q)
	if err != nil {
		return Sealed{}, err
	}
	if err := code.Encode(fragments); err != nil {
		return Sealed{}, fmt.Errorf("shard: encode: %w", err)
	}
	for rank, b := range out.Shards {
		out.Digests[rank] = Digest(b)
	}
	return out, nil
}

var zeroNonce [12]byte // a data key encrypts one message

func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("shard: " + err.Error()) // a key of 32 bytes is always accepted
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("shard: " + err.Error())
	}
	return gcm
}

func wipeAll(bs [][]byte) {
	for _, b := range bs {
		clear(b)
	}
}

// codes remembers the encoder of each (k, n): building one inverts a matrix.
// It is a memo of a pure function; a process uses one quorum, or a few.
var codes sync.Map // [2]int -> reedsolomon.Encoder

// maxCachedInversions bounds n for which inverted matrices are remembered;
// above it there are too many sets of survivors.
const maxCachedInversions = 16

func codeOf(q dsv.Quorum) (reedsolomon.Encoder, error) {
	id := [2]int{q.K, q.N}
	if c, ok := codes.Load(id); ok {
		return c.(reedsolomon.Encoder), nil
	}
	c, err := reedsolomon.New(q.K, q.N-q.K,
		reedsolomon.WithMaxGoroutines(1), // fragments are small, and the node has other work for its cores
		reedsolomon.WithInversionCache(q.N <= maxCachedInversions))
	if err != nil {
		return nil, fmt.Errorf("shard: code %d of %d: %w", q.K, q.N, err)
	}
	codes.Store(id, c)
	return c, nil
}
