package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dsvault/dsv"
)

// Faults collects what is wrong with a configuration, each fault under its
// path ("quorum.w") and, where the text is known, with its line. Of
// several faults of one value the first is kept, so that a mend of it is not
// hidden among what follows from it.
type Faults struct {
	list   []dsv.Fault
	lines  map[string]int
	unread bool
}

// Add records that the value at path is wrong; detail says what to do.
func (f *Faults) Add(path, format string, a ...any) {
	f.at(f.lineOf(path), path, fmt.Sprintf(format, a...))
}

// lineOf is the line of path, or of the nearest block around it.
func (f *Faults) lineOf(path string) int {
	for path != "" && f.lines[path] == 0 {
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return f.lines[path]
}

func (f *Faults) at(line int, path, detail string) {
	if !f.Has(path) {
		f.list = append(f.list, dsv.Fault{Line: line, Name: path, Code: dsv.CodeInvalid, Detail: detail})
	}
}

// also adds one more fault to a path that may have some.
func (f *Faults) also(path, detail string) {
	f.list = append(f.list, dsv.Fault{Line: f.lineOf(path), Name: path, Code: dsv.CodeInvalid, Detail: detail})
}

// Has reports whether path, or a block around it, has a fault already.
func (f *Faults) Has(path string) bool {
	return slices.ContainsFunc(f.list, func(x dsv.Fault) bool {
		rest, ok := strings.CutPrefix(path, x.Name)
		return ok && x.Name != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// Unread reports that the text is no YAML at all: checking what it says would
// only add faults that nobody made.
func (f *Faults) Unread() bool { return f.unread }

// Err is nil without faults; else a KindInvalid error whose text and Faults
// list all of them, in the order of their lines. file may be "".
func (f *Faults) Err(what, file string) error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b dsv.Fault) int { return a.Line - b.Line })
	var b strings.Builder
	fmt.Fprintf(&b, "has %d fault", len(f.list))
	if len(f.list) > 1 {
		b.WriteByte('s')
	}
	b.WriteByte(':')
	for _, x := range f.list {
		b.WriteString("\n  ")
		if x.Line > 0 {
			fmt.Fprintf(&b, "line %d: ", x.Line)
		}
		if x.Name != "" {
			b.WriteString(x.Name + ": ")
		}
		b.WriteString(x.Detail)
	}
	return &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: what, Path: file, Detail: b.String(), Faults: f.list}
}

// DecodeYAML reads one YAML document into the struct that into points to, over
// what it holds. Unknown and repeated keys, keys without a value and values of
// the wrong type are all recorded, with path and line; nothing is guessed.
func (f *Faults) DecodeYAML(text []byte, into any) {
	f.lines = map[string]int{}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file: every required key is missing, which Check says
			f.syntax(err)
		}
		return
	}
	if err := dec.Decode(&more); err == nil {
		f.at(more.Line, "", "a second YAML document begins here: use one")
	} else if !errors.Is(err, io.EOF) {
		f.syntax(err)
	}
	f.decode(doc.Content[0], reflect.ValueOf(into).Elem(), "")
}

func (f *Faults) syntax(err error) {
	f.unread = true
	f.at(0, "", strings.TrimPrefix(err.Error(), "yaml: ")+": this is not YAML")
}

func (f *Faults) decode(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if path != "" {
		f.lines[path] = n.Line
	}
	if n.Tag == "!!null" {
		f.Add(path, "has no value: give one or remove the key")
		return
	}
	_, own := v.Addr().Interface().(yaml.Unmarshaler)
	switch {
	case own:
		f.scalar(n, v, path)
	case v.Kind() == reflect.Struct:
		f.mapping(n, v, path)
	case v.Kind() == reflect.Slice:
		f.sequence(n, v, path)
	default:
		f.scalar(n, v, path)
	}
}

func (f *Faults) scalar(n *yaml.Node, v reflect.Value, path string) {
	fraction := v.Kind() == reflect.Int && n.ShortTag() != "!!int" // the decoder would cut it
	if n.Kind != yaml.ScalarNode || fraction || n.Decode(v.Addr().Interface()) != nil {
		f.Add(path, "must be %s", kindName(v))
	}
}

func kindName(v reflect.Value) string {
	switch v.Interface().(type) {
	case Size:
		return "a size such as 1MiB, 512KiB or a number of bytes"
	case time.Duration:
		return "a duration such as 50ms or 4s"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	}
	return "text"
}

func (f *Faults) sequence(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		f.Add(path, "must be a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, e := range n.Content {
		f.decode(e, v.Index(i), path+"["+strconv.Itoa(i)+"]")
	}
}

func (f *Faults) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		f.Add(path, "must be a block of keys: %s", strings.Join(yamlNames(v.Type()), ", "))
		return
	}
	known := yamlNames(v.Type())
	seen := map[string]bool{}
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		at := join(path, key.Value)
		field := slices.Index(known, key.Value)
		switch {
		case field < 0:
			f.at(key.Line, at, "is no key here: use "+strings.Join(known, ", "))
		case seen[key.Value]:
			f.at(key.Line, at, "is given twice")
		default:
			f.decode(n.Content[i+1], v.Field(field), at)
		}
		seen[key.Value] = true
	}
}

// yamlNames are the keys of a struct, in the order of its fields.
func yamlNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
	}
	return names
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Size is a number of bytes; in YAML a number, or one with B, KiB, MiB or GiB.
type Size int64

var units = []struct {
	name string
	size Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize reads the form that String writes, and plain numbers.
func ParseSize(s string) (Size, error) {
	text, unit := s, Size(1)
	for _, u := range units {
		if t, ok := strings.CutSuffix(s, u.name); ok {
			text, unit = strings.TrimSpace(t), u.size
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > int64(1<<62)/int64(unit) {
		return 0, dsv.Invalid("size", "is not a number of bytes, KiB, MiB or GiB")
	}
	return Size(n) * unit, nil
}

// String is the shortest exact form: "256MiB".
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(n *yaml.Node) (err error) {
	*s, err = ParseSize(n.Value)
	return err
}

// MarshalYAML writes String.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }
