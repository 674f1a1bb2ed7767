package shard

import (
	"fmt"

	"github.com/hashicorp/vault/shamir"

	"github.com/dsvault/dsv"
)

// KeyShareSize is the length of a share of a 32-byte key: 32 bytes of y, then
// its own x (never 0).
const KeyShareSize = keySize + 1

// SplitKey makes n shares of a 32-byte key, any k of which give it back; k-1
// tell nothing. It draws at random: no two calls make shares that go together.
// 2 <= k <= n <= 255. The key is only read; the caller wipes the shares.
func SplitKey(key dsv.Secret, k, n int) ([][]byte, error) {
	if key.Len() != keySize {
		return nil, fmt.Errorf("shard: a key of %d bytes, not %d", key.Len(), keySize)
	}
	shares, err := shamir.Split(key.Reveal(), n, k)
	if err != nil {
		return nil, fmt.Errorf("shard: split a key: %w", err)
	}
	return shares, nil
}

// CombineKey gives the key that SplitKey split, from k or more of its shares
// in any order. It proves nothing: shares that are too few, damaged or of
// different splits give another 32 bytes and no error, so the caller must hold
// the result against a check value. An error means the shares cannot belong
// together by their form. The shares are only read; the caller wipes the key.
func CombineKey(shares [][]byte) (dsv.Secret, error) {
	for _, s := range shares {
		if len(s) != KeyShareSize || s[keySize] == 0 {
			return dsv.Secret{}, fmt.Errorf("shard: a key share that is none")
		}
	}
	key, err := combine(shares)
	if err != nil {
		return dsv.Secret{}, fmt.Errorf("shard: combine a key: %w", err)
	}
	return dsv.SecretOf(key), nil
}

// KeyShareAt gives the share at x of the split that exactly k shares belong
// to: the very bytes SplitKey made for that x, so that a lost share can be made
// again. Like CombineKey it proves nothing. x is not 0: that would be the key.
//
// The library combines at 0 only. It sees x in differences alone, and adding
// is XOR in its field: f(z + x) has the same degree, and its value at 0 is
// f(x).
func KeyShareAt(shares [][]byte, x byte) ([]byte, error) {
	if x == 0 {
		return nil, fmt.Errorf("shard: no share lies at 0")
	}
	moved := make([][]byte, len(shares))
	defer wipeAll(moved)
	for i, s := range shares {
		if len(s) != KeyShareSize || s[keySize] == 0 {
			return nil, fmt.Errorf("shard: a key share that is none")
		}
		moved[i] = append(make([]byte, 0, KeyShareSize), s...)
		moved[i][keySize] ^= x
	}
	y, err := combine(moved)
	if err != nil {
		return nil, fmt.Errorf("shard: combine a key: %w", err)
	}
	share := append(make([]byte, 0, KeyShareSize), y...)
	clear(y)
	return append(share, x), nil
}
