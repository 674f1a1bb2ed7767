// Package txn runs one transaction as its coordinator: prepare, stage, commit
// or abort, await the decision. Coordinator and repair use it.
//
// Side by side this node stores its own shard and every other holder is sent
// its shard. At w acknowledgements under store ids that are in force here, and
// with the gate open, COMMIT is handed to the log once; handing it over and
// revoking exclude one another because one goroutine does both. PREPARE is
// handed over with it while the log is known good; where the gate waits for
// PREPARE, or COMMIT has to wait for PREPARE's acknowledgement because the log is
// not known good, it goes ahead, while the holders are asked. Once COMMIT is
// handed over only an applied decision answers, or at the deadline "outcome
// unknown". Before it every failure is certain: ABORT is appended if PREPARE
// was, the shards are revoked, the caller gets a 503 that means no effect.
package txn
