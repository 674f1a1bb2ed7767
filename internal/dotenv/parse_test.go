package dotenv

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

// What smart reads, line by line.
func TestReading(t *testing.T) {
	for in, want := range map[string]map[string]string{
		"A=1":                                  {"A": "1"},
		"A=1\n":                                {"A": "1"},
		"A=1\r\nB=\"2\"\r\n":                   {"A": "1", "B": "2"},
		"A=1\r":                                {"A": "1"},
		"\ufeffA=1\n":                          {"A": "1"},
		"  A =  foo  \n":                       {"A": "foo"},
		"\texport\tA=1\n":                      {"A": "1"},
		"export=1\nexport =2\n":                {"export": "2"},
		"exported=1":                           {"exported": "1"},
		"A=\nB=2":                              {"A": "", "B": "2"},
		"A=   \nB=2":                           {"A": "", "B": "2"},
		"A= # empty":                           {"A": ""},
		"A=#foo":                               {"A": "#foo"},
		"A=foo # bar":                          {"A": "foo"},
		"A=foo\t# bar":                         {"A": "foo"},
		"A=foo#bar":                            {"A": "foo#bar"},
		"A=a b  c":                             {"A": "a b  c"},
		"A=a=b==":                              {"A": "a=b=="},
		"A=foo\"bar\"":                         {"A": "foo\"bar\""},
		"A=C:\\new\\dir":                       {"A": `C:\new\dir`},
		"A=`x y`":                              {"A": "`x y`"},
		"A='a#b' # c":                          {"A": "a#b"},
		"A='a\\nb'":                            {"A": `a\nb`},
		"A='a\\'":                              {"A": `a\`},
		"A='a\nb'\nB=2":                        {"A": "a\nb", "B": "2"},
		"A=\"a\r\nb\"\r\nB=2":                  {"A": "a\nb", "B": "2"},
		"A='a\r\nb'\r\nB=2":                    {"A": "a\nb", "B": "2"},
		"A=\"a\\nb\\rc\\td\\\\e\\\"f\\$g\\`h":  nil,
		"A=\"a\\nb\\rc\\td\\\\e\\\"f\\$g\\`\"": {"A": "a\nb\rc\td\\e\"f$g`"},
		"A=\"a\\qb\\\nc\"":                     {"A": "a\\qb\\\nc"},
		"A=\"foo # bar\"#baz":                  {"A": "foo # bar"},
		"A=1\nA=2":                             {"A": "2"},
		"A\nB=1":                               {"B": "1"},
		"export A # c\nB=1":                    {"B": "1"},
		"1A=1\na.b-c[0]=2":                     {"1A": "1", "a.b-c[0]": "2"},
		"A=$B ${C} $(d) `e`":                   {"A": "$B ${C} $(d) `e`"},
		"A=grüße-東京":                           {"A": "grüße-東京"},
		"A=\xff\xfe":                           {"A": "\xff\xfe"},
		"# only\n\n  # comments\n":             {},
		"":                                     {},
	} {
		f, faults := Parse([]byte(in))
		if want == nil {
			if faults == nil {
				t.Errorf("%q is accepted", in)
			}
			continue
		}
		if faults != nil {
			t.Errorf("%q: %+v", in, faults)
			continue
		}
		if diff := cmp.Diff(want, values(t, f.Text())); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// Every fault of a file at once, by line, and nothing of its values in them.
func TestFaults(t *testing.T) {
	text := strings.Join([]string{
		`OK=1`,
		`A: 1`,
		`=1`,
		`not a line`,
		`B="never closed hunter2`,
		`C='x' hunter2`,
		`D="one`,
		`two" hunter2`,
		`E=secret()`,
		`F=secret(.hidden)`,
		`G=secret(a//b:K)`,
		`H=secret(K@0) secret(K@1x) secret(K@2026-01-31)`,
		`I=secret(K@2026-01-31T00:00:00.1234567Z)`,
		`J="secret(K"`,
		`K=enc(ns:K)`,
		`L=enc(K@3)`,
		`M=xenc("hunter2")`,
		`N=x enc("hunter2")`,
		`P=enc("hunter2") hunter2`,
		`.Q=enc("hunter2")`,
		`R="${secret(K)}"`,
		`S=$(curl secret(K))`,
		"T=`secret(K)`",
		`U=$secret(K)`,
		`U="$(echo ')' secret(K)"`,
		`U="${A:-'}'} secret(K)"`,
		`U="${A:-$(x})} secret(K)"`,
		`U=$[1]secret(K)`,
		"U=`x`secret(K)",
		`V='$(secret(K)) ${secret(K)}'`,
		`W=enc("hunter2"`,
		`hunter2`,
		`hunter2 x`,
		`hunter2: x`,
		`ÄX=1`,
		`O=enc("hunter2`,
		`LAST='1`,
	}, "\n")
	f, faults := Parse([]byte(text))
	if f != nil {
		t.Error("a file with faults")
	}
	var out bytes.Buffer
	last := 0
	for _, fault := range faults {
		fmt.Fprintf(&out, "%d %s: %s\n", fault.Line, fault.Name, fault.Detail)
		if fault.Code != dsv.CodeInvalid || fault.Line < last {
			t.Errorf("%+v", fault)
		}
		last = fault.Line
	}
	if bytes.Contains(out.Bytes(), []byte("hunter2")) {
		t.Error("a value in a fault")
	}
	golden(t, "faults.txt", out.Bytes())
	if _, faults := Parse([]byte("A=1\nB=\x00\n")); len(faults) != 1 || faults[0].Line != 2 {
		t.Errorf("NUL: %+v", faults)
	}
}

func TestReferences(t *testing.T) {
	text := strings.Join([]string{
		`A=secret(NAME)`,
		`B="x secret(ns/sub:NAME@3) y secret(N.a-m_e@2026-01-31T02:00:00+02:00)"`,
		`C='`,
		`secret(LAST) secret(o:k@2026-01-31T00:00:00.000001Z)'`,
		`D=enc(NEW)# still the value`,
		`E=enc("lit # \"eral\"") # comment`,
		`F=mysecret(NAME) _enc(NAME) 3secret(x) "secret`,
		`G=-enc(A)`,
		`# secret(IN_A_COMMENT)`,
		`H=1 # secret(IN_A_COMMENT)`,
	}, "\n")
	type row struct {
		Kind    Kind
		Line    int
		ID      string
		Version uint64
		At      time.Time
	}
	midnight := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	want := []row{
		{Secret, 1, "NAME", 0, time.Time{}},
		{Secret, 2, "ns/sub:NAME@3", 3, time.Time{}},
		{Secret, 2, "N.a-m_e@2026-01-31T00:00:00Z", 0, midnight},
		{Secret, 4, "LAST", 0, time.Time{}},
		{Secret, 4, "o:k@2026-01-31T00:00:00.000001Z", 0, midnight.Add(time.Microsecond)},
		{Enc, 5, "NEW", 0, time.Time{}},
		{Literal, 6, "E", 0, time.Time{}},
		{Enc, 8, "A", 0, time.Time{}},
	}
	var got []row
	for _, r := range parse(t, []byte(text)).References() {
		got = append(got, row{r.Kind, r.Line, r.ID(), r.Version, r.At})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAssignments(t *testing.T) {
	f := parse(t, []byte("A=1\n\nexport B=\"secret(X)\"\nC\nD='\n'\nE=enc('x')\n"))
	want := []Assignment{
		{Name: "A", Line: 1, Plain: true},
		{Name: "B", Line: 3, Export: true},
		{Name: "C", Line: 4, Alone: true},
		{Name: "D", Line: 5, Plain: true},
		{Name: "E", Line: 7},
	}
	if diff := cmp.Diff(want, f.Assignments()); diff != "" {
		t.Error(diff)
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
	}{{"A=secret(X)\n", MaxSecret}, {"A=enc(X)\n", MaxEnc}, {"A=enc('x')\n", MaxEnc}} {
		if err := parse(t, []byte(strings.Repeat(c.text, c.n))).CheckLimits(); err != nil {
			t.Errorf("%d times %q: %v", c.n, c.text, err)
		}
		err := parse(t, []byte(strings.Repeat(c.text, c.n+1))).CheckLimits()
		if e, ok := errors.AsType[*dsv.Error](err); !ok || e.Kind != dsv.KindTooLarge {
			t.Errorf("%d times %q: %v", c.n+1, c.text, err)
		}
	}
}
