package keeper

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/shard"
)

const (
	shareFormat  = 1
	keySize      = 32
	ySize        = 32
	sumSize      = sha256.Size
	maxCluster   = 255
	minThreshold = 2

	// MaxKeepers is the most shares of a generation.
	MaxKeepers = 9
	// MaxShare is the most bytes of an encoded share, and of what a keeper
	// takes.
	MaxShare = 1024

	offGeneration = 1
	offIndex      = offGeneration + 8
	offThreshold  = offIndex + 1
	offCount      = offThreshold + 1
	offCheck      = offCount + 1
	offCluster    = offCheck + 32
)

// errDamaged is a share that is not, byte for byte, what was made.
var errDamaged = errors.New("keeper: a damaged share")

// head is what all shares of one generation have in common. Two shares are
// combined only if their heads are equal.
type head struct {
	generation uint64 // >= 1
	threshold  int
	count      int
	check      [32]byte // key check value of the root key
	cluster    string
	node       dsv.NodeID
	xs         string // x of each share by index: count of them, distinct, never 0
	digests    string // of each share by index: count of 32 bytes, see digestOf
}

// share is one share of a root key.
type share struct {
	head
	index int
	y     []byte // secret
}

// valid reports whether the numbers of h fit together.
func (h head) valid() bool {
	if h.generation == 0 || h.threshold < minThreshold || h.threshold > h.count || h.count > MaxKeepers ||
		2*h.threshold <= h.count || len(h.xs) != h.count || len(h.digests) != h.count*sumSize || h.cluster == "" || len(h.cluster) > maxCluster {
		return false
	}
	if _, err := dsv.ParseNodeID(string(h.node)); err != nil {
		return false
	}
	for i := range len(h.xs) {
		if h.xs[i] == 0 {
			return false
		}
		for j := range i {
			if h.xs[i] == h.xs[j] {
				return false
			}
		}
	}
	return true
}

// encode writes the share, see the package comment.
func (s share) encode() []byte {
	b := make([]byte, 0, offCluster+2+len(s.cluster)+len(s.node)+s.count*(1+sumSize)+ySize+sumSize)
	b = append(b, shareFormat)
	b = binary.BigEndian.AppendUint64(b, s.generation)
	b = append(b, byte(s.index), byte(s.threshold), byte(s.count))
	b = append(b, s.check[:]...)
	b = append(append(b, byte(len(s.cluster))), s.cluster...)
	b = append(append(b, byte(len(s.node))), s.node...)
	b = append(append(b, s.xs...), s.digests...)
	b = append(b, s.y...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decodeShare reads what encode wrote and nothing else. Everything in the
// share but y is copied; y aliases b.
func decodeShare(b []byte) (share, error) {
	if len(b) < offCluster+2+ySize+sumSize || len(b) > MaxShare {
		return share{}, fmt.Errorf("%w: %d bytes", errDamaged, len(b))
	}
	body, sum := b[:len(b)-sumSize], b[len(b)-sumSize:]
	if sha256.Sum256(body) != [sumSize]byte(sum) {
		return share{}, fmt.Errorf("%w: its digest is wrong", errDamaged)
	}
	if b[0] != shareFormat {
		return share{}, fmt.Errorf("%w: unknown format %d", errDamaged, b[0])
	}
	var s share
	s.generation = binary.BigEndian.Uint64(body[offGeneration:])
	s.index, s.threshold, s.count = int(body[offIndex]), int(body[offThreshold]), int(body[offCount])
	copy(s.check[:], body[offCheck:])
	cluster, rest, ok1 := cutBytes(body[offCluster:])
	node, rest, ok2 := cutBytes(rest)
	if !ok1 || !ok2 || len(rest) != s.count*(1+sumSize)+ySize {
		return share{}, fmt.Errorf("%w: its lengths do not add up", errDamaged)
	}
	s.cluster, s.node = string(cluster), dsv.NodeID(node)
	s.xs, rest = string(rest[:s.count]), rest[s.count:]
	s.digests, s.y = string(rest[:s.count*sumSize]), rest[s.count*sumSize:]
	switch {
	case !s.valid() || s.index >= s.count:
		return share{}, fmt.Errorf("%w: its numbers do not fit together", errDamaged)
	case digestOf(s.xs[s.index], s.y) != s.digest(s.index):
		return share{}, fmt.Errorf("%w: it is not the share of its index", errDamaged)
	}
	return s, nil
}

// digestOf is SHA-256 of x and y. y is uniformly random: the digest helps
// nobody guess it.
func digestOf(x byte, y []byte) [sumSize]byte {
	var b [1 + ySize]byte
	defer clear(b[:])
	b[0] = x
	copy(b[1:], y)
	return sha256.Sum256(b[:])
}

// digest is what the share of index i must have.
func (h head) digest(i int) [sumSize]byte {
	return [sumSize]byte([]byte(h.digests[i*sumSize:][:sumSize]))
}

// cutBytes takes a byte of length and that many bytes off b.
func cutBytes(b []byte) (first, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	end := 1 + int(b[0])
	if end > len(b) {
		return nil, nil, false
	}
	return b[1:end], b[end:], true
}

// keyShare is the form internal/shard speaks: y, then x. The caller wipes it.
func (s share) keyShare() []byte {
	return append(append(make([]byte, 0, shard.KeyShareSize), s.y...), s.xs[s.index])
}
