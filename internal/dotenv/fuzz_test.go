package dotenv

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	composenv "github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/dsvault/dsv"
)

func addFiles(f *testing.F, add func(text []byte)) {
	files, err := filepath.Glob("testdata/*/*.*")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		add(text)
	}
	for _, s := range []string{"", "A", "A=", "A='", "export A=\"\\\"\" #", "A=enc('x')#", "A=\"x\r\ny\"", "A=${secret(X)}", "A=secret(X)secret(a/b:Y@3)$", "\ufeffA=`"} {
		add([]byte(s))
	}
}

// FuzzParse: total; what is accepted is kept; faults name lines that exist.
func FuzzParse(f *testing.F) {
	addFiles(f, func(text []byte) { f.Add(text) })
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		file, faults := Parse(text)
		if !bytes.Equal(before, text) {
			t.Fatal("the text was changed")
		}
		if (file == nil) != (len(faults) > 0) {
			t.Fatal("neither a file nor faults, or both")
		}
		last := 1
		for _, fault := range faults {
			if fault.Line < last || fault.Line > 1+bytes.Count(text, []byte{'\n'}) || fault.Detail == "" {
				t.Fatalf("%+v", fault)
			}
			last = fault.Line
		}
		if file == nil {
			return
		}
		for _, r := range file.References() {
			if r.Kind != Literal && (r.Line != 1+bytes.Count(text[:r.at.from], []byte{'\n'}) || text[r.at.to-1] != ')') {
				t.Fatalf("%+v", r)
			}
		}
		checkMark(t, file)
		if len(file.References()) > 0 {
			return
		}
		out, faults := Render(file, lookup(nil), Dialect{})
		if faults != nil || !bytes.Equal(out, text) {
			t.Fatalf("a file without references is not itself: %+v %q", faults, out)
		}
	})
}

// checkMark: mark, template, render gives the same reading, and the same bytes
// where nothing is named as requoted.
func checkMark(t *testing.T, file *File) {
	t.Helper()
	if len(file.References()) > 0 {
		return
	}
	m, faults := file.Mark(nil)
	if faults != nil {
		return
	}
	marked, faults := Parse(m.Text)
	if faults != nil {
		t.Fatalf("marked text has faults: %+v %q", faults, m.Text)
	}
	plan, faults := marked.Template(m.Values)
	if faults != nil || len(plan.Missing) > 0 || len(plan.Stores) != len(m.Values) {
		t.Fatalf("%+v %+v %q", faults, plan.Missing, m.Text)
	}
	template, faults := Parse(plan.Template)
	if faults != nil {
		t.Fatalf("template has faults: %+v %q", faults, plan.Template)
	}
	out, faults := Render(template, lookup(m.Values), Dialect{})
	if faults != nil {
		t.Fatalf("cannot be rendered: %+v %q", faults, plan.Template)
	}
	if bytes.Equal(out, file.Text()) != (len(m.Requoted) == 0) {
		t.Fatalf("requoted %v, %q became %q", m.Requoted, file.Text(), out)
	}
	was, is := values(t, file.Text()), values(t, out)
	if len(was) != len(is) {
		t.Fatalf("%q became %q", file.Text(), out)
	}
	for name, v := range was {
		if is[name] != v {
			t.Fatalf("%s: %q became %q", name, v, is[name])
		}
	}
}

// FuzzRender: a value is read as it is or refused, and nothing else changes.
func FuzzRender(f *testing.F) {
	addFiles(f, func(text []byte) {
		for i := range dialects {
			f.Add(text, []byte("it's $a `b` \"c\"\nd\\"), byte(i))
		}
		f.Add(text, []byte("p@ss"), byte(0))
	})
	f.Fuzz(func(t *testing.T, text, value []byte, which byte) {
		file, faults := Parse(text)
		if faults != nil {
			return
		}
		d := Dialect{dialects[int(which)%len(dialects)], "env"}
		out, faults := Render(file, func(Ref) (dsv.Secret, bool) { return dsv.SecretOf(value), true }, d)
		if faults != nil {
			if out != nil {
				t.Fatal("output beside faults")
			}
			return
		}
		if d.d.read == nil {
			return
		}
		checkUntouched(t, file, out)
		if d.d == compose && bytes.IndexByte(text, '$') < 0 {
			checkCompose(t, file, value, out)
		}
	})
}

// checkUntouched: cutting the values with references out of both leaves the same.
func checkUntouched(t *testing.T, file *File, out []byte) {
	t.Helper()
	text := file.Text()
	at, in := 0, 0
	for i := range file.items {
		it := &file.items[i]
		if len(it.refs) == 0 {
			continue
		}
		lit := text[at:it.outer.from]
		n := bytes.Index(out[in:], lit)
		if n < 0 || at == 0 && n != 0 {
			t.Fatalf("%q became %q", text, out)
		}
		in += n + len(lit)
		at = it.outer.to
	}
	if !bytes.HasSuffix(out[in:], text[at:]) {
		t.Fatalf("%q became %q", text, out)
	}
}

// checkCompose reads the output with compose-go.
func checkCompose(t *testing.T, file *File, value, out []byte) {
	t.Helper()
	got, err := composenv.UnmarshalBytesWithLookup(out, func(string) (string, bool) { return "EXPANDED", true })
	if err != nil {
		return // of a literal line; those are the user's
	}
	for i := range file.items {
		it := &file.items[i]
		if len(it.refs) == 0 || len(file.names[it.name]) > 1 {
			continue
		}
		with := make([][]byte, len(it.refs))
		for n := range with {
			with[n] = value
		}
		want := it.meant(file.text, with)
		if g, ok := got[it.name]; ok && g != string(want.value) {
			t.Fatalf("compose-go reads %q as %q in %q", want.value, g, out)
		}
	}
}
