package meta

import (
	"errors"
	"fmt"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// Errors of Apply besides those of the store. Each stops the partition.
var (
	ErrGap    = errors.New("meta: offset is not the next one")
	ErrBroken = errors.New("meta: broken invariant")
)

// Durations of log time in microseconds.
const (
	maxStep   = 120 * dsv.MicrosPerSecond       // the most that one record moves E
	t0Window  = 10 * dsv.MicrosPerSecond        // |E - T0| of a valid PREPARE
	keepFor   = 24 * 3600 * dsv.MicrosPerSecond // outcomes are kept until E > T0 + this
	maxAppend = 1 << 62                         // append times are cut to [0, this]
)

// Input is one record as it lies in the log.
type Input struct {
	Partition   dsv.Partition
	Offset      int64
	AppendTime  int64 // the broker's, µs
	Incarnation dsv.Incarnation
	Record      *metapb.Record // nil: unreadable, void; it still moves clocks and position
}

// Effects are what a record did. Slices are the caller's.
type Effects struct {
	Head      Head       // after the record
	Void      string     // why it left no trace; "" = it is not void
	Prepared  *dsv.TxID  // the transaction that became pending; LookupTx tells more
	Decisions []Decision // expired ones first, by deadline; then the record's own
	Join      *Join      // a store id came into force
	Config    *Config    // the partition was configured
}

// Join tells that a node's store is now StoreID, in place of Replaces (zero:
// its first).
type Join struct {
	Node              dsv.NodeID
	StoreID, Replaces dsv.StoreID
}

// Head is a partition's position, clocks and counters.
type Head struct {
	Partition     dsv.Partition
	Offset        int64 // of the newest applied record, -1 before the first
	T, E          int64 // log clocks, µs
	LastAppend    int64 // append time of that record, µs
	Applied, Void uint64
	Digest        [32]byte // state digest, all rows and this head; zero before the first record
	Configured    bool
}

// Position is the head's place in the log.
func (h Head) Position() dsv.Position { return dsv.Position{Partition: h.Partition, Offset: h.Offset} }

// ReadHead returns the head of a partition.
func ReadHead(tx store.Txn, p dsv.Partition) (Head, error) {
	m := machine{tx: tx, p: p}
	found, err := m.loadHead()
	if err != nil {
		return Head{}, err
	}
	if !found {
		return Head{Partition: p, Offset: -1}, nil
	}
	return m.describe(), nil
}

// describe is the head as others see it.
func (m *machine) describe() Head {
	p, h := m.p, m.head
	sum := headDigest(p, h)
	sum.add(m.sum)
	return Head{
		Partition: p, Offset: h.GetOffset(), T: h.GetTUs(), E: h.GetEUs(), LastAppend: h.GetLastAppendUs(),
		Applied: h.GetApplied(), Void: h.GetVoid(), Digest: sum.bytes(), Configured: h.GetConfigured(),
	}
}

// Run applies records in one transaction. What nearly every record needs of a
// partition (head, CONFIG, store ids) it reads there once, and it writes the
// head once, at Flush.
type Run struct {
	tx    store.Txn
	parts []*machine
}

// NewRun begins a run; nobody else may write rows of this package in tx.
func NewRun(tx store.Txn) *Run { return &Run{tx: tx} }

// Apply applies the next record of a partition. An error is the store's, or
// ErrGap, ErrBroken, ErrCorrupt: then the transaction must be aborted and the
// partition stops. No content of a record is an error.
//
// The work is bounded by the record, the transactions that expire at it and
// 64 outcomes removed. How records are split over runs changes nothing.
func (r *Run) Apply(in Input) (Effects, error) {
	m, err := r.machine(in.Partition)
	if err != nil {
		return Effects{}, err
	}
	if in.Offset != m.head.GetOffset()+1 || in.Offset < 0 {
		return Effects{}, fmt.Errorf("%w: partition %d has %d, got %d", ErrGap, in.Partition, m.head.GetOffset(), in.Offset)
	}
	m.in, m.eff = in, Effects{}
	m.tick()
	for _, step := range [...]func() error{m.expire, m.sweep, m.judge} {
		if err := step(); err != nil {
			return Effects{}, err
		}
	}
	if m.eff.Void != "" {
		m.head.Void++
	}
	m.eff.Head = m.describe()
	return m.eff, nil
}

// machine is the one of a partition, its head read.
func (r *Run) machine(p dsv.Partition) (*machine, error) {
	for _, m := range r.parts {
		if m.p == p {
			return m, nil
		}
	}
	m := &machine{tx: r.tx, p: p}
	if _, err := m.loadHead(); err != nil {
		return nil, err
	}
	r.parts = append(r.parts, m)
	return m, nil
}

// Flush writes the heads. Only after it do reads in the transaction see the
// clocks and positions of what was applied.
func (r *Run) Flush() error {
	for _, m := range r.parts {
		if err := m.storeHead(); err != nil {
			return err
		}
	}
	return nil
}

// Apply is a Run of one record.
func Apply(tx store.Txn, in Input) (Effects, error) {
	r := NewRun(tx)
	eff, err := r.Apply(in)
	if err == nil {
		err = r.Flush()
	}
	if err != nil {
		return Effects{}, err
	}
	return eff, nil
}

// tick moves position and clocks.
func (m *machine) tick() {
	h, at := m.head, min(max(m.in.AppendTime, 0), maxAppend)
	if h.GetOffset() >= 0 {
		h.EUs += min(max(at-h.GetLastAppendUs(), 0), maxStep)
	}
	h.TUs = max(h.GetTUs(), at)
	h.LastAppendUs = at
	h.Offset = m.in.Offset
	h.Applied++
}

// judge is the record's own effect.
func (m *machine) judge() error {
	rec := m.in.Record
	if rec == nil {
		return m.void(VoidUnreadable)
	}
	if rec.GetVersion() != RecordVersion {
		return m.void(VoidVersion)
	}
	if c, ok := rec.GetBody().(*metapb.Record_Config); ok {
		return m.applyConfig(c.Config)
	}
	if !m.head.GetConfigured() {
		return m.void(VoidUnconfigured)
	}
	switch b := rec.GetBody().(type) {
	case *metapb.Record_Prepare:
		return m.prepare(b.Prepare)
	case *metapb.Record_Commit:
		return m.commit(b.Commit)
	case *metapb.Record_Abort:
		return m.abort(b.Abort)
	case *metapb.Record_Join:
		return m.join(b.Join)
	case *metapb.Record_Tick, *metapb.Record_Checkpoint:
		return nil
	}
	return m.void(VoidKind)
}
