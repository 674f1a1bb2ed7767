// Package datastore keeps typed items and their index rows in a store, in the
// caller's transaction: an item and all its index rows are there or none is.
// The store below knows nothing of types; a new one is a call of New.
//
// # Rows
//
// All rows begin with the byte 'd', which no other package uses. After it,
//
//	type ":" id                              the item, its value as encoded by the type's codec
//	"i:" type ":" field ":" value ":" id     one for each value of each index; empty
//
// Types and fields are 1 to 64 characters of [a-z0-9-] and no type is named
// "i". The value is escaped (":" is "%3A", "%" is "%25"), the id is the rest
// of the key as it is; so every key reads back in one way only, ids and values
// may be any bytes, and no item looks like an index row.
package datastore
