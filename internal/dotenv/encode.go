package dotenv

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// safe reports bytes that every reader takes as they are without quotes, a
// shell that sources the file too. Behind export a shell also expands braces
// and patterns.
func safe(b []byte, export bool) bool {
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case wordByte(c) || strings.IndexByte("./:@%+,=^-", c) >= 0:
			i++
			continue
		case strings.IndexByte("*?!{}[]", c) >= 0:
			if export {
				return false
			}
			i++
			continue
		case c < utf8.RuneSelf:
			return false
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			return false
		}
		i += n
	}
	return true
}

// append writes b between such quotes. keep are active parts of b, which stay
// as they are. false if this form cannot hold b.
func (d *dialect) append(dst, b []byte, f form, keep []span, crlf bool) ([]byte, bool) {
	if f.clean && (!bytes.Contains(b, []byte{'\n'}) || bytes.ContainsAny(b, d.escapes+"\r")) {
		return dst, false
	}
	if f.quote == '\'' {
		if len(keep) > 0 || bytes.IndexByte(b, '\'') >= 0 || d.folds && bytes.IndexByte(b, '\r') >= 0 {
			return dst, false
		}
	}
	kept := 0
	for i, c := range b {
		for kept < len(keep) && keep[kept].to <= i {
			kept++
		}
		switch active := kept < len(keep) && keep[kept].from <= i; {
		case f.quote == '"' && !f.clean && d.lineEnd && c == '\n':
			dst = append(dst, `\n`...)
		case f.quote == '"' && d.lineEnd && c == '\r':
			dst = append(dst, `\r`...)
		case f.quote == '"' && !active && strings.IndexByte(d.escapes, c) >= 0:
			dst = append(dst, '\\', c)
		case f.quote != 0 && c == '\n' && d.folds && crlf:
			dst = append(dst, "\r\n"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}
