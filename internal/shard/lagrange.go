package shard

import (
	"encoding/binary"

	"github.com/hashicorp/vault/shamir"
)

// combine gives what shamir.Combine gives of these parts, in a fraction of its
// time. The value at 0 is the sum over all parts of y times a factor that
// depends on the x alone (Shamir, "How to share a secret", 1979; the Lagrange
// basis at 0). The library works the factors out anew for each byte of y; here
// it does so once: a part whose y is 1 in its own place and 0 elsewhere has the
// factor as its share of the sum, so combining the unit vectors gives all of
// them. What is left is multiplying y, which is secret, by factors, which are
// not, in a time that depends on neither.
//
// Every part is its y and then its x.
func combine(parts [][]byte) ([]byte, error) {
	k := len(parts)
	if k == 0 || len(parts[0])-1 <= k {
		return shamir.Combine(parts)
	}
	size := len(parts[0]) - 1
	units := make([][]byte, k)
	for i, p := range parts {
		if len(p) != size+1 {
			return shamir.Combine(parts) // it says what is wrong
		}
		units[i] = make([]byte, k+1)
		units[i][i], units[i][k] = 1, p[size]
	}
	factors, err := shamir.Combine(units)
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	for i, p := range parts {
		addTimes(out, p[:size], factors[i])
	}
	return out, nil
}

// addTimes adds y times c to dst, byte by byte in the library's field: GF(2^8)
// modulo x^8 + x^4 + x^3 + x + 1.
func addTimes(dst, y []byte, c byte) {
	for len(y) >= 8 {
		w := binary.LittleEndian.Uint64(dst) ^ scale(binary.LittleEndian.Uint64(y), c)
		binary.LittleEndian.PutUint64(dst, w)
		dst, y = dst[8:], y[8:]
	}
	for i, b := range y {
		dst[i] ^= byte(scale(uint64(b), c))
	}
}

// scale multiplies each of eight bytes by c.
func scale(w uint64, c byte) (sum uint64) {
	const top, one = 0x8080808080808080, 0x0101010101010101
	for range 8 {
		sum ^= w & -uint64(c&1)
		c >>= 1
		w = (w&^top)<<1 ^ (w>>7&one)*0x1b
	}
	return sum
}
