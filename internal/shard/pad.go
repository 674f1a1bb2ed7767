package shard

import (
	"encoding/binary"
	"math/bits"

	"github.com/dsvault/dsv"
)

const (
	lengthSize = 4  // bytes before the value that say how long it is
	minBucket  = 64 // the smallest padded size
	tagSize    = 16 // bytes AES-GCM adds
)

// maxPadded is the padded size of the largest value.
var maxPadded = PaddedSize(dsv.MaxValue)

// PaddedSize is the size in bytes that a value of n bytes is padded to before
// it is encrypted: the first of 64, 96, 128, 192, 256, 384, ... that holds n
// and four bytes more.
func PaddedSize(n int) int { return bucket(n + lengthSize) }

// bucket is the first bucket of at least n bytes.
func bucket(n int) int {
	if n <= minBucket {
		return minBucket
	}
	power := 1 << bits.Len(uint(n-1)) // the first power of two >= n
	if half := power / 4 * 3; n <= half {
		return half
	}
	return power
}

// pad returns length, value and zeros, with room behind for the tag.
func pad(value []byte) []byte {
	size := PaddedSize(len(value))
	b := make([]byte, size, size+tagSize)
	binary.BigEndian.PutUint32(b, uint32(len(value)))
	copy(b[lengthSize:], value)
	return b
}

// unpad returns the value inside b, a part of b's memory with no capacity
// beyond it; false if b is not what pad makes.
func unpad(b []byte) ([]byte, bool) {
	if len(b) < minBucket {
		return nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-lengthSize) || PaddedSize(int(n)) != len(b) {
		return nil, false
	}
	clear(b[:lengthSize])
	end := lengthSize + int(n)
	return b[lengthSize:end:end], true
}
