package api

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dsvault/dsv"
)

// str reads a string. The result is a part of the body where the string has
// no escapes: copy it to keep it.
func (d *decoder) str(field string) ([]byte, error) {
	if !d.take('"') {
		return nil, d.fault(field, "must be a string")
	}
	d.fresh = false
	start := d.i
	for ; d.i < len(d.b); d.i++ {
		switch c := d.b[d.i]; {
		case c == '"':
			s := d.b[start:d.i]
			d.i++
			if !utf8.Valid(s) {
				return nil, dsv.Invalid(field, "is not UTF-8")
			}
			return s, nil
		case c == '\\':
			return d.unescape(field, start)
		case c < ' ':
			return nil, d.fault(field, "is not JSON: a control character in a string")
		}
	}
	return nil, d.fault(field, "is not JSON: a string has no end")
}

// unescape reads on from the first backslash of a string that began at start.
func (d *decoder) unescape(field string, start int) ([]byte, error) {
	end := d.i
	for ; end < len(d.b) && d.b[end] != '"'; end++ {
		if d.b[end] == '\\' {
			end++
		}
	}
	if end >= len(d.b) {
		return nil, d.fault(field, "is not JSON: a string has no end")
	}
	out := append(make([]byte, 0, end-start), d.b[start:d.i]...) // an escape is never shorter than what it stands for
	for d.i < end {
		switch c := d.b[d.i]; {
		case c == '\\':
			var err error
			if out, err = d.escape(field, out); err != nil {
				clear(out)
				return nil, err
			}
		case c < ' ':
			clear(out)
			return nil, d.fault(field, "is not JSON: a control character in a string")
		default:
			out = append(out, c)
			d.i++
		}
	}
	d.i, d.fresh = end+1, true
	if !utf8.Valid(out) {
		clear(out)
		return nil, dsv.Invalid(field, "is not UTF-8")
	}
	return out, nil
}

const escapes = "\"\\/bfnrt"
const escaped = "\"\\/\b\f\n\r\t"

// escape appends what the escape at d.i stands for.
func (d *decoder) escape(field string, out []byte) ([]byte, error) {
	c := d.b[d.i+1] // there is one: unescape found the end behind it
	for k := range len(escapes) {
		if escapes[k] == c {
			d.i += 2
			return append(out, escaped[k]), nil
		}
	}
	if c != 'u' {
		return out, d.fault(field, "is not JSON: an unknown escape in a string")
	}
	r, ok := d.hex4()
	if ok && utf16.IsSurrogate(r) {
		var low rune
		if d.i+1 < len(d.b) && d.b[d.i] == '\\' && d.b[d.i+1] == 'u' {
			low, ok = d.hex4()
		}
		r = utf16.DecodeRune(r, low)
		ok = ok && r != utf8.RuneError
	}
	if !ok {
		return out, d.fault(field, "is not JSON: a \\u escape that stands for no character")
	}
	return utf8.AppendRune(out, r), nil
}

// hex4 reads \uXXXX.
func (d *decoder) hex4() (rune, bool) {
	if len(d.b)-d.i < 6 {
		return 0, false
	}
	v, err := strconv.ParseUint(string(d.b[d.i+2:d.i+6]), 16, 16)
	d.i += 6
	return rune(v), err == nil
}
