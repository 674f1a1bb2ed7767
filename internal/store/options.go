package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/dsvault/dsv"
)

// Options of a store. OpenMemory looks at Watched, WatchRetain, MaxAge,
// MaxReadAge and OneByOne only.
type Options struct {
	// Dir is the directory of the store, made if it is not there. One store
	// has it for itself.
	Dir string
	// EncryptionKey is 32 bytes. The store keeps a copy until Close.
	EncryptionKey dsv.Secret

	// Watched are the prefixes that Watch can follow. Writes under them cost
	// an event row more. A nil prefix is the whole space.
	Watched [][]byte
	// WatchRetain is how many transactions with events are kept for watchers
	// that resume or are slow; 0 means 10,000.
	WatchRetain int

	// FreeFloor is the free space in bytes below which transactions that put
	// are refused with ErrDiskFull; ReadWriteReserve ones at half of it. The
	// space is looked at at most every 100 ms, so choose it larger than what
	// is written in that time: 256 MiB is sensible. 0: no floor.
	FreeFloor int64
	// Ballast is the size in bytes of a file BALLAST kept in Dir, to be
	// deleted by the operator of a full disk so that the store can open. It
	// is made again at an Open that finds room for it. 0: none.
	Ballast int64
	// FreeSpace replaces the look at the file system.
	FreeSpace func(dir string) (int64, error)

	// MaxAge is the life of a ReadWrite transaction; 0 means 30 s.
	MaxAge time.Duration
	// MaxReadAge is the life of a ReadOnly transaction; 0 means 10 min.
	MaxReadAge time.Duration
	// GCEvery is the interval of the value log's garbage collection; 0 means
	// 10 min.
	GCEvery time.Duration

	// OneByOne writes each transaction with an fsync of its own. It is there
	// to measure what merging gains.
	OneByOne bool
	// Logger gets warnings of the engine; nil drops them.
	Logger *slog.Logger

	memTable int64                // bytes of a Badger memtable; 0: memTableSize
	cache    int                  // bytes of rows in memory; 0: cacheBytes
	fsync    func(*os.File) error // nil: fdatasync
}

const (
	defaultRetain     = 10_000
	defaultMaxAge     = 30 * time.Second
	defaultMaxReadAge = 10 * time.Minute
	defaultGCEvery    = 10 * time.Minute
	memTableSize      = 16 << 20
)

// complete fills in defaults and reports every fault of the options.
func (o Options) complete(disk bool) (Options, error) {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	if disk {
		if o.Dir == "" {
			bad("no directory")
		}
		if o.EncryptionKey.Len() != 32 {
			bad("encryption key is %d bytes long, not 32", o.EncryptionKey.Len())
		}
	}
	if o.WatchRetain < 0 || o.FreeFloor < 0 || o.Ballast < 0 || o.MaxAge < 0 || o.MaxReadAge < 0 || o.GCEvery < 0 {
		bad("a number is negative")
	}
	for _, p := range o.Watched {
		if len(p) > MaxKey {
			bad("a watched prefix is longer than %d bytes", MaxKey)
		}
	}
	o.Watched = disjoint(o.Watched)
	setDefault(&o.WatchRetain, defaultRetain)
	setDefault(&o.MaxAge, defaultMaxAge)
	setDefault(&o.MaxReadAge, defaultMaxReadAge)
	setDefault(&o.GCEvery, defaultGCEvery)
	setDefault(&o.memTable, memTableSize)
	if o.fsync == nil {
		o.fsync = fdatasync
	}
	setDefault(&o.cache, cacheBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(faults...)
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// disjoint sorts prefixes and drops those that another one covers.
func disjoint(prefixes [][]byte) [][]byte {
	var out [][]byte
	sorted := slices.SortedFunc(slices.Values(prefixes), bytes.Compare)
	for _, p := range sorted {
		if len(out) == 0 || !bytes.HasPrefix(p, out[len(out)-1]) {
			out = append(out, bytes.Clone(p))
		}
	}
	return out
}
