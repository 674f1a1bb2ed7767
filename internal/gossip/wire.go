package gossip

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/dsvault/dsv"
)

const (
	wireVersion = 1
	maxMessage  = 128 << 10 // about one node
	maxExchange = 8 << 20   // all messages of a push/pull
	maxPacket   = 1024      // a broadcast message
)

// errGarbage is a message that is not well-formed.
var errGarbage = errors.New("gossip: malformed message")

// message is about one node: all of its items or some.
type message struct {
	node        dsv.NodeID
	incarnation dsv.Incarnation
	counter     uint64
	leaving     bool
	positions   []PartitionState
	heads       []Head
}

const (
	positionSize = 2 + 8 + 8 + 32
	headSize     = 2 + 8 + 8 + 1 + 8 + 8 + 2 + 1 // and the texts
)

func (m message) baseSize() int { return 1 + 1 + len(m.node) + 16 + 8 + 1 + 2 + 2 }

func (h Head) size() int { return headSize + len(h.Path.NS.String()) + len(h.Path.Key.String()) }

func (m message) append(b []byte) []byte {
	b = append(b, wireVersion)
	b = appendShort(b, string(m.node))
	b = append(b, m.incarnation[:]...)
	b = append(binary.BigEndian.AppendUint64(b, m.counter), boolByte(m.leaving))
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.positions)))
	for _, p := range m.positions {
		b = binary.BigEndian.AppendUint16(b, uint16(p.Partition))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Offset))
		b = binary.BigEndian.AppendUint64(b, uint64(p.DigestOffset))
		b = append(b, p.Digest[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.heads)))
	for _, h := range m.heads {
		b = h.append(b)
	}
	return b
}

func (h Head) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(h.Partition))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Offset))
	b = binary.BigEndian.AppendUint64(b, h.Version)
	b = append(b, boolByte(h.Live))
	b = binary.BigEndian.AppendUint64(b, uint64(h.ValidFrom))
	b = binary.BigEndian.AppendUint64(b, uint64(h.ValidTo))
	ns := h.Path.NS.String()
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(ns))), ns...)
	return appendShort(b, h.Path.Key.String())
}

func parseMessage(b []byte) (message, error) {
	r := reader{b: b, bad: len(b) > maxMessage}
	var m message
	r.check(r.u8() == wireVersion)
	m.node = r.node()
	copy(m.incarnation[:], r.take(16))
	m.counter, m.leaving = r.u64(), r.bool()
	for n := r.count(MaxPositions, positionSize); n > 0 && !r.bad; n-- {
		p := PartitionState{Partition: dsv.Partition(r.u16()), Offset: int64(r.u64()), DigestOffset: int64(r.u64())}
		copy(p.Digest[:], r.take(32))
		r.check(p.Offset >= -1 && p.DigestOffset >= -1)
		m.positions = append(m.positions, p)
	}
	for n := r.count(MaxHeads, headSize); n > 0 && !r.bad; n-- {
		m.heads = append(m.heads, r.head())
	}
	return m, r.end()
}

func (r *reader) head() Head {
	h := Head{Partition: dsv.Partition(r.u16()), Offset: int64(r.u64()), Version: r.u64(), Live: r.bool(), ValidFrom: int64(r.u64()), ValidTo: int64(r.u64())}
	ns := string(r.take(int(r.u16())))
	path, err := dsv.ParsePath(ns, r.short(dsv.MaxKey))
	r.check(err == nil && h.Offset >= 0)
	h.Path = path
	return h
}

// meta is what travels in memberlist's alive messages.
type meta struct {
	incarnation dsv.Incarnation
	sealed      bool
	api, peer   string
	software    string
}

func (m meta) append(b []byte) []byte {
	b = append(b, '0'+wireVersion)
	b = append(b, m.incarnation[:]...)
	b = append(b, boolByte(m.sealed))
	return appendShort(appendShort(appendShort(b, m.api), m.peer), m.software)
}

func parseMeta(b []byte) (m meta, err error) {
	r := reader{b: b}
	r.check(r.u8() == '0'+wireVersion)
	copy(m.incarnation[:], r.take(16))
	m.sealed = r.bool()
	m.api, m.peer, m.software = r.text(MaxAddress), r.text(MaxAddress), r.text(MaxSoftware)
	return m, r.end()
}

// appendExchange appends as many messages as fit; the first ones matter most.
func appendExchange(b []byte, messages iter.Seq[message]) []byte {
	start := len(b)
	b = append(b, wireVersion, 0, 0)
	n := 0
	for m := range messages {
		at := len(b)
		b = m.append(append(b, 0, 0, 0, 0))
		if len(b)-start > maxExchange || n == maxMembers {
			b = b[:at]
			break
		}
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		n++
	}
	binary.BigEndian.PutUint16(b[start+1:], uint16(n))
	return b
}

// parseExchange calls f for each message; a malformed one is skipped and
// counted as long as the frame holds.
func parseExchange(b []byte, f func(message)) (garbage int) {
	r := reader{b: b, bad: len(b) > maxExchange}
	r.check(r.u8() == wireVersion)
	for n := r.count(maxMembers, 4); n > 0 && !r.bad; n-- {
		p := r.take(int(r.u32()))
		if r.bad {
			break
		}
		if m, err := parseMessage(p); err != nil {
			garbage++
		} else {
			f(m)
		}
	}
	if r.end() != nil {
		garbage++
	}
	return garbage
}

// reader takes fields off a message; after the first fault all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) check(ok bool) { r.bad = r.bad || !ok }

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (r *reader) bool() bool {
	v := r.u8()
	r.check(v <= 1)
	return v == 1
}

// count reads a u16 that counts things of at least size bytes each.
func (r *reader) count(limit, size int) int {
	n := int(r.u16())
	r.check(n <= limit && n*size <= len(r.b))
	if r.bad {
		return 0
	}
	return n
}

func (r *reader) short(limit int) string {
	n := int(r.u8())
	r.check(n <= limit)
	return string(r.take(n))
}

// text is a short string of printable ASCII.
func (r *reader) text(limit int) string {
	s := r.short(limit)
	r.check(printable(s))
	return s
}

func (r *reader) node() dsv.NodeID {
	id, err := dsv.ParseNodeID(r.short(64))
	r.check(err == nil)
	return id
}

func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errGarbage
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func appendShort(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}
