package api

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/dsvault/dsv"
)

// decoder reads one JSON text strictly and without reflection, directed by
// what is expected. It never turns a value into a Go string, and its errors
// repeat nothing of the text but the names of unknown fields.
type decoder struct {
	b     []byte
	i     int
	fresh bool // the last string has bytes of its own, outside b
}

type unknownField struct{}

func (unknownField) Error() string { return "unknown field" }

// errUnknown is what a field callback returns for a name it does not know.
var errUnknown error = unknownField{}

// decodeObject reads b as one object and nothing after it. field is called at
// each member's value and reads it, or returns errUnknown.
func decodeObject(b []byte, field func(d *decoder, name string) error) error {
	d := &decoder{b: b}
	if err := d.object("body", field); err != nil {
		return err
	}
	if d.space(); d.i != len(d.b) {
		return d.fault("body", "has data after the JSON object")
	}
	return nil
}

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

// peek is the next byte that is no space, 0 at the end.
func (d *decoder) peek() byte {
	d.space()
	if d.i < len(d.b) {
		return d.b[d.i]
	}
	return 0
}

// take takes c if it is the next byte that is no space.
func (d *decoder) take(c byte) bool {
	if d.peek() != c {
		return false
	}
	d.i++
	return true
}

func (d *decoder) fault(field, detail string) error {
	return dsv.Invalid(field, fmt.Sprintf("%s (at byte %d of the body)", detail, d.i+1))
}

// object reads {"name": value, …} with no name twice.
func (d *decoder) object(at string, field func(d *decoder, name string) error) error {
	if !d.take('{') {
		return d.fault(at, "must be a JSON object")
	}
	if d.take('}') {
		return nil
	}
	var few [8]string
	seen := few[:0]
	for {
		name, err := d.name(at, seen)
		if err != nil {
			return err
		}
		seen = append(seen, name)
		if err := field(d, name); err == errUnknown {
			return dsv.Invalid(clip(name), "is not known here")
		} else if err != nil {
			return err
		}
		switch {
		case d.take(','):
		case d.take('}'):
			return nil
		default:
			return d.fault(at, "is not JSON: a comma or } is missing")
		}
	}
}

// name reads a member's name and its colon.
func (d *decoder) name(at string, seen []string) (string, error) {
	if d.peek() != '"' {
		return "", d.fault(at, "is not JSON: the name of a field is missing")
	}
	raw, err := d.str(at)
	if err != nil {
		return "", err
	}
	name := string(raw)
	for _, s := range seen {
		if s == name {
			return "", dsv.Invalid(clip(name), "is given twice")
		}
	}
	if !d.take(':') {
		return "", d.fault(at, "is not JSON: a colon is missing")
	}
	return name, nil
}

// array reads [item, …] and calls item at each.
func (d *decoder) array(field string, item func() error) error {
	if !d.take('[') {
		return d.fault(field, "must be a JSON array")
	}
	if d.take(']') {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch {
		case d.take(','):
		case d.take(']'):
			return nil
		default:
			return d.fault(field, "is not JSON: a comma or ] is missing")
		}
	}
}

// uint reads a whole number from low to high.
func (d *decoder) uint(field string, low, high uint64) (uint64, error) {
	d.peek()
	start := d.i
	for d.i < len(d.b) && numeric(d.b[d.i]) {
		d.i++
	}
	text := d.b[start:d.i]
	if len(text) == 0 {
		return 0, d.fault(field, "must be a whole number")
	}
	v, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || v < low || v > high || len(text) > 1 && text[0] == '0' {
		return 0, dsv.Invalid(field, fmt.Sprintf("must be a whole number from %d to %d", low, high))
	}
	return v, nil
}

func numeric(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

// bool reads true or false.
func (d *decoder) bool(field string) (bool, error) {
	d.peek()
	switch rest := d.b[d.i:]; {
	case bytes.HasPrefix(rest, []byte("true")):
		d.i += 4
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		d.i += 5
		return false, nil
	}
	return false, d.fault(field, "must be true or false")
}

// text reads a string of at most limit bytes.
func (d *decoder) text(field string, limit int) (string, error) {
	raw, err := d.str(field)
	if err == nil && len(raw) > limit {
		err = dsv.Invalid(field, fmt.Sprintf("is longer than %d bytes", limit))
	}
	return string(raw), err
}

// secretText reads a string as a secret of its own bytes.
func (d *decoder) secretText(field string, limit int) (dsv.Secret, error) {
	raw, err := d.str(field)
	switch {
	case err != nil:
		return dsv.Secret{}, err
	case len(raw) > limit:
		return dsv.Secret{}, tooLarge(field, limit)
	case d.fresh:
		return dsv.SecretOf(raw), nil
	}
	return dsv.SecretOf(append(make([]byte, 0, len(raw)), raw...)), nil
}

// secretBase64 reads a string in strict, padded standard base64 as a secret.
func (d *decoder) secretBase64(field string, limit int) (dsv.Secret, error) {
	raw, err := d.str(field)
	switch {
	case err != nil:
		return dsv.Secret{}, err
	case len(raw) > base64.StdEncoding.EncodedLen(limit):
		return dsv.Secret{}, tooLarge(field, limit)
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Strict().Decode(out, raw)
	// The decoder skips line ends: the exact length shows them.
	if err != nil || base64.StdEncoding.EncodedLen(n) != len(raw) {
		clear(out)
		return dsv.Secret{}, dsv.Invalid(field, "is not base64: use the standard alphabet with padding and no line ends, or \"text\"")
	}
	if n > limit {
		clear(out)
		return dsv.Secret{}, tooLarge(field, limit)
	}
	return dsv.SecretOf(out[:n]), nil
}

// clip bounds what an error repeats of a name.
func clip(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	if s == "" {
		return `""`
	}
	return s
}

func tooLarge(field string, limit int) *dsv.Error {
	e := dsv.E(dsv.KindTooLarge, dsv.CodeTooLarge, fmt.Sprintf("is larger than %d bytes", limit))
	e.Field = field
	return e
}
