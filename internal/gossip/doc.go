// Package gossip spreads hints between the nodes of a cluster with memberlist:
// who is alive and where, sealed or not, which software, per partition the
// applied position and a state digest, and the newest decided heads. It is a
// leaf; what it says may trigger catching up or name a divergence, and decides
// nothing.
//
// # Trust
//
// All packets and streams are sealed by memberlist with AES-256-GCM under the
// cluster's gossip key; without the key nobody joins, listens or is heard. The
// key is shared: whoever has it can say anything about anyone, and old packets
// can be replayed. So everything received is decoded totally, bounded in size
// and merged to the newest; garbage is dropped and counted.
//
// # What travels
//
// Memberlist's own alive message of a node carries, as its metadata (at most
// 512 bytes), what seldom changes: "1", the incarnation (16 bytes), sealed (u8,
// 0 or 1), and three strings with a length byte: API address, peer address
// (each at most 128 bytes), software (at most 64 bytes).
//
// What changes all the time are items, in messages about one node:
//
//	version   u8 = 1
//	node      u8 length and name
//	incarnation 16 bytes
//	counter   u64   grows with each change of an incarnation
//	leaving   u8    1: the node goes on purpose
//	positions u16 count, each: partition u16, offset i64, digest offset i64, digest 32 bytes
//	heads     u16 count, each: partition u16, offset i64, version u64, live u8, valid from i64, valid to i64,
//	          namespace u16 length and text, key u8 length and text
//
// Integers are big endian; at most 1024 positions and 64 heads. A node
// sends its changed items to every living node in packets of at most 1 KiB, one
// round per BroadcastEvery, each change in two rounds (memberlist's own
// broadcasts go to random nodes and miss some of a small cluster until the next
// push/pull); push/pull exchanges over TCP carry whole states, of all
// nodes that the sender knows: version u8 = 1, u16 count, and each message with
// a u32 length, 8 MiB in all. Nothing here is compressed.
//
// # Merging
//
// An item about a node is taken only if its incarnation is the one in that
// node's newest alive message (memberlist orders those), so what a node's
// former process said is dropped, and a node never learns about itself. Within
// an incarnation the item with the larger offset wins per partition and per
// path; the 64 heads valid latest are kept; the counter is the largest seen;
// leaving stays.
package gossip
