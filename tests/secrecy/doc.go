// Package secrecy tests what must never happen: a value, a token's secret or
// anything that lets one test a guess of a value, outside TLS and sealed rows
// (invariants I13 and I14). It runs a cluster as real processes at the most
// talkative log level, stores secrets whose values and names hold random marks,
// in every way that works and many that fail, and then looks for the marks, in
// all encodings that accidents use, wherever a thief could: in every file of
// the cluster, in metrics, status and refusals, and on every wire between
// processes, where a tap reads along. It reads the stores of k-1 nodes with
// their root keys, and the whole log with the log key, and holds that these
// tell nothing of a four-digit PIN. And it damages a node's files one by one
// and holds that no wrong answer ever comes of it.
//
// Each check is run against a plant as well: something it must find.
package secrecy
