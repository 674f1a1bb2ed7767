// Package repair keeps redundancy: read repair behind latest reads, and a
// rate-limited scan that refills this node's holes. It sees no request and no
// policy; holders judge its fetches and stages by this node's identity.
//
// A repair is a transaction of kind REPAIR {version, from share set}: a new
// split of the same value under a new share set. It changes no version,
// interval or author, and its precondition at COMMIT is that the version's
// share set is still `from`, so two repairs of one version cannot both win.
//
// Available = holders of the current share set that answered with a good
// shard; holes = holders that answered missing or damaged. Silence is no hole.
// Read repair runs with at least one hole, when n - holes <= k + TriggerBuffer
// and w holders can be reached, one at a time per version, and a missing shard
// counts only 10 s after its share set's COMMIT (before, it is on its way).
// COMMIT waits for max(w, n - holes) acknowledgements, so that no holder that
// is merely away loses a good shard for less.
package repair
