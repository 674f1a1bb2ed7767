package dotenv

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/dsvault/dsv"
)

// Kind says what a reference asks for.
type Kind uint8

// The kinds.
const (
	Secret  Kind = iota + 1 // secret(...): the value of a secret that exists
	Enc                     // enc(NAME): stores a new secret
	Literal                 // enc("literal"): stores the literal under the line's own name
)

// Ref is one reference. NS is zero for the request's own namespace, always so
// for Enc and Literal. At most one of Version and At is set.
type Ref struct {
	Kind    Kind
	Line    int // where it stands, from 1
	NS      dsv.Namespace
	Key     dsv.Key
	Version uint64    // 0: not asked for
	At      time.Time // UTC, zero: not asked for
	at      span      // in the text
}

// ID is the canonical form of what is named: "ns:KEY@3", without the parts that
// are not given. Two references with one ID and one meaning of "own namespace"
// have one value.
func (r Ref) ID() string {
	s := r.Key.String()
	if !r.NS.IsZero() {
		s = r.NS.String() + ":" + s
	}
	switch {
	case r.Version != 0:
		s += "@" + strconv.FormatUint(r.Version, 10)
	case !r.At.IsZero():
		s += "@" + r.At.Format(time.RFC3339Nano)
	}
	return s
}

// String is the reference as it is written in a file, but for a literal.
func (r Ref) String() string {
	if r.Kind == Secret {
		return "secret(" + r.ID() + ")"
	}
	return "enc(" + r.ID() + ")"
}

var heads = [...]struct {
	text []byte
	kind Kind
}{{[]byte("secret("), Secret}, {[]byte("enc("), Enc}}

// nextRef finds the first reference in b: its kind, where it begins, and where
// its inside begins.
func nextRef(b []byte) (kind Kind, from, inside int, ok bool) {
	for i := range b {
		if i > 0 && wordByte(b[i-1]) {
			continue
		}
		for _, h := range heads {
			if bytes.HasPrefix(b[i:], h.text) {
				return h.kind, i, i + len(h.text), true
			}
		}
	}
	return 0, 0, 0, false
}

// refs returns the references in raw and what is wrong with others. at is the
// place of raw in the text, line the line it begins on.
func refs(raw []byte, at, line int) (out []Ref, faults []dsv.Fault) {
	for pos := 0; ; {
		kind, from, inside, ok := nextRef(raw[pos:])
		if !ok {
			return out, faults
		}
		line += bytes.Count(raw[pos:pos+from], []byte{'\n'})
		from, inside = pos+from, pos+inside
		end := inside
		for end < len(raw) && refByte(raw[end]) {
			end++
		}
		pos = end
		r, err := Ref{}, errNotClosed
		switch {
		case end < len(raw) && raw[end] == ')':
			r, err = parseRef(kind, string(raw[inside:end]))
			pos = end + 1
		case kind == Enc && end == inside && end < len(raw) && (raw[end] == '"' || raw[end] == '\''):
			err = errLiteralPlace
		}
		if err != nil {
			faults = append(faults, invalid(line, "", string(raw[from:inside])+"...): "+detail(err)))
			continue
		}
		r.Line, r.at = line, span{at + from, at + pos}
		out = append(out, r)
	}
}

var (
	errNotClosed    = errors.New("is not closed, or has a character that no name has")
	errLiteralPlace = errors.New("a literal must be the whole, unquoted value of its line")
	errEncNamespace = errors.New("stores in the request's own namespace: leave the namespace out")
	errEncVersion   = errors.New("stores a new secret: leave the version out")
	errVersion      = errors.New("after @ comes a version from 1 or a time like 2026-01-31T00:00:00Z")
	errPrecision    = errors.New("times have microseconds at most")
)

func parseRef(kind Kind, inner string) (Ref, error) {
	r := Ref{Kind: kind}
	name, when, hasWhen := strings.Cut(inner, "@")
	ns, key, hasNS := strings.Cut(name, ":")
	if !hasNS {
		key = ns
	}
	var err error
	if hasNS {
		if r.NS, err = dsv.ParseNamespace(ns); err != nil {
			return Ref{}, err
		}
	}
	if r.Key, err = dsv.ParseKey(key); err != nil {
		return Ref{}, err
	}
	switch {
	case kind == Enc && hasNS:
		return Ref{}, errEncNamespace
	case kind == Enc && hasWhen:
		return Ref{}, errEncVersion
	case hasWhen:
		err = r.setWhen(when)
	}
	return r, err
}

func (r *Ref) setWhen(when string) error {
	if n, err := strconv.ParseUint(when, 10, 63); err == nil && n > 0 && when[0] != '0' {
		r.Version = n
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, when)
	switch {
	case err != nil || t.IsZero():
		return errVersion
	case t.Nanosecond()%1000 != 0:
		return errPrecision
	}
	r.At = t.UTC()
	return nil
}

// wordByte is a byte of an identifier.
func wordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// refByte is a byte that may stand inside the parentheses of a reference.
func refByte(c byte) bool {
	return wordByte(c) || bytes.IndexByte([]byte("./:@+-"), c) >= 0
}

// nameByte is a byte of the name of an assignment.
func nameByte(c byte) bool {
	return wordByte(c) || c == '.' || c == '-' || c == '[' || c == ']'
}

func invalid(line int, name, text string) dsv.Fault {
	return dsv.Fault{Line: line, Name: name, Code: dsv.CodeInvalid, Detail: text}
}

// detail is the sentence of an error of the root package, or of ours.
func detail(err error) string {
	if e, ok := errors.AsType[*dsv.Error](err); ok {
		return strings.TrimSpace(e.Field + " " + e.Detail)
	}
	return err.Error()
}
