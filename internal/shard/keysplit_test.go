package shard

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/dsvault/dsv"
)

func TestKeySplit(t *testing.T) {
	for _, q := range [][2]int{{2, 2}, {2, 3}, {3, 5}, {5, 9}} {
		k, n := q[0], q[1]
		raw := make([]byte, keySize)
		_, _ = rand.Read(raw)
		key := dsv.SecretOf(raw)
		shares, err := SplitKey(key, k, n)
		if err != nil || len(shares) != n {
			t.Fatal(len(shares), err)
		}
		for first := range n {
			// k shares from any place, in falling order.
			var some [][]byte
			for i := range k {
				some = append(some, shares[(first+k-i)%n])
			}
			back, err := CombineKey(some)
			if err != nil || !back.Equal(key) {
				t.Fatalf("%d of %d from %d: %v", k, n, first, err)
			}
			for i, want := range shares {
				got, err := KeyShareAt(some, want[keySize])
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d of %d from %d: share %d is not made again: %v", k, n, first, i, err)
				}
			}
			if few, err := CombineKey(some[:k-1]); err == nil && few.Equal(key) {
				t.Fatal("k-1 shares gave the key")
			}
		}
	}
}

func TestKeySplitRefuses(t *testing.T) {
	key := dsv.SecretOf(make([]byte, keySize))
	for _, q := range [][2]int{{0, 0}, {1, 3}, {3, 2}, {2, 256}, {-1, 3}} {
		if _, err := SplitKey(key, q[0], q[1]); err == nil {
			t.Errorf("split %v", q)
		}
	}
	if _, err := SplitKey(dsv.SecretOf(make([]byte, 31)), 2, 3); err == nil {
		t.Error("a short key is split")
	}
	shares, err := SplitKey(key, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, KeyShareSize)
	for name, bad := range map[string][][]byte{
		"none": nil, "one": shares[:1], "twice": {shares[0], shares[0]}, "short": {shares[0], shares[1][:32]},
		"x is 0": {shares[0], zero}, "nil": {nil, nil},
	} {
		if _, err := CombineKey(bad); err == nil {
			t.Errorf("combined: %s", name)
		}
		if _, err := KeyShareAt(bad, 7); err == nil {
			t.Errorf("share made: %s", name)
		}
	}
	if _, err := KeyShareAt(shares[:2], 0); err == nil {
		t.Error("the key itself as a share")
	}
}
