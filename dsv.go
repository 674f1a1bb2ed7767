// Package dsv holds the words of the system: namespaces, keys, versions,
// transactions, share sets, quorums, the one error type and the type for
// secret bytes. It imports nothing of DSV and does no I/O; every other
// package speaks in these types.
package dsv

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// Limits of names and values. Sizes are bytes.
const (
	MaxSegments      = 8       // segments of a namespace
	MaxSegment       = 64      // one segment of a namespace
	MaxKey           = 128     // a key
	MaxValue         = 1 << 20 // a value, unless configured lower
	MaxBatchOps      = 256     // operations of one batch
	MaxBatchBytes    = 4 << 20 // values of one batch, in all
	MaxIdempotency   = 128     // an idempotency key
	MicrosPerSecond  = 1_000_000
	MicrosPerMilli   = 1_000
	DefaultTTLMicros = 10 * MicrosPerSecond // life of an undecided transaction
	MaxTTLMicros     = 60 * MicrosPerSecond
)

// Namespace is a well-formed namespace: 1 to 8 segments of [A-Za-z0-9._-]{1,64}
// joined by "/". The zero value is no namespace.
type Namespace struct{ s string }

// ParseNamespace returns the namespace s names, or a KindInvalid error that
// names the field "namespace".
func ParseNamespace(s string) (Namespace, error) {
	if s == "" {
		return Namespace{}, Invalid("namespace", "is empty: use 1 to 8 segments of [A-Za-z0-9._-] joined by \"/\"")
	}
	if strings.Count(s, "/") >= MaxSegments {
		return Namespace{}, Invalid("namespace", "has more than 8 segments")
	}
	for seg := range strings.SplitSeq(s, "/") {
		switch {
		case seg == "":
			return Namespace{}, Invalid("namespace", "has an empty segment")
		case len(seg) > MaxSegment:
			return Namespace{}, Invalid("namespace", "has a segment of more than 64 characters")
		case seg == "." || seg == "..":
			return Namespace{}, Invalid("namespace", "has a segment \".\" or \"..\"")
		case !alphabet(seg):
			return Namespace{}, Invalid("namespace", "has a character outside [A-Za-z0-9._-]")
		}
	}
	return Namespace{s}, nil
}

func (n Namespace) String() string { return n.s }

// IsZero reports whether n is the zero value.
func (n Namespace) IsZero() bool { return n.s == "" }

// Key is a well-formed key inside a namespace: 1 to 128 characters of
// [A-Za-z0-9._-], no leading ".". The zero value is no key.
type Key struct{ s string }

// ParseKey returns the key s names, or a KindInvalid error that names the
// field "key".
func ParseKey(s string) (Key, error) {
	switch {
	case s == "":
		return Key{}, Invalid("key", "is empty: use 1 to 128 characters of [A-Za-z0-9._-]")
	case len(s) > MaxKey:
		return Key{}, Invalid("key", "is longer than 128 characters")
	case s[0] == '.':
		return Key{}, Invalid("key", "begins with \".\"")
	case !alphabet(s):
		return Key{}, Invalid("key", "has a character outside [A-Za-z0-9._-]")
	}
	return Key{s}, nil
}

func (k Key) String() string { return k.s }

// IsZero reports whether k is the zero value.
func (k Key) IsZero() bool { return k.s == "" }

// Path names one secret.
type Path struct {
	NS  Namespace
	Key Key
}

// ParsePath parses both halves.
func ParsePath(ns, key string) (Path, error) {
	n, err := ParseNamespace(ns)
	if err != nil {
		return Path{}, err
	}
	k, err := ParseKey(key)
	if err != nil {
		return Path{}, err
	}
	return Path{n, k}, nil
}

func (p Path) String() string { return p.NS.s + ":" + p.Key.s }

func alphabet(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// NodeID is the name of a member or keeper: 1 to 64 of [a-z0-9-].
type NodeID string

// ParseNodeID returns the node id s names, or a KindInvalid error that names
// the field "node".
func ParseNodeID(s string) (NodeID, error) {
	if len(s) == 0 || len(s) > 64 {
		return "", Invalid("node", "is not 1 to 64 characters long")
	}
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return "", Invalid("node", "has a character outside [a-z0-9-]")
		}
	}
	return NodeID(s), nil
}

// StoreID names one life of one store: made with its directory and made anew
// after any loss. The zero value is no store.
type StoreID [16]byte

// Incarnation names one life of one process.
type Incarnation [16]byte

func (s StoreID) String() string     { return hex.EncodeToString(s[:]) }
func (i Incarnation) String() string { return hex.EncodeToString(i[:]) }

// NewStoreID returns a fresh random id.
func NewStoreID() (s StoreID) { _, _ = rand.Read(s[:]); return s }

// NewIncarnation returns a fresh random id.
func NewIncarnation() (i Incarnation) { _, _ = rand.Read(i[:]); return i }

// Partition is a partition of the log.
type Partition uint16

// Position is a place in the log. Offset -1 is before the first record.
type Position struct {
	Partition Partition
	Offset    int64
}

// String is the form of the DSV-Position header: "partition:offset".
func (p Position) String() string {
	return strconv.Itoa(int(p.Partition)) + ":" + strconv.FormatInt(p.Offset, 10)
}

// ParsePosition reads the form that String writes.
func ParsePosition(s string) (Position, error) {
	a, b, ok := strings.Cut(s, ":")
	part, err1 := strconv.ParseUint(a, 10, 16)
	off, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || err1 != nil || err2 != nil || off < -1 {
		return Position{}, Invalid("position", "is not PARTITION:OFFSET")
	}
	return Position{Partition(part), off}, nil
}

// TxID names a transaction: its partition, the log clock it was begun at
// (T0, microseconds of E) and 128 random bits.
type TxID struct {
	Partition Partition
	T0        int64
	Nonce     [16]byte
}

// TxIDSize is the length of a binary TxID in bytes.
const TxIDSize = 26

// NewTxID draws a fresh id.
func NewTxID(p Partition, t0 int64) TxID {
	t := TxID{Partition: p, T0: t0}
	_, _ = rand.Read(t.Nonce[:])
	return t
}

// AppendBinary appends the 26 byte form: partition, T0, nonce, big endian.
func (t TxID) AppendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(t.Partition))
	b = binary.BigEndian.AppendUint64(b, uint64(t.T0))
	return append(b, t.Nonce[:]...)
}

// Bytes is AppendBinary(nil).
func (t TxID) Bytes() []byte { return t.AppendBinary(make([]byte, 0, TxIDSize)) }

// TxIDFromBytes reads the binary form.
func TxIDFromBytes(b []byte) (TxID, error) {
	if len(b) != TxIDSize {
		return TxID{}, Invalid("txid", "is not 26 bytes long")
	}
	t := TxID{Partition: Partition(binary.BigEndian.Uint16(b)), T0: int64(binary.BigEndian.Uint64(b[2:]))}
	copy(t.Nonce[:], b[10:])
	return t, nil
}

// String is the operation id users see: unpadded base64url of the binary form.
func (t TxID) String() string { return base64.RawURLEncoding.EncodeToString(t.Bytes()) }

// ParseTxID reads the form that String writes.
func ParseTxID(s string) (TxID, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != TxIDSize {
		return TxID{}, Invalid("operation", "is not an operation id")
	}
	return TxIDFromBytes(b)
}

// IsZero reports whether t is the zero value.
func (t TxID) IsZero() bool { return t == TxID{} }

// ShareSet names the n shards of one split: an operation of a transaction.
// Shards of two share sets are never combined.
type ShareSet struct {
	Tx TxID
	Op uint16
}

// ShareSetSize is the length of a binary ShareSet in bytes.
const ShareSetSize = TxIDSize + 2

// AppendBinary appends the 28 byte form.
func (s ShareSet) AppendBinary(b []byte) []byte {
	return binary.BigEndian.AppendUint16(s.Tx.AppendBinary(b), s.Op)
}

// Bytes is AppendBinary(nil).
func (s ShareSet) Bytes() []byte { return s.AppendBinary(make([]byte, 0, ShareSetSize)) }

// ShareSetFromBytes reads the binary form.
func ShareSetFromBytes(b []byte) (ShareSet, error) {
	if len(b) != ShareSetSize {
		return ShareSet{}, Invalid("share set", "is not 28 bytes long")
	}
	tx, err := TxIDFromBytes(b[:TxIDSize])
	return ShareSet{tx, binary.BigEndian.Uint16(b[TxIDSize:])}, err
}

func (s ShareSet) String() string { return s.Tx.String() + "/" + strconv.Itoa(int(s.Op)) }

// IsZero reports whether s is the zero value.
func (s ShareSet) IsZero() bool { return s == ShareSet{} }

// Quorum is the arithmetic of a cluster: threshold K, shards N, write quorum W.
// The zero value is invalid on purpose.
type Quorum struct{ K, N, W int }

// Validate refuses K < 2, W <= K, W > N, N > 255 and K+W <= N.
func (q Quorum) Validate() error {
	switch {
	case q.K < 2:
		return Invalid("quorum.k", "must be at least 2")
	case q.W <= q.K:
		return Invalid("quorum.w", "must be greater than k")
	case q.W > q.N:
		return Invalid("quorum.w", "must be at most n")
	case q.N > 255:
		return Invalid("quorum.n", "must be at most 255")
	case q.K+q.W <= q.N:
		return Invalid("quorum", "k + w must be greater than n")
	}
	return nil
}
