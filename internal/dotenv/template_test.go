package dotenv

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

func TestTemplate(t *testing.T) {
	type store struct {
		Key, Value string
		Line       int
		From       Source
	}
	for name, c := range map[string]struct {
		in     string
		values map[string]dsv.Secret
		stores []store
		out    string
	}{
		"given": {
			"A=\"x enc(N) y\" # c\n", secrets("N", "v"),
			[]store{{"N", "v", 1, FromValues}}, "A=\"x secret(N) y\" # c\n",
		},
		"assignment supplies": {
			"URL=db:enc(PW)@h\nexport PW = \"p@ss\" # c\n", nil,
			[]store{{"PW", "p@ss", 1, FromAssignment}}, "URL=db:secret(PW)@h\nexport PW = \"secret(PW)\" # c\n",
		},
		"values go before the assignment, which stays": {
			"URL=enc(PW)\nPW=old\n", secrets("PW", "new"),
			[]store{{"PW", "new", 1, FromValues}}, "URL=secret(PW)\nPW=old\n",
		},
		"literal": {
			"A=enc(\"a \\\"b\\\" # c\") # d\nB=enc('x')\nC=enc(A)", nil,
			[]store{{"A", `a "b" # c`, 1, FromLiteral}, {"B", "x", 2, FromLiteral}},
			"A=secret(A) # d\nB=secret(B)\nC=secret(A)",
		},
		"a comment at once": {
			"A=enc(\"x\")#c\nB=enc(C)\nC='a\\'#c\n", nil,
			[]store{{"A", "x", 1, FromLiteral}, {"C", `a\`, 2, FromAssignment}}, "A=\"secret(A)\"#c\nB=secret(C)\nC=\"secret(C)\"#c\n",
		},
		"literal below its use": {
			"C=enc(A)\nA=enc('x')\n", nil,
			[]store{{"A", "x", 2, FromLiteral}}, "C=secret(A)\nA=secret(A)\n",
		},
		"own name": {
			"A=enc(A)\n", secrets("A", "v"), []store{{"A", "v", 1, FromValues}}, "A=secret(A)\n",
		},
		"twice the same": {
			"X=enc(A)enc(A)\nA='v'\nA=v\n", nil,
			[]store{{"A", "v", 1, FromAssignment}}, "X=secret(A)secret(A)\nA='secret(A)'\nA=secret(A)\n",
		},
		"secrets stay": {
			"A=secret(o:B@3)\r\nB=enc(C)\r\nC=''\r\n", nil,
			[]store{{"C", "", 2, FromAssignment}}, "A=secret(o:B@3)\r\nB=secret(C)\r\nC='secret(C)'\r\n",
		},
		"nothing to do": {"A=1\n", nil, nil, "A=1\n"},
	} {
		plan, faults := parse(t, []byte(c.in)).Template(c.values)
		if faults != nil || len(plan.Missing) > 0 {
			t.Errorf("%s: %+v %+v", name, faults, plan.Missing)
			continue
		}
		var got []store
		for _, s := range plan.Stores {
			got = append(got, store{s.Key.String(), string(s.Value.Reveal()), s.Line, s.From})
		}
		if diff := cmp.Diff(c.stores, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(c.out, string(plan.Template)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTemplateMissing(t *testing.T) {
	f := parse(t, []byte("A=enc(X)enc(Y)\nB=enc(X)\nY=1\nX\nZ=enc(W)\nW=secret(V)\n"))
	plan, faults := f.Template(nil)
	if faults != nil || plan.Template != nil {
		t.Fatal(faults, plan.Template)
	}
	var got []string
	for _, r := range plan.Missing {
		got = append(got, fmt.Sprint(r.Line, r))
	}
	if diff := cmp.Diff([]string{"1 enc(X)", "5 enc(W)"}, got); diff != "" {
		t.Error(diff)
	}
	if len(plan.Stores) != 1 {
		t.Errorf("%+v", plan.Stores)
	}
}

func TestTemplateFaults(t *testing.T) {
	for in, want := range map[string][]string{
		"A=1\n":                                   {"0 GIVEN"},
		"GIVEN=enc('x')":                          {"1 GIVEN"},
		"A=enc('x')\nA=enc('y')\nB=enc(GIVEN)":    {"2 A"},
		"X=enc(A)enc(GIVEN)\nA=1\nA=2":            {"3 A"},
		"X=enc(A)enc(GIVEN)\nA=${HOME}/x":         {"2 A"},
		"X=enc(A)enc(GIVEN)\nA=\"$(id)\"":         {"2 A"},
		"X=enc(A)enc(GIVEN)\nA=`id`":              {"2 A"},
		"X=enc(A)enc(GIVEN)\nA=$b\nb=1":           {"2 A"},
		"X=enc(A)enc(GIVEN)\nA=$PATH":             {"2 A"},
		"X=enc(A)enc(GIVEN)\nA='${HOME}'":         nil,
		"X=enc(A)enc(GIVEN)\nA=\"\\${HOME}\"":     nil,
		"X=enc(A)enc(GIVEN)\nA=$2y$10$N9qo8uLOic": nil,
		"X=enc(A)enc(GIVEN)\nA=pa$$w0rd`!":        nil,
		"X=enc(A)enc(B)\nA=${X}\nB=`x`":           {"0 GIVEN", "2 A", "3 B"},
	} {
		plan, faults := parse(t, []byte(in)).Template(secrets("GIVEN", "v"))
		var got []string
		for _, f := range faults {
			got = append(got, fmt.Sprint(f.Line, " ", f.Name))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
		if faults != nil && plan.Stores != nil {
			t.Errorf("%q: a plan beside faults", in)
		}
	}
}

func TestMark(t *testing.T) {
	in := "A=1\nB=\"x y\"\nC=secret(K)\nD\nE=\n.F=1\nG=$A\nH=h\n"
	m, faults := parse(t, []byte(in)).Mark(func(name string) bool { return name != "H" })
	if faults != nil {
		t.Fatal(faults)
	}
	if diff := cmp.Diff("A=enc(A)\nB=\"enc(B)\"\nC=secret(K)\nD\nE=\n.F=1\nG=$A\nH=h\n", string(m.Text)); diff != "" {
		t.Error(diff)
	}
	if len(m.Values) != 2 || string(m.Values["B"].Reveal()) != "x y" {
		t.Error(len(m.Values))
	}
	var left []string
	for _, l := range m.Left {
		left = append(left, fmt.Sprint(l.Line, l.Name))
	}
	if diff := cmp.Diff([]string{"5E", "6.F", "7G"}, left); diff != "" {
		t.Error(diff)
	}
	if _, faults := parse(t, []byte("A=1\nB=2\nA=2\nB='2'\n")).Mark(nil); len(faults) != 1 || faults[0].Line != 3 {
		t.Errorf("two values: %+v", faults)
	}
}

// Values as people write them come back byte for byte; the others are named,
// and read the same.
func TestRoundTrip(t *testing.T) {
	for value, exact := range map[string]bool{
		"1": true, "p@ss": true, "a-b_c.d": true, "http://h:80/p?q=1": true, "base64:3mJ0==": true, "*": true, "grüße": true, "[::1]": true,
		`"p@ss"`: true, `""`: true, `''`: true, `'p@ss'`: true, `'it"s'`: true, `"it's"`: true, `" x "`: true, `'#'`: true,
		`"a\nb"`: true, `"a\nb\n"`: true, `"\\"`: true, `"C:\\new"`: true, `"say \"hi\""`: true, `"\$HOME"`: true, "\"\\`x\\`\"": true, `"a\r\nb"`: true,
		`'$HOME'`: true, "'`x`'": true, `'\n'`: true, "\"a\tb\"": true,
		"\"a\nb\"": true, "'a\nb'": true, "\"-----BEGIN\nAAA=\n-----END\n\"": true, "'a\nb\"c'": true,
		"a b": false, "a&b": false, "a#b": false, "a$b": false, `a\b`: false, `it's`: false, "(x)": false, `"C:\dir"`: false, `"a\tb"`: false,
		"'a\\'": false, "\"a\n\\\"b\\\"\"": false, `"a$b"`: false,
	} {
		for _, shape := range []string{"A=%s", "export A=%s\n", "X=1\nA = %s # comment\nB=2\n", "\r\nA=%s\r\n"} {
			in := []byte(fmt.Sprintf(shape, value))
			if bytes.Contains(in, []byte("\r\n")) {
				in = bytes.ReplaceAll(bytes.ReplaceAll(in, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
			}
			if shape[0] == 'e' && (value == "*" || value == "http://h:80/p?q=1" || value == "[::1]") {
				continue // behind export a shell may expand these
			}
			m, faults := parse(t, in).Mark(func(name string) bool { return name == "A" && value != `""` && value != `''` })
			if faults != nil || len(m.Left) > 0 && value != `""` && value != `''` {
				t.Errorf("%q: %+v %+v", in, faults, m.Left)
				continue
			}
			plan, faults := parse(t, m.Text).Template(m.Values)
			if faults != nil {
				t.Errorf("%q: %+v", in, faults)
				continue
			}
			out := render(t, parse(t, plan.Template), m.Values, "smart")
			if exact != bytes.Equal(in, out) || exact != (len(m.Requoted) == 0) {
				t.Errorf("%q: exact %v, requoted %v, became %q", in, bytes.Equal(in, out), m.Requoted, out)
			}
			if diff := cmp.Diff(values(t, in), values(t, out)); diff != "" {
				t.Errorf("%q: %s", in, diff)
			}
		}
	}
}
