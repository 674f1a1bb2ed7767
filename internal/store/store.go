package store

import (
	"context"
	"errors"
)

// Errors of this package, told apart with errors.Is.
var (
	ErrNotFound   = errors.New("store: key not found")
	ErrEmptyKey   = errors.New("store: key is empty")
	ErrTooLarge   = errors.New("store: key or value too large")
	ErrTxnTooBig  = errors.New("store: transaction too big")
	ErrReadOnly   = errors.New("store: transaction is read-only")
	ErrConflict   = errors.New("store: conflict") // a concurrent commit changed what this one read; also wrapped by *RevisionError
	ErrEnded      = errors.New("store: transaction has ended")
	ErrExpired    = errors.New("store: transaction expired")
	ErrClosed     = errors.New("store: closed")
	ErrCompacted  = errors.New("store: revision compacted") // wrapped by *CompactedError
	ErrNotWatched = errors.New("store: range was not registered at Open")
	ErrDiskFull   = errors.New("store: free space below its floor")
)

// Store is an ordered map of bytes to bytes with serializable transactions.
// Two implementations, OpenBadger and OpenMemory, pass one conformance suite.
type Store interface {
	// Begin starts a transaction on the newest committed state. A ReadOnly
	// one is a snapshot that never conflicts and costs no tracking.
	Begin(mode Mode) (Txn, error)
	// Watch follows the registered ranges that overlap the given prefixes.
	Watch(ctx context.Context, from Start, prefixes ...[]byte) (*Watcher, error)
	// Revision is that of the newest commit.
	Revision() uint64
	Close() error
}

// Mode of a transaction.
type Mode uint8

// Modes. The zero mode reads only.
const (
	ReadOnly Mode = iota
	ReadWrite
)

// Txn is one transaction; not for concurrent use. It ends by Commit or Abort;
// Abort after either is a no-op that returns ErrEnded.
type Txn interface {
	// Get returns the value (a copy; a legal empty value is non-nil) and its
	// revision, or ErrNotFound.
	Get(key []byte) (Item, error)
	// Put buffers pairs; the last of two with one key wins.
	Put(pairs ...Pair) error
	// Scan returns up to page.Limit items whose key has the prefix, in byte
	// order, from the first key > page.After (or >= page.From). more tells
	// that another page follows. A nil prefix is the whole space.
	Scan(prefix []byte, page Page) (items []Item, more bool, err error)
	// Delete removes keys and reports how many existed.
	Delete(keys ...[]byte) (int, error)
	// DeletePrefix removes all keys with the prefix, in this transaction.
	DeletePrefix(prefix []byte) (int, error)
	// Count is len(Scan) without values.
	Count(prefix []byte) (int, error)
	// Commit makes the writes durable (fsync, where the store has a disk) and
	// returns their revision, or ErrConflict with nothing written.
	Commit(ctx context.Context) (uint64, error)
	// Abort drops the transaction.
	Abort() error
}

// Item is one key as a transaction sees it. Revision 0: written by this
// transaction and not yet committed.
type Item struct {
	Key, Value []byte
	Revision   uint64
}

// Pair is one write. Without a condition it always applies.
type Pair struct {
	Key, Value []byte
	If         Condition
}

// Condition of a Pair; judged when the transaction commits, and at once where
// it already fails. The zero Condition always holds.
type Condition struct {
	Absent   bool
	Revision uint64 // > 0: the key is there with this revision
}

// Page bounds a Scan. Limit 0 = no limit. Reverse walks from the end.
type Page struct {
	After    []byte // exclusive lower bound, a full key
	From     []byte // inclusive lower bound, a full key
	To       []byte // exclusive upper bound, a full key; nil = end of prefix
	Limit    int
	KeysOnly bool // Values stay nil
	Reverse  bool
}
