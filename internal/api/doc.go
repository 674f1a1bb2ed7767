// Package api serves the HTTP API over TLS: routes, guards, decoding, answers,
// probes, metrics and the OpenAPI document. It knows no store, shard or keeper:
// everything it does is asked of a [Vault].
//
// # The way of a request
//
// Every route stands in one table with its guard ([Server.Routes] lists it);
// nothing else registers a handler. A request passes, in this order: the bound
// on requests in flight (429), the seal (503 `sealed`), authentication (401),
// the names in its path (400), the caller's rights for the route's verbs (403),
// its query and headers (400), its body (400, 413, 415), and only then the
// vault. So nothing is read of a body, and nothing looked up, for a caller who
// may not have it, and a refusal says the same whatever exists. Probes, metrics
// and the OpenAPI document skip all of it: they name no secret.
//
// # Names
//
// A namespace is one element of the path with "/" written %2F; the path is
// matched in its escaped form. Instead it may ride in X-DSV-Namespace, the
// element then being "-" or the same namespace.
//
// # Bodies
//
// A value is a JSON object with "value" (strict base64) or "text" (UTF-8), or
// the raw body with application/octet-stream. JSON is read strictly: an unknown
// or repeated field, a wrong type, trailing data and ill-formed UTF-8 are 400
// naming the field. A JSON body may have three times the bytes of the largest
// value and 64 KiB; the value itself is bounded by MaxValue. Unknown query
// parameters are refused as well.
//
// # Answers
//
// JSON with times in RFC 3339, UTC, microseconds, null where there is none;
// errors are application/problem+json (RFC 9457): type, title, status, code,
// detail, request_id, and where it applies field, phase, retry_after (seconds),
// operation, index, have, need, silent, faults. DSV-Position is the place in
// the log that the answer stands on, DSV-Lag (milliseconds) how far behind this
// node was for a local answer. Headers carry what a body has no room for: with
// HEAD, raw values and 204 that is DSV-Version, DSV-Valid-From, DSV-Valid-To,
// DSV-Requested-At, DSV-Author, DSV-Padded-Size, DSV-State, DSV-Not-Final,
// DSV-From-Hint, DSV-Operation.
package api
