package client

// States of a cluster.
const (
	Healthy     = "healthy"
	Degraded    = "degraded"
	ReadOnly    = "read-only"
	Unavailable = "unavailable"
)

// Status is the state of the cluster as one node sees it. A count of -1 and a
// zero time or duration are unknown.
type Status struct {
	Cluster    string      `json:"cluster"`
	Node       string      `json:"node"` // the node that answered
	Software   string      `json:"software"`
	State      string      `json:"state"` // healthy degraded read-only unavailable
	Why        []string    `json:"why"`
	K          int         `json:"k"`
	N          int         `json:"n"`
	W          int         `json:"w"`
	Reachable  int         `json:"reachable"` // unsealed members that answer
	Margin     int         `json:"margin"`    // reachable - k: how many more may be lost
	Members    []Member    `json:"members"`
	Keepers    []Keeper    `json:"keepers"`
	Log        Log         `json:"log"`
	Partitions []Partition `json:"partitions"`
	Alarms     []string    `json:"alarms"`
}

// Member is one node.
type Member struct {
	Node     string  `json:"node"`
	Addr     string  `json:"addr"`
	State    string  `json:"state"` // alive suspect dead left unknown
	Sealed   bool    `json:"sealed"`
	Software string  `json:"software"`
	Position int64   `json:"position"` // sum of applied offsets
	Lag      int64   `json:"lag"`      // records behind the log's end
	RTT      float64 `json:"rtt_ms"`
	LastSeen Time    `json:"last_seen"`
	Shards   int64   `json:"shards"`
	Holes    int64   `json:"holes"` // versions without their shard there
	Staged   int64   `json:"staged"`
}

// Keeper is one keeper.
type Keeper struct {
	Keeper     string `json:"keeper"`
	Addr       string `json:"addr"`
	Reachable  bool   `json:"reachable"`
	Holds      bool   `json:"holds"` // this node's share
	Generation uint64 `json:"generation"`
	LastSeen   Time   `json:"last_seen"`
	Problem    string `json:"problem,omitempty"`
}

// Log is the ordered log.
type Log struct {
	Brokers    []string `json:"brokers"`
	Available  bool     `json:"available"`
	Good       bool     `json:"good"`
	OldestWait float64  `json:"oldest_wait_ms"`
	Void       uint64   `json:"void"` // records that were no records of this cluster
}

// Partition is one partition of the log on the node that answered.
type Partition struct {
	Partition int    `json:"partition"`
	Applied   int64  `json:"applied"` // offset of the newest record applied
	End       int64  `json:"end"`     // offset that the next record will have
	T         Time   `json:"t"`       // log clock
	Pending   int    `json:"pending"`
	Digest    string `json:"digest"`
	Diverged  string `json:"diverged,omitempty"`
}

// Shards tells who holds a shard of each version of one secret.
type Shards struct {
	Namespace string          `json:"namespace"`
	Key       string          `json:"key"`
	Versions  []VersionShards `json:"versions"`
}

// VersionShards is one version's.
type VersionShards struct {
	Version  uint64   `json:"version"`
	ShareSet string   `json:"share_set"`
	Holders  []Holder `json:"holders"`
}

// Holder is one holder's answer, by digest and not by value.
type Holder struct {
	Node  string `json:"node"`
	Rank  int    `json:"rank"`
	State string `json:"state"` // good missing damaged silent
}
