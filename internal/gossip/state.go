package gossip

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/dsvault/dsv"
)

// Limits of what is spread about one node.
const (
	MaxPositions = 1024
	MaxHeads     = 64
	MaxAddress   = 128 // bytes of an address
	MaxSoftware  = 64  // bytes of the software's name

	maxMembers = 1024 // names remembered
)

// State is what a node says about itself.
type State struct {
	Node        dsv.NodeID
	API         string // address of the HTTP API
	Peer        string // address of the port between nodes
	Incarnation dsv.Incarnation
	Sealed      bool
	Software    string
	Positions   []PartitionState // by partition
	Heads       []Head           // the newest first; MaxHeads at most
	Counter     uint64           // set by this package: grows with every change of an incarnation
}

// PartitionState is how far a node has applied a partition, and the digest of
// its state at an earlier offset.
type PartitionState struct {
	Partition    dsv.Partition
	Offset       int64
	DigestOffset int64
	Digest       [32]byte
}

// Head is the newest decided state of a secret, as of its Offset.
type Head struct {
	Path      dsv.Path
	Version   uint64
	Live      bool
	ValidFrom int64 // microseconds of log time
	ValidTo   int64 // 0 while it is open
	Partition dsv.Partition
	Offset    int64 // of the record that decided it
}

func (h Head) latest() int64 { return max(h.ValidFrom, h.ValidTo) }

// Status is what a node thinks of another.
type Status uint8

// The statuses. The zero Status is a node of which nothing is known.
const (
	Unknown Status = iota
	Alive          // answers
	Suspect        // not yet given up, but not heard of for two rounds of probes
	Dead           // gave no answer to anyone
	Left           // said goodbye
)

func (s Status) String() string {
	return [...]string{"unknown", "alive", "suspect", "dead", "left"}[min(s, Left)]
}

// Member is another node and what is known of it. Status Dead and Left keep
// the last State.
type Member struct {
	State
	Status   Status
	LastSeen time.Time // last sign of life here
}

// items is the merged part of a State.
type items struct {
	counter   uint64
	leaving   bool
	positions map[dsv.Partition]PartitionState
	heads     map[dsv.Path]Head
}

func newItems() *items {
	return &items{positions: map[dsv.Partition]PartitionState{}, heads: map[dsv.Path]Head{}}
}

// merge takes what is newer of a message; true if anything was.
func (s *items) merge(m message) bool {
	changed := m.counter > s.counter || m.leaving && !s.leaving
	s.counter, s.leaving = max(s.counter, m.counter), s.leaving || m.leaving
	for _, p := range m.positions {
		old, ok := s.positions[p.Partition]
		if !ok && len(s.positions) >= MaxPositions {
			continue
		}
		next := p
		if ok {
			next = old
			if p.Offset > old.Offset {
				next.Offset = p.Offset
			}
			if p.DigestOffset > old.DigestOffset {
				next.DigestOffset, next.Digest = p.DigestOffset, p.Digest
			}
		}
		if !ok || next != old {
			s.positions[p.Partition] = next
			changed = true
		}
	}
	return s.mergeHeads(m.heads) || changed
}

func (s *items) mergeHeads(heads []Head) (changed bool) {
	var taken []dsv.Path
	for _, h := range heads {
		if old, ok := s.heads[h.Path]; !ok || h.Offset > old.Offset {
			s.heads[h.Path] = h
			taken = append(taken, h.Path)
		}
	}
	if len(s.heads) > MaxHeads {
		for _, h := range newest(slices.Collect(maps.Values(s.heads)))[MaxHeads:] {
			delete(s.heads, h.Path)
		}
	}
	for _, p := range taken { // what was pushed out at once is no change
		_, kept := s.heads[p]
		changed = changed || kept
	}
	return changed
}

// message is all of a node's items.
func (s *items) message(id dsv.NodeID, inc dsv.Incarnation) message {
	m := message{node: id, incarnation: inc, counter: s.counter, leaving: s.leaving}
	m.positions, m.heads = s.sorted()
	return m
}

func (s *items) sorted() ([]PartitionState, []Head) {
	positions := slices.SortedFunc(maps.Values(s.positions), func(a, b PartitionState) int { return cmp.Compare(a.Partition, b.Partition) })
	return positions, newest(slices.Collect(maps.Values(s.heads)))
}

// newest sorts heads, valid latest first; ties by name, so that all nodes keep
// the same ones.
func newest(heads []Head) []Head {
	slices.SortFunc(heads, func(a, b Head) int {
		return cmp.Or(cmp.Compare(b.latest(), a.latest()), cmp.Compare(b.Offset, a.Offset), cmp.Compare(a.Path.String(), b.Path.String()))
	})
	return heads
}
