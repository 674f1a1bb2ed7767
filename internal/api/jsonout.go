package api

import (
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dsvault/dsv/client"
)

// buffers for answers. They are wiped before they go back.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

const maxPooled = 64 << 10

// withBuffer hands f an empty buffer of at least size bytes and wipes it
// afterwards. What f returns is the buffer, perhaps grown.
func withBuffer(size int, f func(b []byte) []byte) {
	p := buffers.Get().(*[]byte)
	b := (*p)[:0]
	if cap(b) < size {
		b = make([]byte, 0, size)
	}
	b = f(b)
	clear(b)
	if cap(b) <= maxPooled {
		*p = b
		buffers.Put(p)
	}
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string; ill-formed UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}

// appendTime appends t as a JSON string with microseconds, null for zero.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, client.TimeLayout)
	return append(b, '"')
}

// wireTime is t in the form of the client's types.
func wireTime(t time.Time) client.Time { return client.Time{Time: t} }
