// Package shard makes the n shards of one version of a secret and rebuilds the
// value from any k of them. It is a leaf: it knows bytes, not where they lie.
//
// # What is made
//
// Seal pads the value, encrypts it with AES-256-GCM under a data key of 32
// fresh random bytes, splits that key k of n with Shamir's scheme and the
// ciphertext k of n with Reed-Solomon (Krawczyk, "Secret Sharing Made Short",
// CRYPTO '93). k-1 shards are independent of the key and hold less ciphertext
// than it takes; the value itself is never split, so a digest of a shard lets
// nobody test a guess of it.
//
// The nonce of the cipher is twelve zero bytes: a data key encrypts one
// message, ever. Its additional data bind the ciphertext to where it belongs:
//
//	"dsv shard 1" | cluster id | namespace | key | share set (28 bytes)
//
// where cluster id, namespace and key are each preceded by their length in two
// bytes. The version number is not among them: it is not known when a value is
// sealed. All integers here are big endian.
//
// # Padding
//
// The plaintext is the length of the value in four bytes, the value, and zeros
// up to the next bucket: 64 bytes, then 96, 128, 192, 256, 384 and so on,
// powers of two and a half more. The ciphertext is that and a tag of 16 bytes.
// So the sizes of shards, and the padded size in the metadata, tell the bucket
// and no more.
//
// # One encoded shard
//
//	offset  bytes
//	     0      1  format, 1
//	     1     28  share set
//	    29      1  rank, 0 to n-1: the holder's place, and the row of the code
//	    30      1  k
//	    31      1  n
//	    32      4  padded size, a bucket
//	    36     33  key share: 32 bytes of y, then its own x (never 0)
//	    69      f  fragment, f = ceil((padded size + 16) / k)
//
// A shard has one encoding: no field is optional, nothing may follow. The x of
// a key share is drawn at random by the library and has nothing to do with the
// rank. Fragments of rank 0 to k-1 are the ciphertext itself, cut into k equal
// pieces with zeros after its end; rank k to n-1 are parity rows of the
// systematic Vandermonde matrix over GF(2^8) mod 0x11D.
//
// # What is trusted
//
// shamir.Combine returns garbage and no error for shares that are too few,
// damaged or mixed. So nothing is combined before its SHA-256 equals the digest
// in the metadata, and nothing is returned before the tag of the cipher is
// right. Data keys, key shares and padded plaintext are overwritten as soon as
// they have served; the expanded key inside crypto/aes cannot be.
package shard
