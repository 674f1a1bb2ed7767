package datastore

import "strings"

const (
	space     = "d"
	indexType = "i"
)

// itemKey is the key of an item; with id "" also the prefix of its type.
func itemKey(typ, id string) []byte { return []byte(space + typ + ":" + id) }

// parseItem undoes itemKey.
func parseItem(key []byte) (typ, id string, ok bool) {
	rest, ok := strings.CutPrefix(string(key), space)
	if !ok {
		return "", "", false
	}
	typ, id, ok = strings.Cut(rest, ":")
	return typ, id, ok && validName(typ)
}

// indexPrefix is the prefix of all index rows of a type, of a field of it, or
// of a value of that field.
func indexPrefix(typ string, fieldAndValue ...string) []byte {
	b := []byte(space + indexType + ":" + typ + ":")
	for i, s := range fieldAndValue {
		if i == 1 {
			s = escape.Replace(s)
		}
		b = append(append(b, s...), ':')
	}
	return b
}

func indexKey(typ, field, value, id string) []byte {
	return append(indexPrefix(typ, field, value), id...)
}

// indexRow is what an index key tells.
type indexRow struct{ typ, field, value, id string }

// parseIndex undoes indexKey.
func parseIndex(key []byte) (r indexRow, ok bool) {
	parts := strings.SplitN(string(key), ":", 5)
	if len(parts) != 5 || parts[0] != space+indexType || !validName(parts[1]) || !validName(parts[2]) {
		return r, false
	}
	r = indexRow{parts[1], parts[2], unescape.Replace(parts[3]), parts[4]}
	return r, escape.Replace(r.value) == parts[3]
}

var (
	escape   = strings.NewReplacer("%", "%25", ":", "%3A")
	unescape = strings.NewReplacer("%25", "%", "%3A", ":")
)

// validName tells whether s can name a type or a field.
func validName(s string) bool {
	if s == "" || len(s) > 64 || s == indexType {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
	})
}
