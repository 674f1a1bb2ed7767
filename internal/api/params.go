package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/coordinator"
)

// query reads the query string strictly: only the named parameters, each once.
func (c *call) query(known ...string) (url.Values, error) {
	if c.r.URL.RawQuery == "" {
		return nil, nil
	}
	v, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, dsv.Invalid("query", "is not well-formed")
	}
	for name, values := range v {
		if !contains(known, name) {
			return nil, dsv.Invalid(clip(strings.ToValidUTF8(name, "?")), "is no parameter of this call")
		}
		if len(values) > 1 {
			return nil, dsv.Invalid(name, "is given twice")
		}
	}
	return v, nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// boolParam is the parameter name, false where it is absent.
func boolParam(v url.Values, name string) (bool, error) {
	if !v.Has(name) {
		return false, nil
	}
	switch v.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, dsv.Invalid(name, "must be true or false")
}

// readParams reads what a read of one secret asks for.
func (c *call) readParams(known ...string) (coordinator.Read, error) {
	rd := coordinator.Read{Path: c.path, RequestID: c.id}
	v, err := c.query(known...)
	if err != nil {
		return rd, err
	}
	if v.Has("version") {
		rd.Version, err = strconv.ParseUint(v.Get("version"), 10, 64)
		if err != nil || rd.Version == 0 || v.Get("version")[0] == '0' {
			return rd, dsv.Invalid("version", "must be a whole number from 1")
		}
	}
	if v.Has("at") {
		if rd.Version != 0 {
			return rd, dsv.Invalid("at", "excludes version: give one of the two")
		}
		if rd.At, err = parseTime("at", v.Get("at")); err != nil {
			return rd, err
		}
	}
	rd.Consistency, rd.MinPosition, err = c.consistency(v)
	return rd, err
}

// consistency reads ?consistency= and DSV-Min-Position. The position is left
// out where strict is asked for by name: that is more than it promises.
func (c *call) consistency(v url.Values) (coordinator.Consistency, *dsv.Position, error) {
	k := coordinator.Strict
	if v.Has("consistency") {
		switch v.Get("consistency") {
		case "strict":
		case "index":
			k = coordinator.Index
		case "local":
			k = coordinator.Local
		default:
			return k, nil, dsv.Invalid("consistency", "must be strict, index or local")
		}
	}
	text, err := c.header("Dsv-Min-Position")
	if err != nil || text == "" {
		return k, nil, err
	}
	p, err := dsv.ParsePosition(text)
	if err != nil {
		return k, nil, dsv.Invalid("DSV-Min-Position", "is not PARTITION:OFFSET")
	}
	if v.Has("consistency") && k == coordinator.Strict {
		return k, nil, nil
	}
	return k, &p, nil
}

// parseTime reads RFC 3339; what is finer than a microsecond is cut off.
func parseTime(field, s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || strings.Contains(s, ",") {
		return time.Time{}, dsv.Invalid(field, "is not a time: use RFC 3339 like 2026-01-31T00:00:00Z (write + as %2B in a URL)")
	}
	t = t.UTC().Truncate(time.Microsecond)
	if t.Year() < 1970 {
		return time.Time{}, dsv.Invalid(field, "is before 1970")
	}
	return t, nil
}

// header is the header name (canonical), "" where it is absent; twice is a
// fault.
func (c *call) header(name string) (string, error) {
	switch v := c.r.Header[name]; len(v) {
	case 0:
		return "", nil
	case 1:
		return v[0], nil
	}
	return "", dsv.Invalid(wireName(name), "is given twice")
}

// wireName is a canonical header name as the documents write it.
func wireName(name string) string {
	return strings.Replace(name, "Dsv-", "DSV-", 1)
}

// ifMatch reads If-Match: one strong entity tag that is a version.
func (c *call) ifMatch() (*uint64, error) {
	s, err := c.header("If-Match")
	if err != nil || s == "" {
		return nil, err
	}
	n := len(s)
	if n < 3 || s[0] != '"' || s[n-1] != '"' || s[1] == '0' && n > 3 {
		return nil, dsv.Invalid("If-Match", `must be one version in quotes, like "3"`)
	}
	v, err := strconv.ParseUint(s[1:n-1], 10, 64)
	if err != nil {
		return nil, dsv.Invalid("If-Match", `must be one version in quotes, like "3"`)
	}
	return &v, nil
}

// onlyIfNew reports whether the request carries If-None-Match: *.
func (c *call) onlyIfNew() (bool, error) {
	s, err := c.header("If-None-Match")
	if err != nil || s == "" {
		return false, err
	}
	if s != "*" {
		return false, dsv.Invalid("If-None-Match", "must be *")
	}
	return true, nil
}

// meta is what rides with every write.
func (c *call) meta() (coordinator.RequestMeta, error) {
	m := coordinator.RequestMeta{RequestID: c.id}
	var err error
	if m.IdempotencyKey, err = c.header("Idempotency-Key"); err != nil {
		return m, err
	}
	if _, given := c.r.Header["Idempotency-Key"]; given && !printable(m.IdempotencyKey, dsv.MaxIdempotency) {
		return m, dsv.Invalid("Idempotency-Key", "must be 1 to 128 printable ASCII characters")
	}
	at, err := c.header("Dsv-Requested-At")
	if err != nil {
		return m, err
	}
	if at == "" {
		m.RequestedAt = time.Now().UTC().Truncate(time.Microsecond)
		return m, nil
	}
	m.RequestedAt, err = parseTime("DSV-Requested-At", at)
	return m, err
}

// printable reports whether s is 1 to limit printable ASCII characters.
func printable(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// requestID is the caller's X-Request-ID where it is well-formed.
func requestID(r *http.Request) string {
	v := r.Header["X-Request-Id"]
	if len(v) != 1 || len(v[0]) == 0 || len(v[0]) > 64 {
		return newRequestID()
	}
	for i := range len(v[0]) {
		c := v[0][i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-') {
			return newRequestID()
		}
	}
	return v[0]
}
