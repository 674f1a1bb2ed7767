package dotenv

import (
	"bytes"
	"strings"
)

// reading is what a reader makes of a value: its bytes, and the parts of them
// that are active, ascending and apart.
type reading struct {
	value  []byte
	active []span
}

// decode reads raw, the text between such quotes. candidates are the places in
// the value of $ and back-ticks that nothing protects.
func (g grammar) decode(raw []byte, quote byte) (value []byte, candidates []int) {
	value = make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		next := byte(0)
		if i+1 < len(raw) {
			next = raw[i+1]
		}
		switch {
		case quote != 0 && c == '\r' && next == '\n' && !g.keepsCR:
			continue
		case quote == '\'':
			if g.singleEscape && c == '\\' && next == '\'' {
				continue
			}
		case quote == '"' && c == '\\':
			if e, ok := g.unescape(next); ok {
				c = e
				i++
			}
		case c == '$' && next == '$' && g.dollarPair:
			i++
		case c == '$' || c == '`' && !g.noTicks:
			candidates = append(candidates, len(value))
		}
		value = append(value, c)
	}
	return value, candidates
}

func (g grammar) unescape(c byte) (byte, bool) {
	for i := 0; i+1 < len(g.escapes); i += 2 {
		if c != 0 && g.escapes[i] == c {
			return g.escapes[i+1], true
		}
	}
	return 0, false
}

func (g grammar) read(raw []byte, quote byte) reading {
	value, candidates := g.decode(raw, quote)
	return reading{value, expansions(value, candidates)}
}

// expansions are the parts of value that some reader would replace, if the $
// and back-ticks at these places are not protected. Where only a shell could
// tell how far one goes (commands, quotes inside braces), it goes to the end.
func expansions(value []byte, candidates []int) []span {
	var out []span
	behind := 0
	for _, at := range candidates {
		if at < behind {
			continue
		}
		if end := expansionEnd(value, at); end > at {
			out = append(out, span{at, end})
			behind = end
		}
	}
	return out
}

// expansionEnd is where the expansion that begins with the $ or back-tick at i
// ends; i if the $ is just a $ to every reader.
func expansionEnd(b []byte, i int) int {
	if b[i] == '`' {
		return len(b)
	}
	if i+1 >= len(b) {
		return i
	}
	switch c := b[i+1]; {
	case c == '(' || c == '[':
		return len(b)
	case c == '{':
		return braceEnd(b, i+2)
	case wordByte(c):
		end := i + 1
		for end < len(b) && wordByte(b[end]) {
			end++
		}
		return end
	case strings.IndexByte("!@#*?$-", c) >= 0:
		return i + 2
	}
	return i
}

// braceEnd is behind the } that ends a plain ${...}, else the end.
func braceEnd(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch {
		case b[i] == '}':
			return i + 1
		case !wordByte(b[i]) && strings.IndexByte(":-+?=.,/@%^ ", b[i]) < 0:
			return len(b)
		}
	}
	return i
}

// refers reports whether an active part is meant to be replaced: ${...},
// $(...), back-ticks in pairs, or $NAME where NAME is assigned in the file or
// is all capitals. Any other $ is more likely part of a password or hash.
func (r reading) refers(assigned func(name string) bool) bool {
	for _, a := range r.active {
		part := a.of(r.value)
		switch {
		case part[0] == '`':
			if bytes.IndexByte(part[1:], '`') >= 0 {
				return true
			}
		case strings.IndexByte("{([", part[1]) >= 0:
			return true
		case wordByte(part[1]) && (assigned(string(part[1:])) || capitals(part[1:])):
			return true
		}
	}
	return false
}

// capitals reports a name of two bytes or more of [A-Z0-9_] that begins with a letter or _.
func capitals(name []byte) bool {
	if len(name) < 2 || '0' <= name[0] && name[0] <= '9' {
		return false
	}
	return bytes.IndexFunc(name, func(r rune) bool { return 'a' <= r && r <= 'z' }) < 0
}
