// Package replica is this node's copy of the cluster: the apply loop that
// turns log records into metadata and shard rows in one store transaction, the
// snapshots behind stage and fetch, JOIN and TICK, and who waits for what.
//
// # Rows (all under the prefix byte 'r'; integers big endian)
//
//	'r' 's' share-set(28)                     a shard, sealed at rest (seal.go)
//	'r' 'x' txid(26)                          a staged transaction: what it will become here
//
//	'r' 'h' partition(2) ns 0x00 key 0x00 version(8)
//	                                          a hole: share-set(28) since-E(8) reason(1)
//	'r' 'i'                                   this store's id(16)
//	'r' 'e' partition(2)                      leader epoch(4) topic id(16) of the newest applied record
//
// A txid begins with its partition and T0, so staged rows lie in the order of
// their age. A row 'x' exists exactly while the transaction is undecided in the
// applied prefix; the shard row lives on when it commits. Memory keeps an index
// of the rows 'x' by key (index.go).
//
// # The apply loop
//
// feed.go gathers what the log brings, apply.go makes one store transaction of
// it: effects and positions together, each partition's records in their order.
// PREPAREs, which decide nothing, wait for what follows them.
//
// # After no clean close
//
// What the store shows may be older than what it had (the end of a write-ahead
// log is lost), which its new id allows for: it reads on from there, and an
// audit finds the shards that are missing. But rows may also be missing from
// the middle. So New holds the metadata of each partition against their running
// digest and returns ErrDamaged where they differ, and settings, which have no
// digest, are read from the beginning of the control topic (verify.go).
//
// # Stage against apply
//
// A decision and a stage of one transaction never overlap: both take the
// transaction's latch (latch.go), so the check "undecided" and the write of
// the rows are one step against Apply without a store conflict. Decisions that
// Apply finds by itself (expiry) take no latch; their leftovers are swept at
// the next record (sweep in apply.go).
package replica
