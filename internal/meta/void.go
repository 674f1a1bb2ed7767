package meta

// Reasons of a void record, Effects.Void. They are for people and counters,
// but some call for an answer: after VoidT0 the transaction is tried once more
// under a new txid; after VoidNotPending a COMMIT whose PREPARE came later is
// appended once more; after VoidReplaces a JOIN is, with the id now current.
const (
	VoidUnreadable   = "unreadable"               // no record: foreign, altered, or of another version
	VoidVersion      = "version"                  // of another version
	VoidKind         = "kind"                     // a body that has no place in this topic
	VoidUnconfigured = "before CONFIG"            // nothing counts before CONFIG
	VoidConfigured   = "configured already"       // CONFIG, but not the first
	VoidMalformed    = "malformed"                // a name, id, count or combination out of range
	VoidPartition    = "another partition"        // the txid's or namespace's
	VoidSeen         = "txid seen"                // PREPARE of a txid that is pending or decided
	VoidT0           = "T0 too far from E"        // PREPARE: try once more under a new txid
	VoidTTL          = "ttl"                      // PREPARE: not in (0, 60 s]
	VoidQuorum       = "holders, n, k or w"       // PREPARE: other than CONFIG's
	VoidNotPending   = "not pending"              // COMMIT or ABORT of a txid without PREPARE, or decided
	VoidCoordinator  = "not its coordinator"      // COMMIT or ABORT of another incarnation
	VoidMember       = "not a member"             // JOIN of a node that CONFIG does not name
	VoidStoreSeen    = "store id seen"            // JOIN under an id that was in force before
	VoidReplaces     = "replaces another store"   // JOIN: not the node's current id; append it anew
	VoidDoubleKey    = "two operations on a key"  // PREPARE
	VoidOps          = "not 1 to 256 operations"  // PREPARE
	VoidDigests      = "shard digests or markers" // PREPARE: a value without n digests, a marker with any
)

func (m *machine) void(reason string) error {
	m.eff.Void = reason
	return nil
}
