package keeper

import (
	"crypto/subtle"
	"errors"
	"sync"

	"github.com/dsvault/dsv"
)

var (
	errConflict = errors.New("keeper: another share, generation or claim is held")
	errFull     = errors.New("keeper: no room for another node")
	errClosed   = errors.New("keeper: closed")
)

// shelf is the memory of a keeper: one slot for each node it has met. It knows
// bytes and generations, nothing else.
type shelf struct {
	mu      sync.Mutex
	mem     *buffer // nil: closed, or the zero shelf
	slots   map[dsv.NodeID]*slot
	max     int
	persist func(node dsv.NodeID, generation uint64, body []byte) error // nil: memory only
}

type slot struct {
	at         int // place in mem
	generation uint64
	size       int // of the share, 0 = none
	claimed    uint64
	claim      claimID
}

func newShelf(nodes int) *shelf {
	return &shelf{mem: newBuffer(nodes * MaxShare), slots: make(map[dsv.NodeID]*slot), max: nodes}
}

// get returns a copy of the node's share.
func (s *shelf) get(node dsv.NodeID) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mem == nil {
		return answer{}, errClosed
	}
	return s.tell(s.slots[node]), nil
}

func (s *shelf) tell(sl *slot) answer {
	if sl == nil {
		return answer{}
	}
	a := answer{held: sl.size > 0, generation: sl.generation, claimed: sl.claimed}
	if a.held {
		a.body = append(make([]byte, 0, MaxShare), s.bytes(sl)...)
	}
	return a
}

func (s *shelf) bytes(sl *slot) []byte { return s.mem.b[sl.at*MaxShare:][:sl.size] }

// put keeps a share. With a claim only under that very claim; without one the
// sender vouches that the generation is live. Answers errConflict and changes
// nothing if a higher generation or other bytes of the same one are held.
// stored is false if these bytes were there already.
func (s *shelf) put(node dsv.NodeID, generation uint64, claim *claimID, body []byte) (stored bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.slot(node)
	if err != nil {
		return false, err
	}
	if claim != nil && (sl.claimed != generation || sl.claim != *claim) {
		return false, errConflict
	}
	switch {
	case generation < sl.generation:
		return false, errConflict
	case generation == sl.generation:
		if subtle.ConstantTimeCompare(s.bytes(sl), body) != 1 {
			return false, errConflict
		}
		return false, nil
	}
	if s.persist != nil {
		if err := s.persist(node, generation, body); err != nil {
			return false, err
		}
	}
	clear(s.bytes(sl))
	sl.generation, sl.size = generation, len(body)
	copy(s.bytes(sl), body)
	return true, nil
}

// claim reserves a generation that is higher than any held or claimed, and
// answers what is held: after it no put under a lower claim succeeds.
func (s *shelf) claim(node dsv.NodeID, generation uint64, id claimID) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.slot(node)
	if err != nil {
		return answer{}, err
	}
	again := sl.claimed == generation && sl.claim == id
	if !again && generation <= max(sl.generation, sl.claimed) {
		return answer{}, errConflict
	}
	sl.claimed, sl.claim = generation, id
	return s.tell(sl), nil
}

// slot finds or makes the slot of a node.
func (s *shelf) slot(node dsv.NodeID) (*slot, error) {
	if s.mem == nil {
		return nil, errClosed
	}
	if sl := s.slots[node]; sl != nil {
		return sl, nil
	}
	if len(s.slots) >= s.max {
		return nil, errFull
	}
	sl := &slot{at: len(s.slots)}
	s.slots[node] = sl
	return sl, nil
}

func (s *shelf) locked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mem != nil && s.mem.locked
}

// close forgets everything.
func (s *shelf) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mem.free()
	s.mem, s.slots = nil, nil
}
