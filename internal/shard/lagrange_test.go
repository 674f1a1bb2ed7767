package shard

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/vault/shamir"
)

// The library is the judge: whatever it is given, combine gives the same.
func TestCombineIsTheLibrarys(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, q := range []struct{ k, n int }{{2, 2}, {2, 3}, {3, 5}, {5, 8}, {16, 20}, {100, 255}} {
		for _, size := range []int{1, 2, 7, 8, 9, 31, 32, 33, 64, 257} {
			secret := randomBytes(size)
			parts, err := shamir.Split(secret, q.n, q.k)
			if err != nil {
				t.Fatal(err)
			}
			r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			for _, m := range []int{q.k, q.n, max(q.k-1, 2)} { // too few give the same wrong secret
				want, werr := shamir.Combine(parts[:m])
				got, err := combine(parts[:m])
				if werr != nil || err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d of %d, %d bytes: %x %v, the library: %x %v", m, q.n, size, got, err, want, werr)
				}
				if m >= q.k && !bytes.Equal(got, secret) {
					t.Fatalf("%d of %d, %d bytes: not the secret", m, q.n, size)
				}
			}
		}
	}
}

func TestCombineRefusesWhatTheLibraryRefuses(t *testing.T) {
	long := func(x byte) []byte { return append(randomBytes(32), x) }
	same := long(7)
	for name, parts := range map[string][][]byte{
		"none":        nil,
		"one":         {long(1)},
		"empty":       {{}, {}},
		"x only":      {{1}, {2}},
		"two lengths": {long(1), long(2)[1:]},
		"longer":      {long(1)[1:], long(2)},
		"one x twice": {same, same, long(3)},
	} {
		_, want := shamir.Combine(parts)
		_, err := combine(parts)
		if want == nil || err == nil || err.Error() != want.Error() {
			t.Errorf("%s: %v, the library: %v", name, err, want)
		}
	}
}

// Every product of two bytes, in every lane.
func TestScale(t *testing.T) {
	slow := func(a, b byte) (p byte) {
		for ; b > 0; b >>= 1 {
			if b&1 == 1 {
				p ^= a
			}
			carry := a&0x80 != 0
			if a <<= 1; carry {
				a ^= 0x1b
			}
		}
		return p
	}
	for c := range 256 {
		for a := range 256 {
			lane := 8 * (a % 8)
			others := uint64(0x1122334455667788) &^ (0xff << lane)
			if got, want := byte(scale(uint64(a)<<lane|others, byte(c))>>lane), slow(byte(a), byte(c)); got != want {
				t.Fatalf("%#x times %#x = %#x, want %#x", a, c, got, want)
			}
		}
	}
}

func FuzzCombineIsTheLibrarys(f *testing.F) {
	f.Add(3, bytes.Repeat([]byte{1, 2, 3}, 33))
	f.Fuzz(func(t *testing.T, k int, b []byte) {
		if k < 0 || k > 12 || k > 0 && len(b)/k > 200 {
			return
		}
		parts := make([][]byte, k)
		for i := range parts {
			n := len(b) / k
			parts[i] = b[i*n : (i+1)*n]
			if n > 0 && parts[i][n-1] == 0 {
				return // no share has x = 0
			}
		}
		want, werr := shamir.Combine(parts)
		got, err := combine(parts)
		if fmt.Sprint(err) != fmt.Sprint(werr) || !bytes.Equal(got, want) {
			t.Fatalf("%x: %x %v, the library: %x %v", parts, got, err, want, werr)
		}
	})
}

func BenchmarkCombineKey(b *testing.B) {
	parts, err := shamir.Split(randomBytes(keySize), 5, 3)
	if err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]func([][]byte) ([]byte, error){"ours": combine, "library": shamir.Combine} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := f(parts[1:4]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
