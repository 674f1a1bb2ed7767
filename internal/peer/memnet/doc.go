// Package memnet is a network in memory for tests and simulation: listeners,
// dialers and buffered stream connections between named hosts, with delays,
// cuts and crashes. All blocking is durable in the sense of testing/synctest,
// and all time is of package time, so a whole cluster runs inside a bubble.
//
// # What it models
//
// An address is "host:port"; links are between hosts, and each direction of a
// link is on its own. A connection is like TCP: bytes arrive in order, never
// altered, or not at all. A delay holds each written piece back. A cut link
// carries nothing, neither data nor the end of a connection nor the attempt to
// open one; what was sent meanwhile arrives after the heal, as TCP's
// retransmission would have it. So a half-open connection looks like silence,
// and only the reader's own patience ends it. A crash of a host closes its
// listeners and resets its connections; a peer behind a cut learns of the
// reset at the heal.
//
// A connection buffers up to 256 KiB per direction, then Write blocks.
package memnet
