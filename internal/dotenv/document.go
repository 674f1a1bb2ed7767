package dotenv

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dsvault/dsv"
)

// document writes all assignments as a json, yaml or k8s document, and reads
// it again. Names alone are left out, the last of several assignments counts.
func (to Dialect) document(f *File, values [][][]byte) ([]byte, []dsv.Fault) {
	d := to.of()
	var faults []dsv.Fault
	var all []entry
	places := make(map[string]int)
	defer func() { wipe(all) }()
	for i := range f.items {
		it := &f.items[i]
		if it.alone {
			continue
		}
		want := it.meant(f.text, values[i])
		if text := d.refuses(want.value); text != "" {
			faults = append(faults, *unfit(it, d, text))
		}
		if d.name == "k8s" && strings.ContainsAny(it.name, "[]") {
			faults = append(faults, *unfit(it, d, "a key of a Secret has only [A-Za-z0-9._-]"))
		}
		e := entry{name: it.name, line: it.line, reading: want}
		if at, twice := places[it.name]; twice {
			clear(all[at].value)
			all[at] = e
			continue
		}
		places[it.name] = len(all)
		all = append(all, e)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	out := d.write(to, all)
	got, ok := d.check(out)
	defer wipe(got)
	if !ok || !slices.EqualFunc(got, all, func(a, b entry) bool { return a.name == b.name && bytes.Equal(a.value, b.value) }) {
		clear(out)
		return nil, []dsv.Fault{{Code: dsv.CodeUnprocessable, Detail: "the file cannot be written as " + d.name}}
	}
	return out, nil
}

func writeJSON(_ Dialect, all []entry) []byte {
	out := []byte("{")
	for i, e := range all {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, "\n  "...)
		out = appendJSON(out, []byte(e.name))
		out = append(out, ": "...)
		out = appendJSON(out, e.value)
	}
	return append(out, "\n}\n"...)
}

func checkJSON(text []byte) ([]entry, bool) {
	text, ok := bytes.CutPrefix(text, []byte("{"))
	if !ok {
		return nil, false
	}
	var out []entry
	for {
		rest, more := bytes.CutPrefix(text, []byte("\n  "))
		if !more {
			break
		}
		name, rest, ok1 := cutJSON(rest)
		rest, ok2 := bytes.CutPrefix(rest, []byte(": "))
		value, rest, ok3 := cutJSON(rest)
		if !ok1 || !ok2 || !ok3 {
			return out, false
		}
		out = append(out, entry{name: string(name), reading: reading{value: value}})
		if text, more = bytes.CutPrefix(rest, []byte(",")); !more {
			text = rest
			break
		}
	}
	return out, string(text) == "\n}\n"
}

// writeYAML writes strings as JSON does, which YAML 1.1 and 1.2 read alike.
func writeYAML(_ Dialect, all []entry) []byte {
	if len(all) == 0 {
		return []byte("{}\n")
	}
	var out []byte
	for _, e := range all {
		out = appendYAMLKey(out, e.name)
		out = append(out, ": "...)
		out = appendJSON(out, e.value)
		out = append(out, '\n')
	}
	return out
}

// appendYAMLKey leaves the quotes out where no YAML reads anything but a string.
func appendYAMLKey(out []byte, name string) []byte {
	words := " y n yes no on off true false null "
	if shellName(name) && name != "_" && !strings.Contains(words, " "+strings.ToLower(name)+" ") {
		return append(out, name...)
	}
	return appendJSON(out, []byte(name))
}

func checkYAML(text []byte) ([]entry, bool) {
	var out []entry
	if string(text) == "{}\n" {
		return out, true
	}
	for line := range bytes.Lines(text) {
		name, rest, ok := cutYAMLKey(line)
		value, rest, ok2 := cutJSON(rest)
		if !ok || !ok2 || string(rest) != "\n" {
			return out, false
		}
		out = append(out, entry{name: string(name), reading: reading{value: value}})
	}
	return out, true
}

func cutYAMLKey(line []byte) (name, rest []byte, ok bool) {
	if bytes.HasPrefix(line, []byte{'"'}) {
		name, rest, ok = cutJSON(line)
		if !ok {
			return nil, nil, false
		}
		rest, ok = bytes.CutPrefix(rest, []byte(": "))
		return name, rest, ok
	}
	return bytes.Cut(line, []byte(": "))
}

const k8sHead = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\ntype: Opaque\n"

func writeK8s(d Dialect, all []entry) []byte {
	out := fmt.Appendf(nil, k8sHead, d.name)
	if len(all) == 0 {
		return append(out, "data: {}\n"...)
	}
	out = append(out, "data:\n"...)
	for _, e := range all {
		out = append(out, "  "...)
		out = appendYAMLKey(out, e.name)
		out = append(out, ": \""...)
		out = base64.StdEncoding.AppendEncode(out, e.value)
		out = append(out, "\"\n"...)
	}
	return out
}

func checkK8s(text []byte) ([]entry, bool) {
	_, text, ok := bytes.Cut(text, []byte("\ntype: Opaque\ndata:"))
	if !ok {
		return nil, false
	}
	var out []entry
	if string(text) == " {}\n" {
		return out, true
	}
	for line := range bytes.Lines(text[1:]) {
		name, rest, ok := cutYAMLKey(bytes.TrimPrefix(line, []byte("  ")))
		if !ok || len(rest) < 3 || rest[0] != '"' || string(rest[len(rest)-2:]) != "\"\n" {
			return out, false
		}
		value, err := base64.StdEncoding.AppendDecode(nil, rest[1:len(rest)-2])
		if err != nil {
			return out, false
		}
		out = append(out, entry{name: string(name), reading: reading{value: value}})
	}
	return out, true
}

// appendJSON writes a string of JSON that is one of YAML too: what YAML does
// not print is \u and four digits. encoding/json would go through a Go string.
func appendJSON(out, b []byte) []byte {
	out = append(out, '"')
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\n':
			out = append(out, `\n`...)
		case r < 0x20 || 0x7F <= r && r < 0xA0 || r == 0x2028 || r == 0x2029 || r == 0xFEFF || r == 0xFFFE || r == 0xFFFF:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, b[i:i+n]...)
		}
		i += n
	}
	return append(out, '"')
}

// cutJSON reads what appendJSON writes.
func cutJSON(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, b, false
	}
	value = []byte{}
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '"':
			return value, b[i+1:], true
		case b[i] < 0x20:
			return value, b, false
		case b[i] != '\\':
			value = append(value, b[i])
			continue
		case i+1 < len(b) && (b[i+1] == '"' || b[i+1] == '\\'):
			value = append(value, b[i+1])
			i++
			continue
		case i+1 < len(b) && b[i+1] == 'n':
			value = append(value, '\n')
			i++
			continue
		case i+6 > len(b) || b[i+1] != 'u':
			return value, b, false
		}
		r, err := strconv.ParseUint(string(b[i+2:i+6]), 16, 16)
		if err != nil {
			return value, b, false
		}
		value = utf8.AppendRune(value, rune(r))
		i += 5
	}
	return value, b, false
}
