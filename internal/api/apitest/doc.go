// Package apitest serves the API over real TLS in front of a vault in memory,
// for tests of what stands above or beside the coordinator: routes, client,
// dsvctl. The vault keeps versions, intervals and conditions as the real one
// answers them; it has no shards, log or peers.
package apitest
