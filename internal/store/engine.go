package store

// engine is what differs between the stores: an ordered map of byte keys that
// the committer alone writes, one batch at a time, each at the next tick.
type engine interface {
	// newest is the tick of the newest batch; asked once, at open.
	newest() uint64
	// cost of a row in a batch, and how many rows and how much cost a batch
	// may have to be written at once. A larger one works but is slower.
	cost(key, value []byte) int64
	limits() (rows int, cost int64)
	// apply writes a batch, all or nothing, across a crash too. Views do not
	// show it before publish. It outlives the process, but the machine only
	// once sync returned; a crash of that leaves a first part of the batches
	// applied since. After an error the engine is in an unknown state and is
	// not written again.
	apply(b *batch) error
	// sync makes all that was applied durable.
	sync() error
	// publish lets views show everything up to tick. The committer calls it
	// under the oracle's lock; others call view under that lock.
	publish(tick uint64)
	view(tick uint64) view
	// discard tells that no view below tick is in use any more.
	discard(tick uint64)
	close() error
}

// view is one state of an engine. It is not for concurrent use.
type view interface {
	// get returns a copy of the row, its key without the space byte, or
	// ErrNotFound.
	get(key []byte) (Item, error)
	// scan yields the rows of a span in order until yield returns false. Key
	// and value are valid during the call only.
	scan(s span, w walk, yield func(key, value []byte, rev uint64) bool) error
}

type walk struct{ reverse, keysOnly bool }

// span is the keys lo <= key < hi, all of which have prefix.
type span struct{ lo, hi, prefix []byte }

// batch is the writes of one round of transactions. Of two rows with one key
// the later wins.
type batch struct {
	tick uint64
	rows []row
	cost int64
}

// row is one write. Its revision is the batch's tick and the slot of its
// transaction in the round.
type row struct {
	key, value []byte
	hash       uint64
	del        bool
	slot       byte
}

// revision of a slot of a tick. The last transaction of every round has the
// highest slot, so the newest revision follows from the newest tick alone.
func revision(tick uint64, slot byte) uint64 { return tick<<8 | uint64(slot) }

// newestRevision at a tick; 0 for an empty store.
func newestRevision(tick uint64) uint64 {
	if tick == 0 {
		return 0
	}
	return revision(tick, lastSlot)
}

const lastSlot = maxRoundTxns - 1

// tickStep leaves a tick free below each batch, for its redo row.
const tickStep = 2

// The engine's key space: one byte, then a key. Only user keys can be reached
// through a Txn.
const (
	spaceUser  = 'k'
	spaceEvent = 'e' // + revision, 8 bytes big endian
	spaceState = 's' // + one of the names below
)

var (
	keyTick    = []byte("stick")    // written by a batch that only deletes, so that its tick outlives compaction
	keyTrim    = []byte("strim")    // revision of the newest event row ever trimmed, 8 bytes
	keyWatched = []byte("swatched") // the registered prefixes and since when, see registry
	keyRedo    = []byte("sredo")    // a batch too large for one engine transaction, while it is being written: see redo.go
)

// userKey appends the engine's key for a user key.
func userKey(dst, key []byte) []byte { return append(append(dst, spaceUser), key...) }

// successor is the smallest key above all keys with the prefix, which is not
// empty and does not consist of 0xFF only.
func successor(prefix []byte) []byte {
	out := append([]byte(nil), prefix...)
	for len(out) > 0 {
		last := len(out) - 1
		out[last]++
		if out[last] != 0 {
			break
		}
		out = out[:last]
	}
	return out
}
