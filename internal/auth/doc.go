// Package auth decides who a caller is and what the caller may do. It does no
// I/O, keeps no clock and looks at no store: the settings of one revision go
// in as grants, decisions come out.
//
// # Tokens
//
// A token is the text
//
//	dsv.<id>.<secret>
//
// where id is 16 characters of [0-9a-f] (8 random bytes, names the token and
// is no secret) and secret is the unpadded base64url form of 32 random bytes:
// 64 characters in all. Exactly one text stands for a token; any other
// spelling (upper case, padding, loose trailing bits, white space) is refused.
// Only SHA-256 of the 32 bytes is ever stored: they are uniformly random, so
// the hash helps no one guess.
//
// # Grants
//
// What a token may do is a grant: verbs on namespace prefixes, with an end.
// A prefix counts in whole segments: "team-a" covers team-a and team-a/x, not
// team-ab; "" covers every namespace. The verb admin (tokens, policies, the
// cluster itself) counts only together with the prefix "" and is asked by
// [Caller.AllowAdmin] alone; no pattern over namespaces ever reaches it. It
// brings no other verb with it.
//
// # Refusals
//
// Zero values refuse: a zero or nil [Book] knows nobody, a nil [Caller] may do
// nothing, a grant without prefixes or verbs allows nothing. An unknown
// token, a wrong secret and an expired token get one and the same answer, and
// a denial says the same whether anything exists under the name or not.
package auth
