package coordinator

import (
	"time"

	"github.com/dsvault/dsv"
)

// Consistency of a read.
type Consistency uint8

// Strict is the zero value: linearizable by the k-holder rule.
const (
	Strict Consistency = iota
	Index              // the partition's end offset instead of a proof by holders
	Local              // this node's applied state alone
)

// Write is a request to create, update or put one secret.
type Write struct {
	Path      dsv.Path
	Value     dsv.Secret
	IfVersion *uint64 // the live version must be this; 0 = must not be live
	Meta      RequestMeta
}

// Change is a request to delete or undelete one secret.
type Change struct {
	Path      dsv.Path
	IfVersion *uint64
	Meta      RequestMeta
}

// Destroy is a request to remove the shards of named versions, or of all.
type Destroy struct {
	Path      dsv.Path
	Versions  []uint64 // ascending, distinct; empty with All
	All       bool
	IfVersion *uint64
	Meta      RequestMeta
}

// RequestMeta rides with every write.
type RequestMeta struct {
	RequestID      string
	IdempotencyKey string    // "" = none
	RequestedAt    time.Time // kept beside the version, decides nothing
}

// Written is the answer of a write.
type Written struct {
	Version   uint64
	ValidFrom time.Time // of the interval this write opened; zero for a delete or destroy
	ValidTo   time.Time // of the interval this write closed, where it did
	Unchanged bool
	Operation dsv.TxID
	Position  dsv.Position // of the decision
}

// Read asks for one version of one secret: the latest, a number, or the one
// valid at an instant.
type Read struct {
	Path        dsv.Path
	Version     uint64    // 0 = not by number
	At          time.Time // zero = not by instant; excludes Version
	Consistency Consistency
	MinPosition *dsv.Position // wait until applied, then local
	RequestID   string
}

// Version describes one version without its value.
type Version struct {
	Version     uint64
	Intervals   []Interval // ascending
	RequestedAt time.Time
	Author      string
	PaddedSize  int
	Destroyed   bool
	Current     bool // the open interval is this version's
}

// Interval is half open; a zero To is open.
type Interval struct{ From, To time.Time }

// Found is the answer of a read. Value is empty for Head.
type Found struct {
	Version
	Value    dsv.Secret
	Interval Interval // the one that answers the question asked
	NotFinal bool     // an instant at or past the log clock: as of the barrier
	Position dsv.Position
	Lag      time.Duration // of this node's log reading, for local answers
	FromHint bool          // local existence answered from gossip
}

// Names is a page of a list.
type Names struct {
	Names    []Name
	Next     string // "" = last page
	Position dsv.Position
	Lag      time.Duration
}

// Name is one secret of a list.
type Name struct {
	Key     dsv.Key
	Version uint64
	Deleted bool
}

// ListRequest asks for names in byte order.
type ListRequest struct {
	NS          dsv.Namespace
	Prefix      string
	After       string
	Limit       int // 1 to 1000
	Deleted     bool
	Consistency Consistency
	MinPosition *dsv.Position
}

// BatchKind is the verb of one operation of a batch.
type BatchKind uint8

// The verbs of a batch. Get reads at the batch's own point in the order, where
// all operations are gets; a batch mixes no gets with writes.
const (
	BatchGet BatchKind = iota + 1
	BatchCreate
	BatchUpdate
	BatchPut
	BatchDelete
	BatchUndelete
	BatchDestroy
)

// BatchOp is one operation.
type BatchOp struct {
	Kind      BatchKind
	Key       dsv.Key
	Value     dsv.Secret
	Version   uint64 // of a get; 0 = latest
	Versions  []uint64
	All       bool
	IfVersion *uint64
}

// Batch is all or none, one point in the order, no two operations on one key.
type Batch struct {
	NS   dsv.Namespace
	Ops  []BatchOp
	Meta RequestMeta
}

// BatchResult answers in order of the operations.
type BatchResult struct {
	Written  []Written // of writes
	Found    []Found   // of gets
	Position dsv.Position
}

// Outcome is what became of an operation.
type Outcome struct {
	Operation dsv.TxID
	State     string // pending committed rejected aborted expired
	Code      dsv.Code
	Results   []Written
	Position  dsv.Position
}

// TokenRequest makes a token.
type TokenRequest struct {
	Name     string
	Prefixes []string
	Verbs    []string
	Expires  time.Time // zero = never
	Meta     RequestMeta
}

// TokenInfo describes a token; Secret only in the answer that made it.
type TokenInfo struct {
	ID        string
	Name      string
	Prefixes  []string
	Verbs     []string
	Created   time.Time
	CreatedBy string
	Expires   time.Time
	Secret    dsv.Secret
}

// Status is the state of the cluster as this node sees it.
type Status struct {
	Cluster    string
	Node       dsv.NodeID
	Software   string
	State      string // healthy degraded read-only unavailable
	Why        []string
	Quorum     dsv.Quorum
	Reachable  int // unsealed members that answer, this node included
	Margin     int // Reachable - K
	Members    []MemberStatus
	Keepers    []KeeperStatus
	Log        LogStatus
	Partitions []PartitionStatus
	Alarms     []string // divergence, clock, damaged rows
}

// MemberStatus is one node.
type MemberStatus struct {
	Node     dsv.NodeID
	Addr     string
	State    string // alive suspect dead left unknown
	Sealed   bool
	Software string
	Position int64         // sum of applied offsets over partitions
	Lag      int64         // records behind the log's end, -1 = unknown
	RTT      time.Duration // 0 = unknown
	LastSeen time.Time
	Shards   int64 // held, -1 = unknown
	Holes    int64 // versions without their shard here, -1 = unknown
	Staged   int64
}

// KeeperStatus is one keeper as this node sees it.
type KeeperStatus struct {
	Keeper     dsv.NodeID
	Addr       string
	Reachable  bool
	Holds      bool
	Generation uint64
	LastSeen   time.Time
	Problem    string
}

// LogStatus is the log as this node sees it.
type LogStatus struct {
	Brokers    []string
	Available  bool
	Good       bool
	OldestWait time.Duration
	Void       uint64
}

// PartitionStatus is one partition on this node.
type PartitionStatus struct {
	Partition dsv.Partition
	Applied   int64
	End       int64 // -1 = unknown
	T         time.Time
	Pending   int
	Digest    string
	Diverged  string // reason, "" = sound
}

// ShardStatus tells who holds a shard of one version: checked by fetching
// digests, not values.
type ShardStatus struct {
	Version  uint64
	ShareSet string
	Holders  []HolderShard
}

// HolderShard is one holder's answer.
type HolderShard struct {
	Node  dsv.NodeID
	Rank  int
	State string // good missing damaged silent
}
