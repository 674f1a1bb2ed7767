// Package keeper has both sides of the custody of a node's root key: the
// keeper, a process that holds shares of root keys in memory only (Server), and
// the node's side (Custodian), which makes the key once, gets it back from a
// threshold of keepers at every start and keeps the keepers filled.
//
// # Who knows what
//
// A keeper knows neither nodes nor other keepers, has no disk and never dials
// out. For each node that called it, it holds a generation, at most 1024 opaque
// bytes and a claim, and gives them to that node's identity alone. A node never
// writes its root key anywhere. Fewer than a threshold of keepers know nothing
// about it; a threshold together with nothing else has it.
//
// # A share
//
//	bytes  what
//	    1  format, 1
//	    8  generation, >= 1
//	    1  index, 0 to count-1
//	    1  threshold, more than half of count
//	    1  count, 2 to 9
//	   32  key check value
//	  1+c  length and cluster id
//	  1+m  length and node id
//	count  x of every share, by index: distinct, none 0
//	   32  digest of every share, by index: SHA-256 of its x and y
//	  ...  (32 times count)
//	   32  y of this share
//	   32  SHA-256 of all of the above
//
// Integers are big endian, nothing may follow, and a share has one encoding.
// The key check value is HMAC-SHA256 under the root key of
//
//	"dsv root key check 1" | generation (8) | cluster id | node id
//
// the ids each with a byte of length before them. All but index, y and the
// last digest is the head. A share that is not the one of its index by its own
// head is damaged and named at once. Shares are combined only if their heads
// are equal, so who lies must lie in the head, and stands alone with it; and a
// key counts only if it gives the check value, and every share its digest. A
// y is uniformly random, so its digest helps nobody guess it. The index says
// which share it is, not which keeper's; keepers may be listed in any order.
//
// Since a head carries every x, a threshold of shares gives all of them, byte
// for byte (shard.KeyShareAt). So a node whose copies are gone, or that came
// upon a generation that was never pushed to the end, still gives each keeper
// the very bytes it had or was to have.
//
// # The protocol of a keeper
//
// HTTP/1.1 over mutual TLS. Every answer carries Dsv-Incarnation (32 hex
// digits, this life of the process); where a share is concerned also
// Dsv-Generation (of the share held, 0 = none) and Dsv-Claimed (highest
// generation claimed, 0 = none).
//
//	GET  /v1/share   200 and the share, or 204
//	PUT  /v1/share   body: the share; Dsv-Generation: its generation.
//	                 201 kept, 204 these bytes were held, 409 a higher
//	                 generation or other bytes of the same one are held.
//	                 With Dsv-Claim (32 hex digits) also 409 unless that is
//	                 the current claim and of that generation.
//	POST /v1/share   claims Dsv-Generation under Dsv-Claim; 409 unless it is
//	                 higher than any held or claimed, or this very claim.
//	                 Answers like GET.
//	GET  /v1/status  200 and Status as JSON; never a share.
//
// 403: the caller is no node. 413 over 1024 bytes, 411 without a length, 400
// for anything malformed, 507 when there is no room for another node.
//
// # Day zero
//
// The node alone makes its key, when its directory is new and every keeper
// answers and no generation has a threshold: claim the generation after the
// highest seen on all keepers, split once, put. mint.go says why two processes
// at once cannot end with two keys. Nothing is returned, so nothing is written
// under the key, before all keepers have confirmed. An old directory, or one
// whose check is remembered, never gets a new key.
//
// What this does not cover: a new directory when more keepers than the margin
// have lost their memory. Then nothing tells that there was a key, and a new
// one of the generation after is made, as for a new node.
//
// # What the node keeps
//
// A check file beside the directory, one line:
//
//	dsv-root-check-1 <generation> <64 hex digits> <8 hex digits>
//
// the check value, and the first four bytes of SHA-256 of the line up to the
// blank before them. And, through Vault, under the root key itself: format 1, the count of shares,
// and for each by index a byte of length and the id of its keeper (empty:
// none) and two bytes of length and the share. It tells which keeper has which
// share; the shares themselves are checked against the key in use.
//
// # Memory
//
// Keys and shares at rest lie in pages of their own, locked and left out of
// core files where the system allows; Locked says if not. Copies pass through
// the buffers of net/http and crypto/tls, which cannot be wiped.
package keeper
