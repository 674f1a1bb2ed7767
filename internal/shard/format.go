package shard

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dsvault/dsv"
)

const (
	format1 = 1

	keySize      = 32
	keyShareSize = keySize + 1 // its x behind it

	offSet      = 1
	offRank     = offSet + dsv.ShareSetSize
	offK        = offRank + 1
	offN        = offK + 1
	offPadded   = offN + 1
	offKeyShare = offPadded + 4
	headerSize  = offKeyShare + keyShareSize
)

// MaxEncoded is the size in bytes of the largest shard there can be: of a
// value of dsv.MaxValue bytes at k = 2.
var MaxEncoded = headerSize + fragmentSize(maxPadded, 2)

// EncodedSize is the size in bytes of each shard of a value that is padded to
// paddedSize, split with threshold k.
func EncodedSize(paddedSize, k int) int { return headerSize + fragmentSize(paddedSize, k) }

// fragmentSize is the share of a ciphertext that one of k fragments holds.
func fragmentSize(padded, k int) int { return (padded + tagSize + k - 1) / k }

// Digest is the SHA-256 of one encoded shard, as the metadata keeps it.
func Digest(encoded []byte) [32]byte { return sha256.Sum256(encoded) }

// Shard is one decoded shard. It shares the memory it was parsed from. It says
// what the bytes claim; only Check says that they are right.
type Shard struct {
	set        dsv.ShareSet
	rank, k, n int
	padded     int
	keyShare   []byte
	fragment   []byte
}

// Set is the share set.
func (s Shard) Set() dsv.ShareSet { return s.set }

// Index is the rank, 0 to n-1.
func (s Shard) Index() int { return s.rank }

// Threshold is k: how many shards of the set rebuild the value.
func (s Shard) Threshold() int { return s.k }

// Count is n: how many shards the set has.
func (s Shard) Count() int { return s.n }

// PaddedSize is the bucket of the value in bytes.
func (s Shard) PaddedSize() int { return s.padded }

// KeyShare is the share of the data key: 32 bytes and its x. Secret.
func (s Shard) KeyShare() []byte { return s.keyShare }

// Fragment is the part of the ciphertext.
func (s Shard) Fragment() []byte { return s.fragment }

func (s Shard) String() string {
	return fmt.Sprintf("shard %d of %d (%d needed) of %s, padded size %d", s.rank, s.n, s.k, s.set, s.padded)
}

// GoString is String: the key share is not printed.
func (s Shard) GoString() string { return s.String() }

// putHeader writes everything before the key share.
func putHeader(b []byte, set dsv.ShareSet, rank int, q dsv.Quorum, padded int) {
	b[0] = format1
	set.AppendBinary(b[offSet:offSet])
	b[offRank], b[offK], b[offN] = byte(rank), byte(q.K), byte(q.N)
	binary.BigEndian.PutUint32(b[offPadded:], uint32(padded))
}

// Errors of Parse.
var (
	errShort    = errors.New("is shorter than a header")
	errFormat   = errors.New("has an unknown format")
	errQuorum   = errors.New("has k, n or rank out of range")
	errPadded   = errors.New("has a padded size that is no bucket")
	errKeyShare = errors.New("has a key share at x = 0")
	errSize     = errors.New("has a fragment of the wrong size")
	errNoSet    = errors.New("names no share set")
)

// Parse decodes one shard; it never panics, allocates nothing and accepts
// exactly what Seal can have made. The Shard shares the memory of encoded. Its
// errors wrap ErrDamaged, or ErrMissing for no bytes.
func Parse(encoded []byte) (Shard, error) {
	s, err := parse(encoded)
	switch {
	case err == nil:
		return s, nil
	case len(encoded) == 0:
		return Shard{}, ErrMissing
	}
	return Shard{}, fmt.Errorf("%w: %w", ErrDamaged, err)
}

func parse(b []byte) (Shard, error) {
	if len(b) < headerSize {
		return Shard{}, errShort
	}
	if b[0] != format1 {
		return Shard{}, errFormat
	}
	set, err := dsv.ShareSetFromBytes(b[offSet:offRank])
	if err != nil {
		return Shard{}, err
	}
	s := Shard{
		set: set, rank: int(b[offRank]), k: int(b[offK]), n: int(b[offN]),
		keyShare: b[offKeyShare:headerSize:headerSize],
		fragment: b[headerSize:len(b):len(b)],
	}
	padded := binary.BigEndian.Uint32(b[offPadded:])
	switch {
	case set.IsZero():
		return Shard{}, errNoSet
	case s.k < 2 || s.k >= s.n || s.rank >= s.n:
		return Shard{}, errQuorum
	case padded > uint32(maxPadded) || bucket(int(padded)) != int(padded):
		return Shard{}, errPadded
	case s.keyShare[keySize] == 0:
		return Shard{}, errKeyShare
	case len(s.fragment) != fragmentSize(int(padded), s.k):
		return Shard{}, errSize
	}
	s.padded = int(padded)
	return s, nil
}

// Check says whether encoded is the shard of that rank of that share set with
// that digest. The error is a *BadError, damaged, foreign or missing: foreign
// is what parses and claims another set or rank, damaged is what does not
// parse or has another digest. Good shards of another place are foreign, not
// damaged.
func Check(encoded []byte, set dsv.ShareSet, rank int, digest []byte) error {
	if _, bad := check(encoded, set, rank, digest); bad != nil {
		return bad
	}
	return nil
}

func check(encoded []byte, set dsv.ShareSet, rank int, digest []byte) (Shard, *BadError) {
	if len(encoded) == 0 {
		return Shard{}, &BadError{rank, Missing, "no bytes"}
	}
	s, err := parse(encoded)
	switch {
	case err != nil:
		return Shard{}, &BadError{rank, Damaged, err.Error()}
	case s.set != set:
		return Shard{}, &BadError{rank, Foreign, "is of another share set"}
	case s.rank != rank:
		return Shard{}, &BadError{rank, Foreign, fmt.Sprintf("is of rank %d", s.rank)}
	}
	if sum := Digest(encoded); !bytes.Equal(sum[:], digest) {
		return Shard{}, &BadError{rank, Damaged, "its digest is not that of the metadata"}
	}
	return s, nil
}
