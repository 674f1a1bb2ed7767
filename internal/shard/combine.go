package shard

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"github.com/dsvault/dsv"
)

// Report says what Combine made of the shards it was given.
type Report struct {
	Good []int       // ranks whose shard is the one of the metadata, ascending
	Bad  []*BadError // the others, by ascending rank
}

// Combine rebuilds the value from k or more shards. shards maps a holder's rank
// to what it handed out; a rank that is not there, or has no bytes, is absent
// and not reported. digests are those of the metadata, n of 32 bytes.
//
// Every shard given is checked against its digest, and left out and named in
// the report if it is not right; shards of two share sets never meet. The
// report is filled in also with an error.
//
// Errors: *TooFewError (ErrTooFew) if fewer than k are good; ErrCorrupt if k
// good ones do not make the value, which no holder can cause: then the digests
// or the binding are not those of these shards. A *dsv.Error for a quorum,
// binding or digests that are not well-formed.
//
// The shards are only read. The caller owns the value and wipes it.
func Combine(q dsv.Quorum, b Binding, digests [][]byte, shards map[int][]byte) (dsv.Secret, Report, error) {
	if err := q.Validate(); err != nil {
		return dsv.Secret{}, Report{}, err
	}
	if err := b.validate(); err != nil {
		return dsv.Secret{}, Report{}, err
	}
	if len(digests) != q.N {
		return dsv.Secret{}, Report{}, dsv.Invalid("digests", fmt.Sprintf("are %d, not %d", len(digests), q.N))
	}
	for _, d := range digests {
		if len(d) != sha256.Size {
			return dsv.Secret{}, Report{}, dsv.Invalid("digests", "are not of 32 bytes each")
		}
	}
	good, report := sift(q, b.Set, digests, shards)
	if len(good) < q.K {
		return dsv.Secret{}, report, &TooFewError{len(good), q.K}
	}
	value, err := open(q, b, good[:q.K]) // ascending: data rows come first and need no decoding
	return value, report, err
}

// sift returns the good shards by ascending rank, and the report.
func sift(q dsv.Quorum, set dsv.ShareSet, digests [][]byte, shards map[int][]byte) ([]Shard, Report) {
	good := make([]Shard, 0, len(shards))
	report := Report{Good: make([]int, 0, len(shards))}
	for _, rank := range slices.Sorted(maps.Keys(shards)) {
		encoded := shards[rank]
		if len(encoded) == 0 {
			continue
		}
		if rank < 0 || rank >= q.N {
			report.Bad = append(report.Bad, &BadError{rank, Foreign, "there is no such rank"})
			continue
		}
		s, bad := check(encoded, set, rank, digests[rank])
		if bad == nil && (s.k != q.K || s.n != q.N) {
			bad = &BadError{rank, Foreign, fmt.Sprintf("is of a split %d of %d", s.k, s.n)}
		}
		if bad != nil {
			report.Bad = append(report.Bad, bad)
			continue
		}
		good = append(good, s)
		report.Good = append(report.Good, rank)
	}
	return good, report
}

// open rebuilds the value from exactly k checked shards of one share set.
func open(q dsv.Quorum, b Binding, good []Shard) (dsv.Secret, error) {
	text, err := gather(q, good)
	if err != nil {
		return dsv.Secret{}, err
	}
	parts := make([][]byte, len(good))
	for i, s := range good {
		parts[i] = s.keyShare
	}
	key, err := combine(parts)
	if err != nil {
		return dsv.Secret{}, fmt.Errorf("%w: key shares: %w", ErrCorrupt, err)
	}
	gcm := newGCM(key)
	clear(key)
	plain, err := gcm.Open(text[:0], zeroNonce[:], text, b.aad())
	if err != nil {
		return dsv.Secret{}, fmt.Errorf("%w: the tag of the cipher is wrong", ErrCorrupt)
	}
	value, ok := unpad(plain)
	if !ok {
		clear(plain)
		return dsv.Secret{}, fmt.Errorf("%w: padding", ErrCorrupt)
	}
	return dsv.SecretOf(value), nil
}

// gather puts the ciphertext together.
func gather(q dsv.Quorum, good []Shard) ([]byte, error) {
	padded := good[0].padded
	size := fragmentSize(padded, q.K)
	text := make([]byte, q.K*size)
	rows := make([][]byte, q.N) // a row that is empty but has room is decoded into
	for rank := range q.K {
		rows[rank] = text[rank*size : rank*size : (rank+1)*size]
	}
	decode := false
	for _, s := range good {
		if s.padded != padded {
			return nil, fmt.Errorf("%w: two padded sizes", ErrCorrupt)
		}
		if s.rank < q.K {
			rows[s.rank] = append(rows[s.rank], s.fragment...)
			continue
		}
		rows[s.rank], decode = s.fragment, true
	}
	if decode {
		code, err := codeOf(q)
		if err != nil {
			return nil, err
		}
		if err := code.ReconstructData(rows); err != nil {
			return nil, fmt.Errorf("%w: decode: %w", ErrCorrupt, err)
		}
	}
	return text[:padded+tagSize], nil
}
