// Package peer carries requests between the nodes of a cluster: one
// multiplexed connection per pair of nodes, over mutual TLS on a port of its
// own, and on top of it staging, fetching and gathering shards. The transport
// half (frame*.go, mux*.go, pool*.go) knows node ids and bytes only.
//
// # One connection per pair
//
// The node with the smaller id dials, the other accepts; requests go both
// ways. The dialer has at most one connection at a time and dials anew only
// when that one is dead, so the acceptor lets a newer connection replace the
// one it has: what it still takes for alive, its dialer has given up. The
// hello carries the dialer's process nonce and a count of its dials, and of
// two connections of one process the higher count wins whatever the order of
// arrival. The new one is in place before the old one is closed, so a pair
// that can reach one another never rests without a connection: whichever side
// sees its connection die, the dialer dials again after 50 ms to 1 s (doubled,
// with jitter, back to 50 ms after a connection that held for 5 s). Without a
// connection every call fails at once.
//
// Each side sends a ping every second. No answer for 3 s, with no large frame
// moving either, closes the connection: so a hung process or a cut link is
// found out.
//
// # Frames
//
// All integers are big endian. A frame is
//
//	length u32   of what follows: 9 bytes and the payload
//	type   u8
//	id     u64
//	payload
//
//	type          id                    payload
//	1 hello       0                     "DSVP", version u8 = 1, process nonce 16 bytes, dial count u64, node id
//	2 ping        the sender's count    none
//	3 pong        the ping's            none
//	4 request     the sender's count    kind u8, time left u32 in ms (0 = no limit), body
//	5 response    the request's         body
//	6 error       the request's, or 0   JSON of the error's public fields
//
// Ids of requests count up within one direction of one connection and are
// never used twice, so an answer that nobody waits for any more is dropped.
// The dialer sends the first hello, the acceptor answers with its own (dial
// count repeated) or with an error frame of id 0 that says why not. With TLS
// the certificates name both sides and the hellos must say the same; without
// TLS (simulation) the hellos are believed. A hello has at most 512 bytes, any
// other frame at most MaxFrame. A frame that breaks these rules ends the
// connection.
package peer
