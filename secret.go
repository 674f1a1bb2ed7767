package dsv

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a value, a data key or a token's secret. It masks itself in fmt,
// slog and encodings, compares in constant time and can be wiped. It owns its
// bytes: whoever hands a slice to SecretOf does not use it again.
//
// The zero Secret is empty. Copies share the bytes.
type Secret struct{ b []byte }

const mask = "[secret]"

// SecretOf takes ownership of b.
func SecretOf(b []byte) Secret { return Secret{b} }

// Reveal returns the bytes themselves, not a copy.
func (s Secret) Reveal() []byte { return s.b }

// Len is the number of bytes.
func (s Secret) Len() int { return len(s.b) }

// Equal compares in constant time for equal lengths.
func (s Secret) Equal(o Secret) bool { return subtle.ConstantTimeCompare(s.b, o.b) == 1 }

// Wipe zeroes the bytes; all copies see it.
func (s Secret) Wipe() { clear(s.b) }

func (Secret) String() string                 { return mask }
func (Secret) GoString() string               { return mask }
func (Secret) Format(w fmt.State, _ rune)     { _, _ = io.WriteString(w, mask) }
func (Secret) LogValue() slog.Value           { return slog.StringValue(mask) }
func (Secret) MarshalText() ([]byte, error)   { return []byte(mask), nil }
func (Secret) MarshalJSON() ([]byte, error)   { return []byte(`"` + mask + `"`), nil }
func (Secret) MarshalYAML() (any, error)      { return mask, nil }
func (Secret) GobEncode() ([]byte, error)     { return []byte(mask), nil }
func (Secret) MarshalBinary() ([]byte, error) { return []byte(mask), nil }
