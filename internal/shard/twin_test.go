package shard

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dsvault/dsv"
)

// The dumb twin: the package comment written down a second time, slowly, with
// nothing of the package and neither of its libraries.

// field is GF(2^8) by a table of logarithms of the generator g.
type field struct{ exp, log [256]byte }

func newField(poly int, g byte) *field {
	f := new(field)
	x := byte(1)
	for i := range 255 {
		f.exp[i], f.log[x] = x, byte(i)
		x = slowMul(x, g, poly)
	}
	return f
}

func slowMul(a, b byte, poly int) byte {
	product := 0
	for i := range 8 {
		if b>>i&1 == 1 {
			product ^= int(a) << i
		}
	}
	for i := 15; i >= 8; i-- {
		if product>>i&1 == 1 {
			product ^= poly << (i - 8)
		}
	}
	return byte(product)
}

func (f *field) mul(a, b byte) byte {
	if a == 0 || b == 0 {
		return 0
	}
	return f.exp[(int(f.log[a])+int(f.log[b]))%255]
}

func (f *field) inv(a byte) byte {
	if a == 0 {
		panic("inverse of zero")
	}
	return f.exp[(255-int(f.log[a]))%255]
}

func (f *field) pow(a byte, n int) byte {
	out := byte(1)
	for range n {
		out = f.mul(out, a)
	}
	return out
}

var (
	shamirField = newField(0x11B, 3)
	codeField   = newField(0x11D, 2)
)

// twinSplit is Shamir's scheme with x = 1..n times step and coefficients from
// a stream, in the library's layout.
func twinSplit(stream func() byte) func([]byte, int, int) ([][]byte, error) {
	return func(secret []byte, n, k int) ([][]byte, error) {
		f := shamirField
		out := make([][]byte, n)
		for i := range out {
			out[i] = append(make([]byte, len(secret)), byte(255-7*i))
		}
		for at, b := range secret {
			poly := []byte{b}
			for range k - 1 {
				poly = append(poly, stream())
			}
			for _, share := range out {
				x := share[len(secret)]
				for power, c := range poly {
					share[at] ^= f.mul(c, f.pow(x, power))
				}
			}
		}
		return out, nil
	}
}

func twinInterpolate(shares [][]byte) []byte {
	f := shamirField
	last := len(shares[0]) - 1
	out := make([]byte, last)
	for i, share := range shares {
		basis := byte(1)
		for j, other := range shares {
			if i != j {
				basis = f.mul(basis, f.mul(other[last], f.inv(other[last]^share[last])))
			}
		}
		for at := range out {
			out[at] ^= f.mul(basis, share[at])
		}
	}
	return out
}

// invert is Gauss and Jordan over the code's field.
func invert(m [][]byte) [][]byte {
	f, n := codeField, len(m)
	a := make([][]byte, n)
	for i := range a {
		a[i] = append(bytes.Clone(m[i]), make([]byte, n)...)
		a[i][n+i] = 1
	}
	for c := range n {
		p := c
		for a[p][c] == 0 {
			p++
		}
		a[c], a[p] = a[p], a[c]
		scale := f.inv(a[c][c])
		for j := range a[c] {
			a[c][j] = f.mul(a[c][j], scale)
		}
		for r := range n {
			if factor := a[r][c]; r != c {
				for j := range a[r] {
					a[r][j] ^= f.mul(factor, a[c][j])
				}
			}
		}
	}
	for i := range a {
		a[i] = a[i][n:]
	}
	return a
}

func times(a, b [][]byte) [][]byte {
	out := make([][]byte, len(a))
	for i := range a {
		out[i] = make([]byte, len(b[0]))
		for j := range out[i] {
			for x := range b {
				out[i][j] ^= codeField.mul(a[i][x], b[x][j])
			}
		}
	}
	return out
}

// codeMatrix is the systematic Vandermonde matrix, n rows of k.
func codeMatrix(k, n int) [][]byte {
	m := make([][]byte, n)
	for r := range m {
		m[r] = make([]byte, k)
		for c := range m[r] {
			m[r][c] = codeField.pow(byte(r), c)
		}
	}
	return times(m, invert(m[:k]))
}

func twinAAD(b Binding) []byte {
	var out []byte
	out = append(out, "dsv shard 1"...)
	for _, s := range []string{b.ClusterID, b.Path.NS.String(), b.Path.Key.String()} {
		out = append(out, byte(len(s)>>8), byte(len(s)))
		out = append(out, s...)
	}
	out = append(out, byte(b.Set.Tx.Partition>>8), byte(b.Set.Tx.Partition))
	out = binary.BigEndian.AppendUint64(out, uint64(b.Set.Tx.T0))
	out = append(out, b.Set.Tx.Nonce[:]...)
	return append(out, byte(b.Set.Op>>8), byte(b.Set.Op))
}

func twinBucket(n int) int {
	for size := 64; ; size *= 2 {
		if n <= size {
			return size
		}
		if n <= size+size/2 {
			return size + size/2
		}
	}
}

func twinGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

// twinSeal is Seal.
func twinSeal(k, n int, b Binding, value, key []byte, split func([]byte, int, int) ([][]byte, error)) [][]byte {
	padded := twinBucket(len(value) + 4)
	plain := binary.BigEndian.AppendUint32(nil, uint32(len(value)))
	plain = append(plain, value...)
	plain = append(plain, make([]byte, padded-len(plain))...)
	text := twinGCM(key).Seal(nil, make([]byte, 12), plain, twinAAD(b))
	for len(text)%k != 0 {
		text = append(text, 0)
	}
	data := make([][]byte, k)
	for i := range data {
		data[i] = text[i*len(text)/k : (i+1)*len(text)/k]
	}
	keyShares, _ := split(key, n, k)
	out := make([][]byte, n)
	for rank, fragment := range times(codeMatrix(k, n), data) {
		aad := twinAAD(b)
		s := append([]byte{1}, aad[len(aad)-28:]...)
		s = append(s, byte(rank), byte(k), byte(n))
		s = binary.BigEndian.AppendUint32(s, uint32(padded))
		s = append(s, keyShares[rank]...)
		out[rank] = append(s, fragment...)
	}
	return out
}

// twinCombine is Combine of exactly k shards, without digests.
func twinCombine(k, n int, b Binding, shards map[int][]byte) ([]byte, error) {
	if len(shards) != k {
		return nil, fmt.Errorf("%d shards", len(shards))
	}
	var keyShares, fragments, rows [][]byte
	var padded int
	matrix := codeMatrix(k, n)
	for rank := range n {
		if s := shards[rank]; s != nil {
			padded = int(binary.BigEndian.Uint32(s[32:36]))
			keyShares = append(keyShares, s[36:69])
			fragments = append(fragments, s[69:])
			rows = append(rows, matrix[rank])
		}
	}
	text := bytes.Join(times(invert(rows), fragments), nil)
	plain, err := twinGCM(twinInterpolate(keyShares)).Open(nil, make([]byte, 12), text[:padded+16], twinAAD(b))
	if err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(plain)
	if int(size) > padded-4 {
		return nil, errors.New("length")
	}
	return plain[4 : 4+size], nil
}

// stream is a counter under SHA-256: the randomness of the vectors.
func stream(seed string) func() byte {
	var block []byte
	count := 0
	return func() byte {
		if len(block) == 0 {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, count))
			block, count = sum[:], count+1
		}
		b := block[0]
		block = block[1:]
		return b
	}
}

type byteReader func() byte

func (r byteReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r()
	}
	return len(p), nil
}

func testBinding(name string) Binding {
	path, err := dsv.ParsePath("team-a/app", name)
	if err != nil {
		panic(err)
	}
	b := Binding{ClusterID: "cluster-1", Path: path}
	b.Set.Tx = dsv.TxID{Partition: 3, T0: 1_790_000_000_000_000}
	copy(b.Set.Tx.Nonce[:], name+"................")
	b.Set.Op = 7
	return b
}
