package secrecy

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fields is all that a thief has of one version, by name.
type fields map[string][]byte

// add takes a field, and its length as another.
func (f fields) add(name string, b []byte) {
	f[name] = b
	f[name+" length"] = binary.BigEndian.AppendUint32(nil, uint32(len(b)))
}

// message adds every field of a message.
func (f fields) message(name string, m proto.Message) {
	m.ProtoReflect().Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := name + "." + string(d.Name())
		if d.IsList() {
			f.add(at+" count", binary.BigEndian.AppendUint32(nil, uint32(v.List().Len())))
			for i := range v.List().Len() {
				f.scalar(fmt.Sprintf("%s[%d]", at, i), d, v.List().Get(i))
			}
			return true
		}
		f.scalar(at, d, v)
		return true
	})
}

func (f fields) scalar(name string, d protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case d.Kind() == protoreflect.MessageKind:
		f.message(name, v.Message().Interface())
	case d.Kind() == protoreflect.BytesKind:
		f.add(name, v.Bytes())
	default:
		f.add(name, []byte(fmt.Sprint(v.Interface())))
	}
}

// telling lists the fields that single out values: groups are versions with one
// value each. A field, or a byte of one, tells if it is the same for all
// versions of each group and not the same for all groups, as every function of
// the value would be, whatever key of the thief's or of the node's is in it.
func telling(groups map[string][]fields) []string {
	names := map[string]bool{}
	for _, g := range groups {
		for _, f := range g {
			for n := range f {
				names[n] = true
			}
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		whole := func(f fields) string { return string(f[name]) }
		if tells(groups, whole) {
			out = append(out, name)
			continue
		}
		for i := range shortest(groups, name) {
			if tells(groups, func(f fields) string { return string(f[name][i]) }) {
				out = append(out, fmt.Sprintf("byte %d of %s", i, name))
			}
		}
	}
	return out
}

func tells(groups map[string][]fields, of func(fields) string) bool {
	seen := map[string]bool{}
	for _, g := range groups {
		first := of(g[0])
		for _, f := range g[1:] {
			if of(f) != first {
				return false
			}
		}
		seen[first] = true
	}
	return len(seen) > 1
}

func shortest(groups map[string][]fields, name string) int {
	n := 1 << 20
	for _, g := range groups {
		for _, f := range g {
			n = min(n, len(f[name]))
		}
	}
	return n
}

// windows is every run of eight bytes of what a thief has.
type windows map[uint64]bool

func (w windows) add(b []byte) {
	for i := range max(0, len(b)-7) {
		w[binary.BigEndian.Uint64(b[i:])] = true
	}
}

func (w windows) has(b []byte) bool { return len(b) >= 8 && w[binary.BigEndian.Uint64(b)] }

// guess tries all PINs: it takes each, alone and padded, through every simple
// function with every salt and key the thief has, and looks for the result. It
// returns the PINs that fit, with the function.
func guess(w windows, salts map[string][]byte) map[string]string {
	hits := map[string]string{}
	for n := range 10_000 {
		pin := fmt.Appendf(nil, "%04d", n)
		padded := append(binary.BigEndian.AppendUint32(nil, 4), pin...)
		padded = append(padded, make([]byte, 64-len(padded))...) // as internal/shard pads it
		for form, text := range map[string][]byte{"plain": pin, "padded": padded, "hashed": sum(pin)} {
			try := func(how string, result []byte) {
				if w.has(result) {
					hits[string(pin)] = how + " of " + form
				}
			}
			try("SHA-256", sum(text))
			for name, salt := range salts {
				try("SHA-256 behind "+name, sum(salt, text))
				try("SHA-256 before "+name, sum(text, salt))
				mac := hmac.New(sha256.New, salt)
				_, _ = mac.Write(text)
				try("HMAC under "+name, mac.Sum(nil))
				if len(salt) == 32 {
					try("AES-GCM under "+name, newGCM(salt).Seal(nil, make([]byte, 12), text, nil)[:len(text)])
				}
			}
		}
		own := sum(pin)
		if w.has(newGCM(own).Seal(nil, make([]byte, 12), padded, nil)) {
			hits[string(pin)] = "AES-GCM under its own hash"
		}
	}
	return hits
}

func sum(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write(p)
	}
	return h.Sum(nil)
}

// TestTellingCanFail: what would tell is found, what does not tell is not.
func TestTellingCanFail(t *testing.T) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	plants := map[string]func(value string, f fields){
		"":                 func(string, fields) {},
		"hash":             func(v string, f fields) { f.add("hash", sum([]byte(v))) },
		"keyed":            func(v string, f fields) { f.add("keyed", sum(key, []byte(v))) },
		"size length":      func(v string, f fields) { f.add("size", make([]byte, len(v))) },
		"byte 3 of mixed ": func(v string, f fields) { b := random(8); b[3] = sum([]byte(v))[0]; f.add("mixed ", b) },
	}
	for want, plant := range plants {
		groups := map[string][]fields{}
		for i := range 6 { // in turn, as the real ones are written
			for _, v := range []string{"1234", "5678", "correct horse"} {
				f := fields{}
				f.add("random", random(32))
				f.add("constant", []byte("same"))
				f.add("time", binary.BigEndian.AppendUint64(nil, uint64(1000*i+len(groups[v]))))
				plant(v, f)
				groups[v] = append(groups[v], f)
			}
		}
		got := telling(groups)
		if want == "" && len(got) > 0 || want != "" && !slices.Contains(got, want) {
			t.Errorf("want %q, got %q", want, got)
		}
	}
	set := random(28)
	for how, plant := range map[string][]byte{
		"":                            random(64),
		"SHA-256 of plain":            sum([]byte("4711")),
		"SHA-256 behind set of plain": sum(set, []byte("4711")),
		"AES-GCM under key of padded": newGCM(key).Seal(nil, make([]byte, 12), append([]byte{0, 0, 0, 4, '4', '7', '1', '1'}, make([]byte, 56)...), nil),
		"AES-GCM under its own hash":  newGCM(sum([]byte("4711"))).Seal(nil, make([]byte, 12), append([]byte{0, 0, 0, 4, '4', '7', '1', '1'}, make([]byte, 56)...), nil),
	} {
		w := windows{}
		w.add(bytes.Join([][]byte{random(100), plant, random(100)}, nil))
		hits := guess(w, map[string][]byte{"set": set, "key": key})
		if how == "" && len(hits) > 0 || how != "" && (len(hits) != 1 || !strings.HasPrefix(hits["4711"], how)) {
			t.Errorf("want %q, got %q", how, hits)
		}
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
