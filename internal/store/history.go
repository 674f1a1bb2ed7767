package store

import (
	"bytes"
	"slices"
	"sort"
)

// history is the keys of the commits that an open writer may not have seen.
// Only the committer uses it.
type history struct {
	last map[uint64]uint64 // hash of a key -> tick of its newest commit in log
	log  []commitKeys      // by tick
	size int               // keys in log
	max  int               // keys to remember; a writer that needs more expires
}

// commitKeys is the keys of one transaction, sorted.
type commitKeys struct {
	tick   uint64
	keys   [][]byte
	hashes []uint64
}

const maxHistory = 1 << 18

// record remembers the rows, sorted by key, of a transaction.
func (h *history) record(tick uint64, rows []row) {
	c := commitKeys{tick, make([][]byte, len(rows)), make([]uint64, len(rows))}
	for i := range rows {
		c.keys[i], c.hashes[i] = rows[i].key, rows[i].hash
		h.last[rows[i].hash] = tick
	}
	h.log = append(h.log, c)
	h.size += len(rows)
}

// trim forgets what happened up to tick.
func (h *history) trim(tick uint64) {
	n := 0
	for n < len(h.log) && h.log[n].tick <= tick {
		for _, hash := range h.log[n].hashes {
			if h.last[hash] <= tick {
				delete(h.last, hash)
			}
		}
		h.size -= len(h.log[n].keys)
		n++
	}
	if n == len(h.log) {
		h.log = nil
		return
	}
	h.log = slices.Delete(h.log, 0, n)
}

// excess is the tick to trim to so that the history is within its limit.
func (h *history) excess() (tick uint64, over bool) {
	size := h.size
	for i := range h.log {
		if size <= h.max {
			break
		}
		size -= len(h.log[i].keys)
		tick, over = h.log[i].tick, true
	}
	return tick, over
}

// changed reports whether a key with the hash was committed after tick. It
// errs on the safe side for keys that share a hash.
func (h *history) changed(hash, tick uint64) bool { return h.last[hash] > tick }

// touched reports whether a key in the ranges, which are sorted and disjoint,
// was committed after tick.
func (h *history) touched(ranges []span, tick uint64) bool {
	if len(ranges) == 0 {
		return false
	}
	for i := len(h.log) - 1; i >= 0 && h.log[i].tick > tick; i-- {
		if overlaps(h.log[i].keys, ranges) {
			return true
		}
	}
	return false
}

// overlaps looks the fewer up in the more.
func overlaps(keys [][]byte, ranges []span) bool {
	if len(keys) < len(ranges) {
		for _, k := range keys {
			i := sort.Search(len(ranges), func(i int) bool { return bytes.Compare(ranges[i].hi, k) > 0 })
			if i < len(ranges) && bytes.Compare(ranges[i].lo, k) <= 0 {
				return true
			}
		}
		return false
	}
	for _, r := range ranges {
		i := sort.Search(len(keys), func(i int) bool { return bytes.Compare(keys[i], r.lo) >= 0 })
		if i < len(keys) && bytes.Compare(keys[i], r.hi) < 0 {
			return true
		}
	}
	return false
}

// coalesce sorts ranges and joins those that meet.
func coalesce(ranges []span) []span {
	slices.SortFunc(ranges, func(a, b span) int { return bytes.Compare(a.lo, b.lo) })
	out := ranges[:0]
	for _, r := range ranges {
		if n := len(out); n > 0 && bytes.Compare(r.lo, out[n-1].hi) <= 0 {
			if bytes.Compare(r.hi, out[n-1].hi) > 0 {
				out[n-1].hi = r.hi
			}
			continue
		}
		out = append(out, r)
	}
	return out
}
