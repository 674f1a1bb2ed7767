package store

import (
	"bytes"

	"github.com/google/btree"
)

// Scan returns a page of items.
func (t *txn) Scan(prefix []byte, page Page) (items []Item, more bool, err error) {
	if err := t.check(); err != nil {
		return nil, false, err
	}
	more, err = t.walk(bounds(prefix, page), page, func(key, value []byte, rev uint64) {
		if page.KeysOnly {
			value = nil
		}
		item := newItem(key, value, rev)
		if page.KeysOnly {
			item.Value = nil
		}
		items = append(items, item)
	})
	if err != nil {
		return nil, false, err
	}
	return items, more, nil
}

// Count is the number of keys with the prefix.
func (t *txn) Count(prefix []byte) (int, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	n := 0
	_, err := t.walk(bounds(prefix, Page{}), Page{KeysOnly: true}, func(_, _ []byte, _ uint64) { n++ })
	if err != nil {
		return 0, err
	}
	return n, nil
}

// bounds is the span of the engine's keys that a page asks for.
func bounds(prefix []byte, page Page) span {
	lo := userKey(make([]byte, 0, len(prefix)+1), prefix)
	s := span{lo: lo, hi: successor(lo), prefix: lo}
	if page.From != nil {
		if from := userKey(nil, page.From); bytes.Compare(from, s.lo) > 0 {
			s.lo = from
		}
	}
	if page.After != nil {
		if after := append(userKey(nil, page.After), 0); bytes.Compare(after, s.lo) > 0 {
			s.lo = after
		}
	}
	if page.To != nil {
		if to := userKey(nil, page.To); bytes.Compare(to, s.hi) < 0 {
			s.hi = to
		}
	}
	return s
}

// walk visits the keys of a span as the transaction sees them, at most
// page.Limit, and tracks what it looked at. more tells that one more is there.
func (t *txn) walk(s span, page Page, visit func(key, value []byte, rev uint64)) (more bool, err error) {
	if bytes.Compare(s.lo, s.hi) >= 0 {
		return false, nil
	}
	n := 0
	var last []byte
	yield := func(key, value []byte, rev uint64) bool {
		if page.Limit > 0 && n == page.Limit {
			more, last = true, bytes.Clone(key)
			return false
		}
		n++
		visit(key, value, rev)
		return true
	}
	err = t.read(func(v view) error { return t.merge(v, s, walk{page.Reverse, page.KeysOnly}, yield) })
	if err != nil {
		return false, err
	}
	switch {
	case !more:
		t.trackRange(s.lo, s.hi)
	case page.Reverse:
		t.trackRange(last, s.hi)
	default:
		t.trackRange(s.lo, append(last, 0))
	}
	return more, nil
}

// merge yields the rows of the view overlaid with the transaction's writes.
func (t *txn) merge(v view, s span, w walk, yield func(key, value []byte, rev uint64) bool) error {
	if t.writes == nil || t.writes.Len() == 0 {
		return v.scan(s, w, yield)
	}
	own := cursor{tree: t.writes, s: s, reverse: w.reverse}
	own.next()
	stopped := false
	emit := func(o *write) bool {
		own.next()
		if !o.del && !yield(o.key, o.value, 0) {
			stopped = true
		}
		return !stopped
	}
	err := v.scan(s, w, func(key, value []byte, rev uint64) bool {
		for own.at != nil {
			cmp := bytes.Compare(own.at.key, key)
			if w.reverse {
				cmp = -cmp
			}
			if cmp == 0 {
				return emit(own.at)
			}
			if cmp > 0 {
				break
			}
			if !emit(own.at) {
				return false
			}
		}
		stopped = !yield(key, value, rev)
		return !stopped
	})
	for err == nil && !stopped && own.at != nil {
		emit(own.at)
	}
	return err
}

// cursor walks the writes in a span, a few at a time.
type cursor struct {
	tree    *btree.BTreeG[*write]
	s       span // what is still to be walked
	reverse bool
	at      *write // nil at the end
	ahead   []*write
}

const cursorStep = 64

func (c *cursor) next() {
	if len(c.ahead) == 0 {
		c.fill()
	}
	if len(c.ahead) == 0 {
		c.at = nil
		return
	}
	c.at, c.ahead = c.ahead[0], c.ahead[1:]
}

func (c *cursor) fill() {
	take := func(w *write) bool {
		c.ahead = append(c.ahead, w)
		return len(c.ahead) < cursorStep
	}
	lo, hi := &write{row: row{key: c.s.lo}}, &write{row: row{key: c.s.hi}}
	if bytes.Compare(lo.key, hi.key) >= 0 {
		return
	}
	if !c.reverse {
		c.tree.AscendRange(lo, hi, take)
		if n := len(c.ahead); n > 0 {
			c.s.lo = append(bytes.Clone(c.ahead[n-1].key), 0)
		}
		return
	}
	c.tree.DescendLessOrEqual(hi, func(w *write) bool {
		if bytes.Equal(w.key, c.s.hi) {
			return true
		}
		return bytes.Compare(w.key, c.s.lo) >= 0 && take(w)
	})
	if n := len(c.ahead); n > 0 {
		c.s.hi = c.ahead[n-1].key
	}
}
