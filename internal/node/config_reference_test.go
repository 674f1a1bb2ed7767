package node

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the reference into docs/OPERATIONS.md")

const (
	operations = "../../docs/OPERATIONS.md"
	begin      = "<!-- reference: begin (made by `make generate`) -->\n"
	end        = "<!-- reference: end -->"
)

// TestReference: the table in docs/OPERATIONS.md is what Config says: every
// key, its default, its environment variable and its comment.
func TestReference(t *testing.T) {
	b, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		t.Fatalf("%s has no place for the reference", operations)
	}
	want := text[:i+len(begin)] + reference(t) + text[j:]
	if want == text {
		return
	}
	if !*update {
		t.Fatalf("the reference in %s is not what Config says: run make generate", operations)
	}
	if err := os.WriteFile(operations, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reference is the Markdown table of all keys.
func reference(t *testing.T) string {
	comments := fieldComments(t)
	env := map[string]string{}
	for _, o := range overrides {
		env[o.Key] = o.Env
	}
	var out strings.Builder
	out.WriteString("\n| key | default | what it is |\n|---|---|---|\n")
	keysOf(reflect.ValueOf(DefaultConfig()), "", func(path string, owner reflect.Type, field string, v reflect.Value) {
		doc := comments[owner.Name()+"."+field]
		if doc == "" {
			t.Errorf("%s.%s has no comment", owner.Name(), field)
		}
		def := ""
		if !v.IsZero() {
			def = fmt.Sprintf("`%v`", v.Interface())
		}
		if e := env[path]; e != "" {
			doc += " Overridden by `" + e + "`."
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", path, def, doc)
	})
	out.WriteString("\n")
	return out.String()
}

// keysOf visits every key that has a value of its own.
func keysOf(v reflect.Value, path string, visit func(path string, owner reflect.Type, field string, v reflect.Value)) {
	for i, name := range yamlNames(v.Type()) {
		at, f := join(path, name), v.Field(i)
		row := f.Type().Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct
		switch {
		case row:
			keysOf(reflect.Zero(f.Type().Elem()), at+"[]", visit)
		case f.Kind() == reflect.Struct:
			keysOf(f, at, visit)
		default:
			visit(at, v.Type(), v.Type().Field(i).Name, f)
		}
	}
}

// fieldComments are the comments above struct fields, "Type.Field", in one line.
func fieldComments(t *testing.T) map[string]string {
	f, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		s, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range s.Fields.List {
			doc := strings.Join(strings.Fields(field.Doc.Text()), " ")
			for _, name := range field.Names {
				out[spec.Name.Name+"."+name.Name] = strings.ReplaceAll(doc, "|", "\\|")
			}
		}
		return true
	})
	return out
}

// TestExamplesInDocs: every YAML block of the documentation that is a node's
// configuration is one.
func TestExamplesInDocs(t *testing.T) {
	found := 0
	for _, file := range []string{operations, "../../README.md"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
			var shape map[string]yaml.Node
			if err := yaml.Unmarshal([]byte(m[1]), &shape); err != nil {
				t.Errorf("%s: %v\n%s", file, err, m[1])
				continue
			}
			if _, whole := shape["members"]; !whole {
				continue
			}
			found++
			if _, err := ParseConfig([]byte(m[1]), "/etc/dsv", nil); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if found == 0 {
		t.Error("no example found: the test looks in the wrong place")
	}
}
