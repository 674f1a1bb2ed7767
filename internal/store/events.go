package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// eventLog is the event rows the store holds. Only the committer changes it.
type eventLog struct {
	retain  int
	held    []uint64 // revisions of the rows, oldest first
	newest  uint64
	trimmed uint64 // revision of the newest row trimmed away
}

// A round deletes at most this many event rows; with the trim mark they cost
// at most this much.
const (
	trimRows = 512
	trimCost = trimRows * 64
)

// append adds the event rows of a round to its batch, trims, and reports
// whether it put anything.
func (l *eventLog) append(b *batch, accepted []*request) (puts bool) {
	for _, r := range accepted {
		if r.events == nil {
			continue
		}
		b.rows = append(b.rows, row{key: eventKey(r.rev), value: r.events, slot: byte(r.rev)})
		l.held, l.newest, puts = append(l.held, r.rev), r.rev, true
	}
	if !puts || len(l.held) <= l.retain+min(l.retain/8, trimRows/4) {
		return puts
	}
	n := min(len(l.held)-l.retain, trimRows-1)
	for _, rev := range l.held[:n] {
		b.rows = append(b.rows, row{key: eventKey(rev), del: true, slot: lastSlot})
	}
	l.trimmed = l.held[n-1]
	l.held = slices.Delete(l.held, 0, n)
	b.rows = append(b.rows, row{key: keyTrim, value: binary.BigEndian.AppendUint64(nil, l.trimmed), slot: lastSlot})
	return true
}

func eventKey(rev uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{spaceEvent}, rev)
}

const (
	eventsVersion = 1
	eventPut      = 0
	eventDelete   = 1
)

// encodeEvents is the value of the event row of a transaction: nil if it wrote
// nothing under the watched prefixes.
func encodeEvents(watched [][]byte, rows []row) []byte {
	if len(watched) == 0 {
		return nil
	}
	var b []byte
	for i := range rows {
		r := &rows[i]
		if !under(watched, r.key[1:]) {
			continue
		}
		if b == nil {
			b = append(b, eventsVersion)
		}
		if r.del {
			b = appendBytes(append(b, eventDelete), r.key[1:])
			continue
		}
		b = appendBytes(appendBytes(append(b, eventPut), r.key[1:]), r.value)
	}
	return b
}

// under reports whether one of the prefixes is one of key.
func under(prefixes [][]byte, key []byte) bool {
	return slices.ContainsFunc(prefixes, func(p []byte) bool { return bytes.HasPrefix(key, p) })
}

var errEventRow = fmt.Errorf("%w: event row", ErrCorrupt)

// decodeEvents returns the events under the prefixes.
func decodeEvents(b []byte, rev uint64, prefixes [][]byte) (events []Event, err error) {
	if len(b) == 0 || b[0] != eventsVersion {
		return nil, errEventRow
	}
	for b = b[1:]; len(b) > 0; {
		e := Event{Deleted: b[0] == eventDelete, Revision: rev}
		if b[0] > eventDelete {
			return nil, errEventRow
		}
		if e.Key, b, err = cutBytes(b[1:]); err != nil {
			return nil, err
		}
		if !e.Deleted {
			if e.Value, b, err = cutBytes(b); err != nil {
				return nil, err
			}
		}
		if under(prefixes, e.Key) {
			events = append(events, e)
		}
	}
	return events, nil
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// cutBytes copies what appendBytes wrote.
func cutBytes(b []byte) (field, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, errEventRow
	}
	b = b[size:]
	return append([]byte{}, b[:n]...), b[n:], nil
}

// loadEvents reads what the store holds for watchers and brings the registry
// of watched prefixes up to date.
func (c *core) loadEvents() error {
	c.log.retain = c.opt.WatchRetain
	v := c.eng.view(c.oracle.tick)
	trim, err := v.get(keyTrim)
	if err == nil && len(trim.Value) == 8 {
		c.log.trimmed = binary.BigEndian.Uint64(trim.Value)
	} else if !errors.Is(err, ErrNotFound) {
		return errors.Join(err, errEventRow)
	}
	lo := []byte{spaceEvent}
	err = v.scan(span{lo, successor(lo), lo}, walk{keysOnly: true}, func(key, _ []byte, _ uint64) bool {
		c.log.held = append(c.log.held, binary.BigEndian.Uint64(key[1:]))
		return true
	})
	if err != nil {
		return err
	}
	c.log.newest = c.log.trimmed
	if n := len(c.log.held); n > 0 {
		c.log.newest = c.log.held[n-1]
	}
	c.oracle.publish(c.oracle.tick, c.log.newest, c.log.trimmed)
	return c.register(v)
}

// register gives each watched prefix the revision since which all its events
// were kept: now, for one that no earlier registration covers.
func (c *core) register(v view) error {
	item, err := v.get(keyWatched)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	known, since, err := decodeRegistry(item.Value)
	if err != nil {
		return err
	}
	now := newestRevision(c.oracle.tick)
	c.since = make([]uint64, len(c.opt.Watched))
	for i, p := range c.opt.Watched {
		c.since[i] = now
		for j, q := range known {
			if bytes.HasPrefix(p, q) {
				c.since[i] = since[j]
			}
		}
	}
	enc := encodeRegistry(c.opt.Watched, c.since)
	if bytes.Equal(enc, item.Value) {
		return nil
	}
	b := batch{tick: c.oracle.tick + tickStep, rows: []row{{key: keyWatched, value: enc, slot: lastSlot}}}
	if err := c.eng.apply(&b); err != nil {
		return err
	}
	c.oracle.publish(b.tick, c.log.newest, c.log.trimmed)
	return nil
}

// encodeRegistry is a prefix and 8 bytes of revision for each; nil for none.
func encodeRegistry(prefixes [][]byte, since []uint64) []byte {
	var b []byte
	for i, p := range prefixes {
		b = binary.BigEndian.AppendUint64(appendBytes(b, p), since[i])
	}
	return b
}

func decodeRegistry(b []byte) (prefixes [][]byte, since []uint64, err error) {
	for len(b) > 0 {
		var p []byte
		if p, b, err = cutBytes(b); err != nil || len(b) < 8 {
			return nil, nil, errEventRow
		}
		prefixes, since = append(prefixes, p), append(since, binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	return prefixes, since, nil
}
