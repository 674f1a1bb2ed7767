package dotenv

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

// One template, every dialect, every byte.
func TestRenderGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/render/template.env")
	if err != nil {
		t.Fatal(err)
	}
	f := parse(t, text)
	given := secrets("USER", "app", "PASSWORD", "p@ss w$rd", "ops/db:HOST", "db.internal", "TOKEN@3", "it's",
		"CERT@2026-01-31T00:00:00Z", "-----BEGIN\nAAA\n-----END\n", "EMPTY", "")
	for _, name := range Dialects() {
		d, err := ParseDialect(name)
		if err != nil {
			t.Fatal(err)
		}
		out, faults := Render(f, lookup(given), d)
		for _, fault := range faults {
			out = fmt.Appendf(out, "%d %s %s: %s\n", fault.Line, fault.Name, fault.Code, fault.Detail)
		}
		golden(t, "render/"+name+".txt", out)
	}
}

func TestRenderLine(t *testing.T) {
	for _, c := range []struct{ dialect, in, value, want string }{
		// in place, as long as it is read so
		{"smart", "A=x:secret(S)@h # c\n", "p@ss", "A=x:p@ss@h # c\n"},
		{"smart", "A=x:secret(S)@h # c\n", "p ss", "A='x:p ss@h' # c\n"},
		{"smart", "A=x:secret(S)@h # c\n", "it's", "A=\"x:it's@h\" # c\n"},
		{"smart", " export  A = \"secret(S)\"#c\r\n", "a\"b\n", " export  A = \"a\\\"b\\n\"#c\r\n"},
		{"smart", "A='secret(S)'\r\nB=1", "a\nb", "A='a\r\nb'\r\nB=1"},
		{"smart", "A='secret(S)'", "it's", "A=\"it's\""},
		{"smart", "A=\"secret(S)\"", "it's", "A=\"it's\""},
		{"smart", "A=secret(S)", "a\nb", "A=\"a\nb\""},
		{"smart", "A=secret(S)", "a\n\"b\"", "A='a\n\"b\"'"},
		{"smart", "A=secret(S)", "", "A="},
		{"smart", "A=secret(S) # c", "", "A='' # c"},
		{"smart", "A=secret(S)", "#x", "A='#x'"},
		{"smart", "A=secret(S)", "\"x\"", "A='\"x\"'"},
		{"smart", "A=secret(S)", "x\\", "A=\"x\\\\\""},
		{"smart", "export A=secret(S)\nB=secret(S)", "{a,b}", "export A='{a,b}'\nB={a,b}"},
		{"smart", "A=enc(\"old\") # c", "new one", "A='new one' # c"},
		{"smart", "A=x enc(S)", "v", "A=x v"},
		// expansions of the template stay what they are, those of a value never become one
		{"smart", "A=\"${U}:secret(S)@h\"", "p$w", "A=\"${U}:p\\$w@h\""},
		{"smart", "A=${U}:secret(S)@h", "p$w", "A=\"${U}:p\\$w@h\""},
		{"smart", "A=${U}:secret(S)@h", "pw", "A=${U}:pw@h"},
		{"compose", "A=${U}:secret(S)`@h", "p$w", "A=\"${U}:p\\$w`@h\""},
		{"sh", "A=${U}:secret(S)@h", "$(id)", "A=\"${U}:\\$(id)@h\""},
		{"sh", "A=\"secret(S)-$(hostname)\"", "`id`", "A=\"\\`id\\`-$(hostname)\""},
		{"sh", "A=secret(S)-`hostname`", "$x", "A=\"\\$x-`hostname`\""},
		{"docker", "A=${U}:secret(S)@h", "$(id)", "A=${U}:$(id)@h"},
		{"systemd", "A=${U}:secret(S)@h", "$(id)", "A=\"\\${U}:\\$(id)@h\""},
		// a dialect that reads the literal parts in another way gets the value anew
		{"sh", "A=\"a\\tb secret(S)\"", "v", "A='a\tb v'"},
		{"sh", "A=a b secret(S)", "v", "A='a b v'"},
		{"docker", "A=\"secret(S)\"", "a b", "A=a b"},
		{"docker", "A='x \"secret(S)\"'", "a b", "A=x \"a b\""},
		{"systemd", "A='secret(S)'", "it's", "A=\"it's\""},
		// what needs no value is not touched
		{"sh", "# secret(S)\nB=\"x\\ty\"\n\n  C=1  # d\nA=secret(S)", "v", "# secret(S)\nB=\"x\\ty\"\n\n  C=1  # d\nA=v"},
	} {
		out := render(t, parse(t, []byte(c.in)), secrets("S", c.value, "A", c.value), c.dialect)
		if diff := cmp.Diff(c.want, string(out)); diff != "" {
			t.Errorf("%s %q with %q: %s", c.dialect, c.in, c.value, diff)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for _, c := range []struct {
		dialect, in, value string
		want               []string
	}{
		{"smart", "A=secret(S)\nB=secret(S)secret(T)\nC=secret(U@3)", "v", []string{"2 T not_found", "3 U@3 not_found"}},
		{"smart", "B=1\nA=secret(S)\nC='secret(S)'", "a\x00b", []string{"2 A unprocessable", "3 C unprocessable"}},
		{"compose", "A=secret(S)", "\x00", []string{"1 A unprocessable"}},
		{"json", "A=secret(S)", "\xff", []string{"1 A unprocessable"}},
		{"yaml", "A=secret(S)", "\x00", []string{"1 A unprocessable"}},
		{"docker", "A=secret(S)", "a\nb", []string{"1 A unprocessable"}},
		{"docker", "A=secret(S)", "a\nB=1", []string{"1 A unprocessable"}},
		{"docker", "A=secret(S)", "a\r", []string{"1 A unprocessable"}},
		{"docker", "A=secret(S) # comment", "v", []string{"1 A unprocessable"}},
		{"docker", "export A=secret(S)", "v", []string{"1 A unprocessable"}},
		{"docker", "B=1\nexport C=1\nA=secret(S)", "v", []string{"2  unprocessable"}},
		{"docker", "A=secret(S)", strings.Repeat("x", 1<<16), []string{"1 A unprocessable"}},
		{"docker", "B='\nC=1'\nA=secret(S)", "v", []string{"3 A unprocessable"}},
		{"sh", "A.B=1\nA=secret(S)", "v", []string{"1  unprocessable"}},
		{"sh", "A.B=secret(S)", "v", []string{"1 A.B unprocessable"}},
		{"sh", "A = secret(S)", "v", []string{"1 A unprocessable"}},
		{"sh", "A=secret(S)\nB\n", "v", []string{"2  unprocessable"}},
		{"sh", "A=secret(S)\nB=rm -rf\nC=a;b\nD=\"x\"y z", "v", nil}, // D is no line of ours
		{"sh", "A=secret(S)\nB=rm -rf\nC=a;b", "v", []string{"2  unprocessable", "3  unprocessable"}},
		{"sh", "A=secret(S)\r\n", "v", []string{"1 A unprocessable"}},
		{"systemd", "export A=secret(S)", "v", []string{"1 A unprocessable"}},
		{"systemd", "A=secret(S) # comment", "v", []string{"1 A unprocessable"}},
		{"systemd", "a.b=1\nA=secret(S)", "v", []string{"1  unprocessable"}},
		{"k8s", "A[0]=secret(S)", "v", []string{"1 A[0] unprocessable"}},
	} {
		if c.want == nil {
			if _, faults := Parse([]byte(c.in)); faults == nil {
				t.Errorf("%q parses", c.in)
			}
			continue
		}
		d, err := ParseDialect(c.dialect)
		if err != nil {
			t.Fatal(err)
		}
		out, faults := Render(parse(t, []byte(c.in)), lookup(secrets("S", c.value)), d)
		var got []string
		for _, f := range faults {
			got = append(got, fmt.Sprint(f.Line, " ", f.Name, " ", f.Code))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %q: %s", c.dialect, c.in, diff)
		}
		if out != nil {
			t.Errorf("%s %q: output beside a fault", c.dialect, c.in)
		}
	}
}

func TestDocumentsKeepTheLast(t *testing.T) {
	f := parse(t, []byte("A=1\nB=\"x\\ny\"\nA=secret(S)\nC\n# c\n"))
	for dialect, want := range map[string]string{
		"json": "{\n  \"A\": \"v\",\n  \"B\": \"x\\ny\"\n}\n",
		"yaml": "A: \"v\"\nB: \"x\\ny\"\n",
		"k8s":  "apiVersion: v1\nkind: Secret\nmetadata:\n  name: env\ntype: Opaque\ndata:\n  A: \"dg==\"\n  B: \"eAp5\"\n",
	} {
		if diff := cmp.Diff(want, string(render(t, f, secrets("S", "v"), dialect))); diff != "" {
			t.Errorf("%s: %s", dialect, diff)
		}
	}
	empty := parse(t, []byte("# nothing\nA\n"))
	for dialect, want := range map[string]string{"json": "{\n}\n", "yaml": "{}\n"} {
		if got := string(render(t, empty, nil, dialect)); got != want {
			t.Errorf("%s of nothing: %q", dialect, got)
		}
	}
	if got := string(render(t, empty, nil, "k8s")); !strings.HasSuffix(got, "\ndata: {}\n") {
		t.Errorf("k8s of nothing: %q", got)
	}
	words := parse(t, []byte("y=1\nNo=2\n1.5=3\nnull=4\n-=5\nA.B=6\n"))
	want := "\"y\": \"1\"\n\"No\": \"2\"\n\"1.5\": \"3\"\n\"null\": \"4\"\n\"-\": \"5\"\n\"A.B\": \"6\"\n"
	if diff := cmp.Diff(want, string(render(t, words, nil, "yaml"))); diff != "" {
		t.Error(diff)
	}
}

func TestParseDialect(t *testing.T) {
	for _, name := range append(Dialects(), "k8s:my-app.secrets") {
		d, err := ParseDialect(name)
		if err != nil {
			t.Error(name, err)
		}
		if again, err := ParseDialect(d.String()); err != nil || again != d {
			t.Errorf("%s: %v, %v", name, again, err)
		}
	}
	for _, name := range []string{"", "Smart", "bash", "smart:x", "k8s:", "k8s:A", "k8s:a_b", "k8s:-a", "k8s:a..b", "k8s:" + strings.Repeat("a", 254)} {
		if _, err := ParseDialect(name); dsv.KindOf(err) != dsv.KindInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	if got := (Dialect{}).String(); got != "smart" {
		t.Error(got)
	}
}

// The machine of systemd's src/basic/env-file.c.
func TestReadSystemd(t *testing.T) {
	for in, want := range map[string]map[string]string{
		"A=1\nB=2":                     {"A": "1", "B": "2"},
		"# c\n; d\nA=1":                {"A": "1"},
		"# c \\\nA=1\nB=2":             {"B": "2"},
		"A= x y \n":                    {"A": "x y"},
		"A=x # no comment":             {"A": "x # no comment"},
		"A='x y' 'z'":                  {"A": "x yz"},
		"A='a\nb'\nB=1":                {"A": "a\nb", "B": "1"},
		"A=\"a\\\"b\\\\c\\$d\\`e\\n\"": {"A": "a\"b\\c$d`e\\n"},
		"A=\"a\\\nb\"":                 {"A": "ab"},
		"A=a\\\nb\\c":                  {"A": "abc"},
		"A=x'y'":                       {"A": "x'y'"},
		"A=\r\nB=1\r\n":                {"A": "", "B": "1"},
		"A\nB=1":                       {"B": "1"},
		"A=$B ${C}":                    {"A": "$B ${C}"},
		"A =1":                         {"A": "1"},
	} {
		got, faults := readSystemd([]byte(in))
		if faults != nil {
			t.Errorf("%q: %+v", in, faults)
		}
		read := make(map[string]string)
		for _, e := range got {
			if !e.alone {
				read[e.name] = string(e.value)
			}
		}
		if diff := cmp.Diff(want, read); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// A file to be sourced must not run or replace anything that was not in the
// template: whatever our reader takes for a plain value, a shell does too, and
// it refuses the rest.
func TestReadSh(t *testing.T) {
	for _, in := range []string{
		"A=1 B=2", "A=x y", "A=x;y", "A=x|y", "A=x&", "A=(x)", "A=<x", "A>x", "A", "A=\"x", "A='x", "A=x\\", "B.C=1", "1A=1", "=1", "A =1", "export A B",
		"x", "$A=1", "A='x'#y z", "A=x\\\n y", "export", "-A=1", "export 1A=1",
	} {
		if got, faults := readSh([]byte(in)); faults == nil {
			t.Errorf("%q is read as %+v", in, got)
		}
	}
	for in, want := range map[string]struct {
		value  string
		active int
	}{
		"A=x":                         {"x", 0},
		"  A=x # c":                   {"x", 0},
		"export A=x":                  {"x", 0},
		"A='it'\\''s'":                {"it's", 0},
		"A=\"a b\"'c d'e":             {"a bc de", 0},
		"A=a\\ b":                     {"a b", 0},
		"A=a\\\nb":                    {"ab", 0},
		"A=\"a\\\nb\\tc\\\"\\$\"":     {"ab\\tc\"$", 0},
		"A=$B\"$C\"'$D'":              {"$B$C$D", 2},
		"A=`x y`":                     {"`x y`", 1},
		"A=~":                         {"~", 1},
		"A=a:~/b":                     {"a:~/b", 1},
		"A=a~":                        {"a~", 0},
		"A='~'":                       {"~", 0},
		"export A=*":                  {"*", 1},
		"A=*":                         {"*", 0},
		"A=x#y":                       {"x#y", 0},
		"A=":                          {"", 0},
		"A=\"\" ":                     {"", 0},
		"A=1\nA='two\nlines' # c\n\n": {"two\nlines", 0},
	} {
		got, faults := readSh([]byte(in))
		if faults != nil || len(got) == 0 {
			t.Errorf("%q: %+v", in, faults)
			continue
		}
		last := got[len(got)-1]
		if string(last.value) != want.value || len(last.active) != want.active {
			t.Errorf("%q: %q, active %v", in, last.value, last.active)
		}
	}
}

// The last line of defence: an encoder that forgets to escape is found out by
// the reading, and nothing is written.
func TestReadingCatchesABrokenEncoder(t *testing.T) {
	for _, good := range []*dialect{smart, compose, sh} {
		broken := *good
		broken.escapes = `\"`
		broken.bare = func([]byte, bool) bool { return true }
		for _, value := range []string{"'$(id)", "'${X}", "'$X", "'\n\"x\nB=1 $Y"} {
			out, faults := Render(parse(t, []byte("A=\"secret(S)\"\n")), lookup(secrets("S", value)), Dialect{d: &broken})
			if faults == nil {
				t.Errorf("%s wrote %q for %q", good.name, out, value)
			}
		}
	}
}
