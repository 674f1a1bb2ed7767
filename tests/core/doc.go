// Package core is the core of a cluster for tests: replicas, peers,
// transactions, repair and coordinators, without keepers, gossip and HTTP. It
// runs inside a testing/synctest bubble on networks in memory, and everything
// that a test of one hole needs can be steered: the log and the links of each
// node, what a store keeps over a restart, and transactions whose records and
// stages are done by hand, one by one (Hand).
package core
