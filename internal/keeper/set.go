package keeper

import (
	"crypto/rand"
	"crypto/subtle"
	"iter"
	"math/bits"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/shard"
)

// set is one whole generation: the root key and every share of it, in locked
// memory.
type set struct {
	head
	mem *buffer // the key, then y of each index
}

// newSet draws a root key and splits it, once.
func newSet(cluster string, node dsv.NodeID, generation uint64, k, n int) (*set, error) {
	s := &set{head: head{generation: generation, threshold: k, count: n, cluster: cluster, node: node}}
	s.mem = newBuffer(keySize + n*ySize)
	_, _ = rand.Read(s.key())
	shares, err := shard.SplitKey(dsv.SecretOf(s.key()), k, n)
	if err != nil {
		s.wipe()
		return nil, err
	}
	var xs, digests []byte
	for i, b := range shares {
		copy(s.y(i), b[:ySize])
		xs = append(xs, b[ySize])
		sum := digestOf(xs[i], s.y(i))
		digests = append(digests, sum[:]...)
		clear(b)
	}
	s.xs, s.digests = string(xs), string(digests)
	s.check = checkOf(s.key(), cluster, node, generation)
	return s, nil
}

// rebuild makes the generation of exactly threshold sound shares with one
// head; nil if they do not make the key and the shares that the head claims.
func rebuild(shares []share) *set {
	h := shares[0].head
	parts := make([][]byte, len(shares))
	for i, sh := range shares {
		parts[i] = sh.keyShare()
	}
	defer func() {
		for _, p := range parts {
			clear(p)
		}
	}()
	key, err := shard.CombineKey(parts)
	if err != nil {
		return nil
	}
	defer key.Wipe()
	got := checkOf(key.Reveal(), h.cluster, h.node, h.generation)
	if subtle.ConstantTimeCompare(got[:], h.check[:]) != 1 {
		return nil
	}
	s := &set{head: h, mem: newBuffer(keySize + h.count*ySize)}
	copy(s.key(), key.Reveal())
	for i := range h.count {
		b, err := shard.KeyShareAt(parts, h.xs[i])
		if err != nil {
			s.wipe()
			return nil
		}
		copy(s.y(i), b)
		clear(b)
		if digestOf(h.xs[i], s.y(i)) != h.digest(i) {
			s.wipe()
			return nil
		}
	}
	return s
}

// combine finds the generation of sound shares that have one head and distinct
// indices, trying every subset of a threshold; nil if none fits.
func combine(shares []share) *set {
	if len(shares) == 0 {
		return nil
	}
	for subset := range subsets(shares, shares[0].threshold) {
		if s := rebuild(subset); s != nil {
			return s
		}
	}
	return nil
}

// subsets yields every k of list.
func subsets(list []share, k int) iter.Seq[[]share] {
	return func(yield func([]share) bool) {
		for mask := range uint(1) << len(list) {
			if bits.OnesCount(mask) != k {
				continue
			}
			some := make([]share, 0, k)
			for i, s := range list {
				if mask&(1<<i) != 0 {
					some = append(some, s)
				}
			}
			if !yield(some) {
				return
			}
		}
	}
}

func (s *set) key() []byte    { return s.mem.b[:keySize] }
func (s *set) y(i int) []byte { return s.mem.b[keySize+i*ySize:][:ySize] }

// encoded is the share of index i. The caller wipes it.
func (s *set) encoded(i int) []byte { return share{s.head, i, s.y(i)}.encode() }

// holds reports whether b is the share of index i.
func (s *set) holds(i int, b []byte) bool {
	want := s.encoded(i)
	defer clear(want)
	return subtle.ConstantTimeCompare(want, b) == 1
}

// right reports whether sh belongs to this split.
func (s *set) right(sh share) bool {
	return sh.head == s.head && subtle.ConstantTimeCompare(sh.y, s.y(sh.index)) == 1
}

// root copies the key into a Root of its own.
func (s *set) root() *Root {
	r := &Root{key: newBuffer(keySize), check: s.checkFile()}
	copy(r.key.b, s.key())
	return r
}

func (s *set) checkFile() Check { return Check{s.generation, s.check} }

func (s *set) wipe() {
	if s != nil {
		s.mem.free()
	}
}
