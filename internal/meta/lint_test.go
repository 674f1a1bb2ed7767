package meta

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMachineIsPure proves of the source that the machine is a function of its
// input: by what it imports, by what it uses of those packages that could do
// more, and in that nothing depends on scheduling or map order.
func TestMachineIsPure(t *testing.T) {
	self := load(t, ".", rootPath+"/internal/meta")
	t.Run("imports", func(t *testing.T) { pureImports(t, self) })
	t.Run("uses", func(t *testing.T) { pureUses(t, self) })
	t.Run("order", func(t *testing.T) { pureOrder(t, self) })
}

const rootPath = "github.com/dsvault/dsv"

// source is a package parsed and type-checked without its tests.
type source struct {
	files []*ast.File
	info  *types.Info
	pkg   *types.Package
}

func load(t *testing.T, dir, path string) source {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	s := source{info: &types.Info{
		Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{},
	}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, f)
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", exports(t, dir))}
	if s.pkg, err = conf.Check(path, fset, s.files, s.info); err != nil {
		t.Fatal(err)
	}
	return s
}

// exports finds the compiled export data of whatever dir's package imports.
func exports(t *testing.T, dir string) importer.Lookup {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

func pureImports(t *testing.T, self source) {
	allowed := []string{
		"bytes", "cmp", "crypto/sha256", "encoding/binary", "errors", "fmt", "math/bits", "slices", "unicode/utf8",
		"google.golang.org/protobuf/proto", rootPath, rootPath + "/internal/meta/metapb", rootPath + "/internal/store",
	}
	for _, f := range self.files {
		for _, imp := range f.Imports {
			if path := strings.Trim(imp.Path.Value, `"`); !slices.Contains(allowed, path) || imp.Name != nil {
				t.Errorf("%s imports %s as %v", f.Name, path, imp.Name)
			}
		}
	}
}

// pureUses: the store package can open files and the root
// package can draw random ids; nothing of that is used, nor reached through
// what is used.
func pureUses(t *testing.T, self source) {
	ofStore := []string{"Txn", "Item", "Page", "Pair", "ErrNotFound", "Get", "Put", "Scan", "Delete", "Count",
		"Key", "Value", "After", "Limit", "KeysOnly", "Reverse", "To", "From"}
	root := map[string]bool{} // by full name: the two loads have objects of their own
	for id, obj := range self.info.Uses {
		if obj.Pkg() == nil {
			continue
		}
		switch obj.Pkg().Path() {
		case rootPath + "/internal/store":
			if !slices.Contains(ofStore, obj.Name()) {
				t.Errorf("store.%s is used", obj.Name())
			}
		case rootPath:
			root[fullName(obj)] = true
		case "fmt":
			if !slices.Contains([]string{"Errorf", "Sprintf"}, id.Name) {
				t.Errorf("fmt.%s is used", id.Name)
			}
		}
	}
	reach(t, load(t, filepath.Join("..", ".."), rootPath), root)
}

func fullName(obj types.Object) string {
	if f, ok := obj.(*types.Func); ok {
		return f.FullName()
	}
	return obj.Pkg().Path() + "." + obj.Name()
}

// reach follows the uses of names through a package and reports those that
// lead to a clock, randomness or the machine.
func reach(t *testing.T, s source, names map[string]bool) {
	t.Helper()
	bodies := map[string]ast.Node{}
	for _, f := range s.files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				bodies[fullName(s.info.Defs[d.Name])] = d
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok {
						for _, n := range v.Names {
							bodies[fullName(s.info.Defs[n])] = v
						}
					}
				}
			}
		}
	}
	if len(names) == 0 || len(bodies) == 0 {
		t.Fatal("nothing to follow")
	}
	impure := []string{"time", "crypto/rand", "math/rand", "math/rand/v2", "os", "net", "runtime", "sync", "io", "log/slog"}
	todo := slices.Sorted(maps.Keys(names))
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		body := bodies[name]
		if body == nil {
			continue // a type or field
		}
		ast.Inspect(body, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok || s.info.Uses[id] == nil || s.info.Uses[id].Pkg() == nil {
				return true
			}
			obj := s.info.Uses[id]
			if obj.Pkg() == s.pkg {
				if next := fullName(obj); !names[next] {
					names[next] = true
					todo = append(todo, next)
				}
			} else if _, isType := obj.(*types.TypeName); !isType && slices.Contains(impure, obj.Pkg().Path()) {
				t.Errorf("%s reaches %s", name, fullName(obj))
			}
			return true
		})
	}
}

func pureOrder(t *testing.T, self source) {
	for _, f := range self.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("a goroutine or channel: %T", n)
			case *ast.RangeStmt:
				if _, isMap := self.info.TypeOf(n.X).Underlying().(*types.Map); isMap {
					t.Errorf("ranges over a map: %v", n.X)
				}
			case ast.Expr:
				if b, ok := self.info.TypeOf(n).(*types.Basic); ok && b.Info()&(types.IsFloat|types.IsComplex) != 0 {
					t.Errorf("a float: %v", n)
				}
			}
			return true
		})
	}
}
