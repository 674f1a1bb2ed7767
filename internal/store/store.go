package store

import (
	"context"
	"errors"
	"strconv"
	"time"
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
	ErrUnknown    = errors.New("store: outcome of commit unknown") // the context ended while the commit was being written
	ErrFailed     = errors.New("store: a write failed, commits refused until reopened")
	ErrCorrupt    = errors.New("store: data damaged")
	ErrWrongKey   = errors.New("store: encryption key does not fit this directory")
	ErrInUse      = errors.New("store: directory is in use")
)

// RevisionError is a Condition that did not hold. It wraps ErrConflict.
type RevisionError struct {
	Key     []byte
	Current uint64 // revision the key has; 0: it is absent, or only this transaction wrote it
}

// Error does not tell the key.
func (e *RevisionError) Error() string {
	if e.Current == 0 {
		return "store: condition failed: key has no committed revision"
	}
	return "store: condition failed: key is at revision " + strconv.FormatUint(e.Current, 10)
}

// Unwrap returns ErrConflict.
func (e *RevisionError) Unwrap() error { return ErrConflict }

// CompactedError tells that events were asked for, or a slow watcher got to,
// a place the store no longer holds (or, after a restore, does not hold yet).
// The watcher has to reload: Start{Snapshot: true}. It wraps ErrCompacted.
type CompactedError struct {
	Oldest uint64 // smallest Start.After that still resumes
}

func (e *CompactedError) Error() string {
	return "store: revision compacted, oldest to resume after is " + strconv.FormatUint(e.Oldest, 10)
}

// Unwrap returns ErrCompacted.
func (e *CompactedError) Unwrap() error { return ErrCompacted }

// OpenError is a failed Open. The store deleted and moved nothing.
type OpenError struct {
	Dir string
	Err error
}

func (e *OpenError) Error() string { return "store: open " + e.Dir + ": " + e.Err.Error() }

// Unwrap returns the cause: ErrInUse, ErrWrongKey, ErrCorrupt (rebuild the
// directory from elsewhere) or one of the machine (permissions, space).
func (e *OpenError) Unwrap() error { return e.Err }

// Limits of keys, values and transactions. Bytes unless said.
const (
	MaxKey       = 32 << 10
	MaxValue     = 4 << 20
	MaxTxnBytes  = 16 << 20 // keys and values written, with 64 for each row
	MaxTxnRows   = 100_000  // rows written
	txnRowExtra  = 64
	maxRoundTxns = 256 // transactions in one engine batch
)

// SyncWithin is how long a CommitNoSync stays without a sync of the disk when no
// Commit follows.
const SyncWithin = 250 * time.Millisecond

// Store is an ordered map of bytes to bytes with serializable transactions.
// Two implementations, OpenBadger and OpenMemory, pass one conformance suite.
type Store interface {
	// Begin starts a transaction on the newest committed state. A ReadOnly
	// one is a snapshot that never conflicts and costs no tracking.
	Begin(mode Mode) (Txn, error)
	// Watch follows the registered ranges that overlap the given prefixes.
	Watch(ctx context.Context, from Start, prefixes ...[]byte) (*Watcher, error)
	// Revision is that of the newest commit. Revisions grow with each commit;
	// they are not contiguous.
	Revision() uint64
	// Close commits what is queued, ends every watcher and transaction with
	// ErrClosed and waits for all it started. Close again is a no-op.
	Close() error
}

// Mode of a transaction.
type Mode uint8

// Modes. The zero mode reads only.
const (
	ReadOnly Mode = iota
	ReadWrite
	// ReadWriteReserve is ReadWrite that may use the lower half of the free
	// space kept by Options.FreeFloor: for what must go on when new work is
	// already refused.
	ReadWriteReserve
)

// Txn is one transaction; not for concurrent use. It ends by Commit or Abort;
// Abort after either is a no-op that returns ErrEnded, any other use returns
// ErrEnded too. One that stays open longer than Options.MaxAge (ReadWrite) or
// Options.MaxReadAge (ReadOnly) returns ErrExpired from then on; one that was
// dropped therefore costs nothing for long. Keys and values given are copied,
// keys and values returned are the caller's.
type Txn interface {
	// Get returns the value (a copy; a legal empty value is non-nil) and its
	// revision, or ErrNotFound.
	Get(key []byte) (Item, error)
	// Put buffers pairs; the last of two with one key wins. It buffers all of
	// them or, with an error, none: *RevisionError, ErrEmptyKey, ErrTooLarge,
	// ErrTxnTooBig, ErrReadOnly. The transaction can go on after any of them.
	Put(pairs ...Pair) error
	// Scan returns up to page.Limit items whose key has the prefix, in byte
	// order, from the first key > page.After (or >= page.From). more tells
	// that another page follows. A nil prefix is the whole space.
	Scan(prefix []byte, page Page) (items []Item, more bool, err error)
	// Delete removes keys and reports how many existed.
	Delete(keys ...[]byte) (int, error)
	// DeletePrefix removes all keys with the prefix, in this transaction.
	DeletePrefix(prefix []byte) (int, error)
	// Count is len(Scan) without values, of the whole prefix.
	Count(prefix []byte) (int, error)
	// Commit makes the writes durable (fsync, where the store has a disk) and
	// returns their revision, or ErrConflict (or a *RevisionError) with nothing
	// written. Without writes it never conflicts and returns the revision of
	// its snapshot. If ctx ends while the commit waits its turn, ctx's error is
	// returned and nothing written; while it is being written, ErrUnknown.
	// ErrDiskFull refuses what puts while space is low, ErrFailed all writes
	// after one went wrong. Whatever it returns, the transaction has ended.
	Commit(ctx context.Context) (uint64, error)
	// CommitNoSync is Commit without the wait for the disk, for what can be
	// made again from elsewhere. Every transaction that begins after it sees
	// it, and it survives the death of the process. It is durable when any
	// Commit after it returns, at Close, or SyncWithin later; where the machine
	// dies before, what is lost is this commit and all after it, never one
	// before it and never a part.
	CommitNoSync(ctx context.Context) (uint64, error)
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
	Delete     bool // remove the key instead; Value is not looked at
}

// Condition of a Pair; judged when the transaction commits, and at once where
// it already fails. The zero Condition always holds.
type Condition struct {
	Absent   bool
	Revision uint64 // > 0: the key is there with this revision
}

// Page bounds a Scan. Limit 0 = no limit. Reverse walks from the end; the
// bounds stay what they are: the next page of a reverse walk has To = the last
// key of this one.
type Page struct {
	After    []byte // exclusive lower bound, a full key; nil = none
	From     []byte // inclusive lower bound, a full key
	To       []byte // exclusive upper bound, a full key; nil = end of prefix
	Limit    int
	KeysOnly bool // Values stay nil
	Reverse  bool
}
