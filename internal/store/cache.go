package store

import (
	"bytes"
	"hash/maphash"
	"sync"
)

// rowCache keeps rows that were written or read lately as they are in the
// newest batch: what a key holds there, or that it is not there. A row in a
// table costs Badger a bloom filter and two binary searches at each level; most
// reads are of few rows, and of rows just written.
//
// Invariant: an entry tells what every view sees from its tick up to the
// cache's. note keeps it: it replaces or drops the entries of all rows of a batch
// before any view can show the batch. A read may add what it saw only if no batch was
// noted since its view was taken.
//
// There are two generations. Entries enter the young one; when it is full it
// becomes the old one, and the old one goes. An old entry that is read moves to
// the young one.
type rowCache struct {
	seed maphash.Seed

	mu         sync.Mutex
	max        int // bytes of one generation
	tick       uint64
	young, old map[uint64]cachedRow
	size       int // of young
}

// cachedRow is a row, or that there is none. Nobody writes to its bytes.
type cachedRow struct {
	key, value []byte
	rev        uint64 // 0: there is no row
	tick       uint64 // of the row, or of a batch in which it was absent
}

const (
	cacheBytes  = 32 << 20 // of both generations
	maxCached   = 4 << 10  // bytes of a row
	cachedExtra = 120      // bytes of an entry beside key and value, about
)

func newRowCache(tick uint64, max int) *rowCache {
	return &rowCache{seed: maphash.MakeSeed(), max: max / 2, tick: tick, young: map[uint64]cachedRow{}}
}

// note takes in a batch that is written and not shown yet.
func (c *rowCache) note(b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick = b.tick
	for i := range b.rows {
		r := &b.rows[i]
		if r.key[0] != spaceUser { // read by scans only
			continue
		}
		hash := maphash.Bytes(c.seed, r.key)
		if r.del { // seldom read again
			c.drop(hash)
			continue
		}
		c.put(hash, cachedRow{key: r.key, value: r.value, rev: revision(b.tick, r.slot), tick: b.tick})
	}
}

// shown tells that views are taken at a tick now, also where it was no batch
// that led to it.
func (c *rowCache) shown(tick uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick = tick
}

// put replaces what is there under a hash. Called locked.
func (c *rowCache) put(hash uint64, e cachedRow) {
	c.drop(hash)
	size := e.size()
	if size > maxCached {
		return
	}
	if c.size+size > c.max {
		c.old, c.young, c.size = c.young, map[uint64]cachedRow{}, 0
	}
	c.young[hash] = e
	c.size += size
}

// drop forgets what is there under a hash. Called locked.
func (c *rowCache) drop(hash uint64) {
	delete(c.old, hash)
	if was, ok := c.young[hash]; ok {
		c.size -= was.size()
		delete(c.young, hash)
	}
}

func (e *cachedRow) size() int { return len(e.key) + len(e.value) + cachedExtra }

// get returns what a view at a tick sees of a key, if that is known.
func (c *rowCache) get(key []byte, tick uint64) (e cachedRow, ok bool) {
	hash := maphash.Bytes(c.seed, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok = c.young[hash]
	if !ok {
		if e, ok = c.old[hash]; ok {
			c.put(hash, e)
		}
	}
	return e, ok && e.tick <= tick && bytes.Equal(e.key, key)
}

// add takes in a copy of what a view at a tick saw: a row, or none.
func (c *rowCache) add(key []byte, tick uint64, item *Item) {
	e := cachedRow{key: key, tick: tick}
	if item != nil {
		e.value, e.rev, e.tick = item.Value, item.Revision, item.Revision>>8
	}
	hash := maphash.Bytes(c.seed, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tick == tick && e.size() <= maxCached {
		e.key, e.value = bytes.Clone(key), bytes.Clone(e.value)
		c.put(hash, e)
	}
}
