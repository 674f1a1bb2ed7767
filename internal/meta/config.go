package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// Config is the CONFIG record in force in a partition.
type Config struct {
	ClusterID  string
	Members    []dsv.NodeID // sorted, distinct
	Q          dsv.Quorum
	Partitions int
}

// maxClusterID is the greatest length of a cluster id in bytes.
const maxClusterID = 128

// Record is the body that says c; it is judged like any other record.
func (c Config) Record() *metapb.Config {
	pb := &metapb.Config{
		ClusterId: c.ClusterID, N: uint32(c.Q.N), K: uint32(c.Q.K), W: uint32(c.Q.W),
		Partitions: uint32(c.Partitions),
	}
	for _, m := range c.Members {
		pb.Members = append(pb.Members, string(m))
	}
	return pb
}

// Validate refuses what a CONFIG record may not say: a cluster id that is
// empty or longer than 128 bytes, members that are malformed, unsorted,
// doubled or fewer than n, a bad quorum, partitions outside 1 to 65535.
func (c Config) Validate() error {
	if c.ClusterID == "" || len(c.ClusterID) > maxClusterID || !utf8.ValidString(c.ClusterID) {
		return dsv.Invalid("cluster_id", "is not 1 to 128 bytes of UTF-8")
	}
	for i, m := range c.Members {
		if _, err := dsv.ParseNodeID(string(m)); err != nil {
			return err
		}
		if i > 0 && c.Members[i-1] >= m {
			return dsv.Invalid("members", "are not sorted and distinct")
		}
	}
	if err := c.Q.Validate(); err != nil {
		return err
	}
	if len(c.Members) < c.Q.N {
		return dsv.Invalid("members", "are fewer than n")
	}
	if c.Partitions < 1 || c.Partitions > maxPartitions {
		return dsv.Invalid("partitions", "are not 1 to 65535")
	}
	return nil
}

// Equal reports whether both say the same.
func (c Config) Equal(o Config) bool {
	return c.ClusterID == o.ClusterID && c.Q == o.Q && c.Partitions == o.Partitions && slices.Equal(c.Members, o.Members)
}

// HasMember reports whether a node is a member.
func (c Config) HasMember(n dsv.NodeID) bool {
	_, ok := slices.BinarySearch(c.Members, n)
	return ok
}

// Holders returns the n members that hold shards of a namespace, in rank order
// (rank = shard index). It costs one SHA-256 per member.
func (c Config) Holders(ns dsv.Namespace) []dsv.NodeID {
	type scored struct {
		score [sha256.Size]byte
		node  dsv.NodeID
	}
	scores := make([]scored, len(c.Members))
	buf := append(append([]byte("dsv-holder\x00"), ns.String()...), 0)
	for i, m := range c.Members {
		scores[i] = scored{sha256.Sum256(append(buf, m...)), m}
	}
	slices.SortFunc(scores, func(a, b scored) int { return bytes.Compare(b.score[:], a.score[:]) })
	out := make([]dsv.NodeID, min(c.Q.N, len(scores)))
	for i := range out {
		out[i] = scores[i].node
	}
	return out
}

// PartitionOf is the partition of a namespace among that many: SHA-256 of the
// name as a big-endian number, modulo partitions.
func PartitionOf(ns dsv.Namespace, partitions int) dsv.Partition {
	if partitions < 1 {
		return 0
	}
	var r uint64
	for _, b := range sha256.Sum256([]byte(ns.String())) {
		r = (r<<8 | uint64(b)) % uint64(partitions)
	}
	return dsv.Partition(r)
}

// ReadConfig returns the CONFIG in force in a partition; false before one.
func ReadConfig(tx store.Txn, p dsv.Partition) (Config, bool, error) {
	pb := new(metapb.Config)
	b, err := get(tx, configKey(p), pb)
	if err != nil || b == nil {
		return Config{}, false, err
	}
	return configOf(pb), true, nil
}

func configOf(pb *metapb.Config) Config {
	c := Config{
		ClusterID:  pb.GetClusterId(),
		Members:    make([]dsv.NodeID, len(pb.GetMembers())),
		Q:          dsv.Quorum{K: int(pb.GetK()), N: int(pb.GetN()), W: int(pb.GetW())},
		Partitions: int(pb.GetPartitions()),
	}
	for i, m := range pb.GetMembers() {
		c.Members[i] = dsv.NodeID(m)
	}
	return c
}

// config is ReadConfig inside an Apply, where CONFIG is known to be there.
func (m *machine) config() (Config, error) {
	if m.conf != nil {
		return *m.conf, nil
	}
	c, ok, err := ReadConfig(m.tx, m.p)
	if err == nil && !ok {
		err = corrupt(configKey(m.p), "missing")
	}
	if err == nil {
		m.conf = &c
	}
	return c, err
}

// applyConfig judges CONFIG: the first well-formed one counts.
func (m *machine) applyConfig(pb *metapb.Config) error {
	if m.head.GetConfigured() {
		return m.void(VoidConfigured)
	}
	c := configOf(pb)
	if c.Validate() != nil || int(m.p) >= c.Partitions {
		return m.void(VoidMalformed)
	}
	if err := m.put(configKey(m.p), nil, pb); err != nil {
		return err
	}
	m.head.Configured = true
	m.eff.Config = &c
	count := binary.BigEndian.AppendUint16(nil, uint16(c.Partitions))
	return m.tx.Put(store.Pair{Key: partitionsKey, Value: count})
}

// PartitionCount is how many partitions CONFIG named; false before any CONFIG.
func PartitionCount(tx store.Txn) (int, bool, error) {
	it, err := tx.Get(partitionsKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case len(it.Value) != 2:
		return 0, false, corrupt(partitionsKey, "not 2 bytes")
	}
	return int(binary.BigEndian.Uint16(it.Value)), true, nil
}

// partitionOf finds the partition of a namespace in this store; false before
// any CONFIG.
func partitionOf(tx store.Txn, ns dsv.Namespace) (dsv.Partition, bool, error) {
	n, ok, err := PartitionCount(tx)
	if err != nil || !ok {
		return 0, false, err
	}
	return PartitionOf(ns, n), true, nil
}
