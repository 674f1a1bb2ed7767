// Package meta is the metadata machine: records of one log partition in,
// versions, intervals and outcomes out. It is a pure function of the
// partition's record sequence (bytes, offsets, broker append times): no clock,
// no randomness, no network, no goroutine, no cache. Whatever a record decides
// is read from the store in the transaction that writes its effect and the
// position it was read from, so the store is the only truth.
//
// All times are microseconds. T is the running maximum of the broker's append
// times and dates intervals; E is the log clock on which every deadline runs:
// the sum of min(max(0, append - previous append), 2 min). Every record moves
// both, a void one too. Append times are taken into [0, 2^62] first.
//
// # Order inside one record
//
// Clocks; expiry of what is due (E > E(prepare) + ttl); removal of at most 64
// outcomes older than 24 h of log time; judgement of the record itself. A void
// record leaves no trace but clocks, position and counters.
//
// # Verdicts
//
// A COMMIT of a pending transaction by its coordinator is final, whatever it
// says: a lack of valid acknowledgements rejects it for good, it never stays
// pending. Order: idempotency key answered already; w distinct holders under
// their current store ids; the operations in turn, each its precondition and
// then if_version. A kept outcome under the same idempotency key rejects as
// CodeDuplicate, or as idempotency_key_reused where the shape of the request
// (keys, kinds, if_version, destroyed versions) differs.
//
// An operation number is 0-based in a dsv.ShareSet and in DecidedOp.Op,
// 1-based in TxStatus.FailedOp.
//
// # Rows
//
// Every key begins with 'm' and the partition (2 bytes, big endian), then a
// kind. "ns" and "key" are the names' bytes, whose alphabet has no 0x00;
// times are 8 bytes, big endian, sign bit flipped, so that they sort; values
// are messages of metapb, marshalled deterministically, unless said otherwise.
//
//	h                           HeadRow: position, clocks, counters, digest
//	c                           Config: the record in force
//	j                           StoresRow: current store id of each node
//	k storeid                   every store id ever in force; value: the node
//	t T0 nonce                  TxRow: pending, or the kept outcome
//	d deadline T0 nonce         pending transactions by deadline; empty value
//	i sha256(ns, caller, key)   idempotency key; value: the txid, 26 bytes
//	s ns 00 key                 SecretRow
//	v ns 00 key 00 number       VersionRow; number: 8 bytes, big endian
//
// The hash of an i row is over each part with its length (4 bytes) before it.
// One row belongs to no partition and to no digest: 'm' ff ff 'p' holds the
// partition count (2 bytes) that CONFIG named, so that a lookup by name finds
// its partition. It decides nothing. CONFIG allows at most 65535 partitions,
// hence no partition is ffff.
//
// # State digest
//
// The sum, modulo 2^256, of SHA-256(key length (2 bytes), key, value) over all
// rows of the partition but the head, plus the same over the head's fields in
// fixed width (see digest.go). It is kept up to date row by row. It tells
// honest replicas that diverged; it is no defence against somebody who may
// choose rows.
//
// # Names
//
// Holders of a namespace: SHA-256("dsv-holder", 00, ns, 00, member) for each
// member, greatest first; the first n, rank = shard index. Partition of a
// namespace: SHA-256(ns) as a big-endian number, modulo P.
package meta
