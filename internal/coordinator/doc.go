// Package coordinator turns requests into transactions and reads: one file per
// verb. It sees the caller and judges its rights, builds the operations, hands
// them to txn, and reads by the k-holder rule (strict), by the partition's end
// (index) or from this node's applied state alone (local).
package coordinator
