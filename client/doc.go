// Package client is the Go client of the HTTP API.
//
// A [Client] speaks to one or more nodes of one cluster over TLS. It stays
// with the node that answered last and goes to the next one only where that
// cannot change what happens:
//
//   - the request never left (no connection, a failed TLS handshake): always;
//   - 503 and 429, which promise "no effect": always, each node once;
//   - a connection that broke after the request was sent: for reads, and for
//     writes that carry an idempotency key. Every write on secrets gets one by
//     itself unless [Config.NoAutoKeys] is set;
//   - 504 (the outcome is not known) and everything else: never. The error then
//     holds the operation's id, which [Client.Operation] settles on any node.
//
// Errors are *[dsv.Error], decoded from the problem documents of the server by
// the one table of kinds and statuses. An error without an answer from any node
// has Op "connect" (nothing was sent) or "send" (the outcome of a write is not
// known) and code [CodeUnreachable].
//
// Times on the wire are RFC 3339 in UTC with microseconds ([Time]); values are
// base64 and leave this package as dsv.Secret.
package client
