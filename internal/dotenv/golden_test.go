package dotenv

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file under testdata, which must exist.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	path = filepath.Join("testdata", path)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

func parse(t testing.TB, text []byte) *File {
	t.Helper()
	f, faults := Parse(text)
	if faults != nil {
		t.Fatalf("faults %+v in\n%s", faults, text)
	}
	return f
}

func render(t testing.TB, f *File, values map[string]dsv.Secret, dialect string) []byte {
	t.Helper()
	d, err := ParseDialect(dialect)
	if err != nil {
		t.Fatal(err)
	}
	out, faults := Render(f, lookup(values), d)
	if faults != nil {
		t.Fatalf("faults %+v in\n%s", faults, f.Text())
	}
	return out
}

func lookup(values map[string]dsv.Secret) func(Ref) (dsv.Secret, bool) {
	return func(r Ref) (dsv.Secret, bool) {
		v, ok := values[r.ID()]
		return v, ok
	}
}

func secrets(pairs ...string) map[string]dsv.Secret {
	out := make(map[string]dsv.Secret)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = dsv.SecretOf([]byte(pairs[i+1]))
	}
	return out
}

// values reads a text as smart does: the last one of a name.
func values(t testing.TB, text []byte) map[string]string {
	t.Helper()
	all, faults := smart.read(text)
	if faults != nil {
		t.Fatalf("faults %+v in\n%s", faults, text)
	}
	out := make(map[string]string)
	for _, e := range all {
		if !e.alone {
			out[e.name] = string(e.value)
		}
	}
	return out
}

// Files of several frameworks, whole: marked, stored, kept as a template,
// rendered again. Where a .rendered file exists the bytes differ, but never a
// value; elsewhere they are those of the file.
func TestFrameworks(t *testing.T) {
	files, err := filepath.Glob("testdata/frameworks/*.env")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	exact := 0
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".env")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			marked, faults := parse(t, text).Mark(nil)
			if faults != nil {
				t.Fatal(faults)
			}
			plan, faults := parse(t, marked.Text).Template(marked.Values)
			if faults != nil || len(plan.Missing) > 0 || len(plan.Stores) != len(marked.Values) {
				t.Fatalf("%+v %+v", faults, plan.Missing)
			}
			golden(t, "frameworks/"+name+".template", plan.Template)
			left := new(bytes.Buffer)
			for _, l := range marked.Left {
				fmt.Fprintf(left, "%d %s %s\n", l.Line, l.Name, l.Detail)
			}
			fmt.Fprintf(left, "requoted %s\n", strings.Join(marked.Requoted, " "))
			golden(t, "frameworks/"+name+".left", left.Bytes())

			f := parse(t, plan.Template)
			for _, v := range marked.Values {
				if len(v.Reveal()) > 12 && bytes.Contains(plan.Template, v.Reveal()) {
					t.Error("the template holds a value")
				}
			}
			out := render(t, f, marked.Values, "smart")
			if len(marked.Requoted) == 0 {
				exact++
				if diff := cmp.Diff(string(text), string(out)); diff != "" {
					t.Errorf("not byte for byte: %s", diff)
				}
			} else {
				golden(t, "frameworks/"+name+".rendered", out)
			}
			if diff := cmp.Diff(values(t, text), values(t, out)); diff != "" {
				t.Errorf("another reading: %s", diff)
			}
		})
	}
	if exact < 4 {
		t.Errorf("only %d files came back byte for byte", exact)
	}
}

func writeFile(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
