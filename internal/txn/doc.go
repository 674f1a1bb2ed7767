// Package txn runs one transaction as its coordinator: prepare, stage, commit
// or abort, await the decision. Coordinator and repair use it.
//
// Side by side: PREPARE is appended, this node stores its own shard, every
// other holder is sent its shard. At w acknowledgements under store ids that
// are in force here, and with the gate open, COMMIT is handed to the log once;
// handing it over and revoking exclude one another because one goroutine does
// both. COMMIT goes before PREPARE's own acknowledgement only while the log is
// known good. From then on only an applied decision answers, or at the
// deadline "outcome unknown". Before it every failure is certain: ABORT is
// appended, the shards are revoked, the caller gets a 503 that means no effect.
package txn
