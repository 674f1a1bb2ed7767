package shard

import (
	"errors"
	"fmt"
)

// Errors of this package, told apart with errors.Is. None of them, and no
// error of this package, holds a byte of a shard or a value.
var (
	// ErrDamaged: the bytes are not those that were sealed.
	ErrDamaged = errors.New("shard: damaged")
	// ErrForeign: a shard of another share set, rank or quorum.
	ErrForeign = errors.New("shard: foreign")
	// ErrMissing: there are no bytes.
	ErrMissing = errors.New("shard: missing")
	// ErrTooFew: fewer than k good shards; the error is a *TooFewError.
	ErrTooFew = errors.New("shard: too few")
	// ErrCorrupt: k shards with the right digests do not make the value, so
	// the metadata or the binding is not that of these shards.
	ErrCorrupt = errors.New("shard: corrupt")
)

// Reason says what is wrong with a shard.
type Reason uint8

// The reasons. The zero Reason is none.
const (
	Damaged Reason = iota + 1 // not the bytes that were sealed
	Foreign                   // of another share set, rank or quorum
	Missing                   // no bytes
)

func (r Reason) String() string {
	switch r {
	case Damaged:
		return "damaged"
	case Foreign:
		return "foreign"
	case Missing:
		return "missing"
	}
	return "good"
}

// BadError is a shard that is not what the metadata says. It is ErrDamaged,
// ErrForeign or ErrMissing for errors.Is.
type BadError struct {
	Rank   int // of the holder that handed it out, not what the shard claims
	Reason Reason
	Detail string
}

func (e *BadError) Error() string {
	return fmt.Sprintf("shard: rank %d is %s: %s", e.Rank, e.Reason, e.Detail)
}

// Is makes a BadError equal to the sentinel of its reason.
func (e *BadError) Is(target error) bool {
	switch e.Reason {
	case Damaged:
		return target == ErrDamaged
	case Foreign:
		return target == ErrForeign
	case Missing:
		return target == ErrMissing
	}
	return false
}

// TooFewError says how many good shards there were, and how many it takes. It
// is ErrTooFew for errors.Is.
type TooFewError struct{ Have, Need int }

func (e *TooFewError) Error() string {
	return fmt.Sprintf("shard: too few: %d good shards, %d needed", e.Have, e.Need)
}

// Is makes a TooFewError equal to ErrTooFew.
func (e *TooFewError) Is(target error) bool { return target == ErrTooFew }
