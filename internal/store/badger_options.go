package store

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Values from this size on live in the value log: then a commit syncs two
// files, and Badger reports a damaged one only as an empty value, which view
// has to notice. So only what is too large for a table goes there, and nothing
// of the store's own.
const valueThreshold = 1 << 20

// badgerOptions are chosen for a small resident size. A memtable is in memory
// twice, as skip list and as mapped write-ahead log, and may be flushing while
// the next one fills; the skip list also counts as live heap, so a large one
// doubles the garbage Go lets lie around.
func badgerOptions(opt Options, key []byte, log *logger) badger.Options {
	o := badger.DefaultOptions(opt.Dir)
	o.SyncWrites = !ownSync
	o.VerifyValueChecksum = true
	o.ChecksumVerificationMode = options.OnBlockRead // tables are verified before Open, see verifyFirst
	o.DetectConflicts = false                        // the committer does
	o.NumVersionsToKeep = 1
	o.Compression = options.None // shards are random bytes
	o.EncryptionKey = key
	o.ExternalMagicVersion = formatVersion
	o.MetricsEnabled = false
	o.Logger = log

	o.MemTableSize = opt.memTable
	o.NumMemtables = 2
	o.NumCompactors = 2
	o.BlockCacheSize = 16 << 20
	o.IndexCacheSize = 16 << 20 // not 0: Badger panics at the first flush with encryption
	o.ValueThreshold = min(valueThreshold, opt.memTable/10)
	o.ValueLogFileSize = 64 << 20
	return o
}

// formatVersion is refused by any other version of this package.
const formatVersion = 1

// logger gives Badger's warnings to slog. Badger logs, but does not return, a
// failed sync of the value log (where it does the syncs, see ownSync); so the
// engine asks for it, and for a sync of our own that no commit waited for.
type logger struct {
	to         *slog.Logger
	syncFailed atomic.Bool
}

func (l *logger) Errorf(format string, a ...any) {
	if strings.HasPrefix(format, "Error while curlf sync") {
		l.syncFailed.Store(true)
	}
	l.to.Error("badger", "message", line(format, a))
}

func (l *logger) Warningf(format string, a ...any) { l.to.Warn("badger", "message", line(format, a)) }
func (l *logger) Infof(string, ...any)             {}
func (l *logger) Debugf(string, ...any)            {}

// line drops what may hold keys: Badger prints them with a failed read.
func line(format string, a []any) string {
	if strings.Contains(format, "Key: %v") {
		return "unable to read a value"
	}
	return strings.TrimSpace(fmt.Sprintf(format, a...))
}
