package dotenv

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	composenv "github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/google/go-cmp/cmp"
	"github.com/joho/godotenv"
	"go.yaml.in/yaml/v3"

	"github.com/dsvault/dsv"
)

// everywhere are values that every reader gets right under smart.
var everywhere = []string{
	"plain", "with spaces", "", " lead and trail ", "a#b", "a # b", "#", "'", "it's", `say "hi"`, `back\slash`, `C:\new\dir`, `\n`,
	"a=b==", "!", "100%", ";&|<>()", "*?[a]{b,c}", "~/x", "grüße-東京", "a: b", "- x", "@x", "{}", "null", "0755", "a,b", "-x", "export A=1", "\ttab",
}

// anywhere are values that some reader cannot get from any quoting.
var anywhere = []string{
	"$HOME", "${HOME}", "pa$$word", "a$", "$(echo pwned)", "`echo pwned`", "`", "$2y$10$N9qo8uLOick", `\$HOME`, "${X:-def}", "$'x'", `"$"`,
	"a\nb", "a\n", "\n", "-----BEGIN X-----\nAA==\n-----END X-----\n", "a\r\nb", "\r", "trailing\\", `'"`, "'\"`", "\"`$'\\", "a'\nb\"c\\", "x'\\",
	"A=1\nB=2", "x\nV0=pwned", "'; echo pwned; '", "\"; echo pwned; \"", "secret(A)", "enc(\"x\")", "\x01\x7f", "\u00a0x\u00a0", "\u2028", "\ufeffx",
	strings.Repeat("long ", 5000),
}

// outside UTF-8
var binary = []string{"\xff\xfe", "a\x80'b"}

// contexts are the places a reference may stand in: %s is the name of the line
// and of the secret; want is the value there.
var contexts = []struct{ line, want string }{
	{"%[1]s=secret(%[1]s)", "%s"},
	{"%[1]s=\"secret(%[1]s)\"", "%s"},
	{"%[1]s='secret(%[1]s)'", "%s"},
	{"%[1]s=pre-secret(%[1]s)-post", "pre-%s-post"},
	{"%[1]s=\"pre 'x' secret(%[1]s) post\"", "pre 'x' %s post"},
	{"%[1]s='pre \"x\" $ secret(%[1]s) post'", "pre \"x\" $ %s post"},
	{"%[1]s=secret(%[1]s)secret(%[1]s)", "%[1]s%[1]s"},
}

// A rendering is one file with one line for every value and context.
type rendering struct {
	text    []byte
	want    map[string]string // name -> value
	refused map[string]string // name -> value
}

// renderAll renders all values in all contexts; refused lines are left out.
func renderAll(t *testing.T, dialect string, values []string, shapes []struct{ line, want string }) rendering {
	t.Helper()
	d, err := ParseDialect(dialect)
	if err != nil {
		t.Fatal(err)
	}
	out := rendering{want: make(map[string]string), refused: make(map[string]string)}
	var text bytes.Buffer
	text.WriteString("# a file\n\n")
	given := make(map[string]dsv.Secret)
	for i, shape := range shapes {
		for j, v := range values {
			name := fmt.Sprintf("V%d_%d", i, j)
			line := fmt.Appendf(nil, shape.line+"\n", name)
			given[name] = dsv.SecretOf([]byte(v))
			want := fmt.Sprintf(shape.want, v)
			if _, faults := Render(parse(t, line), lookup(given), d); faults != nil {
				out.refused[name] = want
				for _, f := range faults {
					if f.Code != dsv.CodeUnprocessable || f.Name != name || v != "" && len(v) > 3 && strings.Contains(f.Detail, v) {
						t.Errorf("%s %q: %+v", dialect, v, f)
					}
				}
				continue
			}
			out.want[name] = want
			text.Write(line)
		}
	}
	f := parse(t, text.Bytes())
	var faults []dsv.Fault
	if out.text, faults = Render(f, lookup(given), d); faults != nil {
		t.Fatalf("%s: lines that render alone do not together: %+v", dialect, faults)
	}
	return out
}

func readCompose(t *testing.T, text []byte) map[string]string {
	t.Helper()
	out, err := composenv.UnmarshalBytesWithLookup(text, func(string) (string, bool) { return "EXPANDED", true })
	if err != nil {
		t.Fatalf("compose-go: %v", err)
	}
	return out
}

func readNode(t *testing.T, text []byte) map[string]string {
	t.Helper()
	cmd := exec.Command("node", "-e", `process.stdout.write(JSON.stringify(require("util").parseEnv(require("fs").readFileSync(0,"utf8"))))`)
	cmd.Stdin = bytes.NewReader(text)
	raw, err := cmd.Output()
	if err != nil {
		t.Skip("no node with util.parseEnv here")
	}
	out := make(map[string]string)
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// readShell sources text and prints the variables of those names.
func readShell(t *testing.T, shell string, text []byte, names map[string]string) map[string]string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Skip("no " + shell + " here")
	}
	file := t.TempDir() + "/env"
	writeFile(t, file, text)
	var script strings.Builder
	script.WriteString("set -a\n. " + file + "\n")
	for name := range names {
		script.WriteString("printf '%s\\0%s\\0' " + name + " \"$" + name + "\"\n")
	}
	cmd := exec.Command(path, "-s")
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Env = []string{"HOME=/EXPANDED"}
	raw, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v", shell, err)
	}
	fields := strings.Split(string(raw), "\x00")
	out := make(map[string]string)
	for i := 0; i+1 < len(fields); i += 2 {
		out[fields[i]] = fields[i+1]
	}
	return out
}

func concat(lists ...[]string) (out []string) {
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// compare counts the values that a reader gets wrong.
func compare(t *testing.T, who string, want, got map[string]string) {
	t.Helper()
	for name, w := range want {
		if g, ok := got[name]; !ok || g != w {
			t.Errorf("%s reads %q as %q (%v)", who, w, g, ok)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s reads a name %q of its own", who, name)
		}
	}
}

// Smart in bare context: the values of everywhere, with every reader there is.
func TestSmartIsReadEverywhere(t *testing.T) {
	bare := contexts[:1]
	r := renderAll(t, "smart", everywhere, bare)
	if len(r.refused) > 0 {
		t.Errorf("refused: %q", r.refused)
	}
	t.Run("compose-go", func(t *testing.T) { compare(t, "compose-go", r.want, readCompose(t, r.text)) })
	t.Run("node", func(t *testing.T) { compare(t, "node", r.want, readNode(t, r.text)) })
	t.Run("dash", func(t *testing.T) { compare(t, "dash", r.want, readShell(t, "dash", r.text, r.want)) })
	t.Run("bash", func(t *testing.T) { compare(t, "bash", r.want, readShell(t, "bash", r.text, r.want)) })
	t.Run("godotenv", func(t *testing.T) {
		got, err := godotenv.UnmarshalBytes(r.text)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "godotenv", r.want, got)
	})
}

// Smart and a shell agree but for line ends in double quotes.
func TestSmartIsSafeToSource(t *testing.T) {
	var oneLine []string
	for _, v := range concat(everywhere, anywhere, binary) {
		if !strings.ContainsAny(v, "\r\n") {
			oneLine = append(oneLine, v)
		}
	}
	r := renderAll(t, "smart", oneLine, contexts)
	for _, shell := range []string{"dash", "bash"} {
		t.Run(shell, func(t *testing.T) { compare(t, shell, r.want, readShell(t, shell, r.text, r.want)) })
	}
}

func TestShRendering(t *testing.T) {
	r := renderAll(t, "sh", concat(everywhere, anywhere, binary), contexts)
	if len(r.refused) > 0 {
		t.Errorf("refused: %q", r.refused)
	}
	for _, shell := range []string{"dash", "bash"} {
		t.Run(shell, func(t *testing.T) { compare(t, shell, r.want, readShell(t, shell, r.text, r.want)) })
	}
	exported := []struct{ line, want string }{{"export %[1]s=secret(%[1]s)", "%s"}, {"export %[1]s=\"secret(%[1]s)\" # c", "%s"}}
	r = renderAll(t, "sh", concat(everywhere, anywhere), exported)
	t.Run("export", func(t *testing.T) { compare(t, "bash", r.want, readShell(t, "bash", r.text, r.want)) })
	t.Run("export dash", func(t *testing.T) { compare(t, "dash", r.want, readShell(t, "dash", r.text, r.want)) })
}

func TestComposeRendering(t *testing.T) {
	r := renderAll(t, "compose", concat(everywhere, anywhere), contexts)
	compare(t, "compose-go", r.want, readCompose(t, r.text))
	if len(r.refused) > 0 {
		t.Errorf("refused: %q", r.refused)
	}
}

func TestDockerRendering(t *testing.T) {
	r := renderAll(t, "docker", concat(everywhere, anywhere, binary), contexts)
	got, faults := readDocker(r.text)
	if faults != nil {
		t.Fatal(faults)
	}
	read := make(map[string]string)
	for _, e := range got {
		read[e.name] = string(e.value)
	}
	compare(t, "docker", r.want, read)
	for _, v := range r.refused {
		if !strings.ContainsAny(v, "\r\n") && utf8.ValidString(v) {
			t.Errorf("refused %q", v)
		}
	}
}

func TestSystemdRendering(t *testing.T) {
	r := renderAll(t, "systemd", concat(everywhere, anywhere), contexts)
	if len(r.refused) > 0 {
		t.Errorf("refused: %q", r.refused)
	}
	if r := renderAll(t, "systemd", binary, contexts); len(r.want) > 0 {
		t.Errorf("written although not UTF-8: %q", r.want)
	}
}

func TestDocuments(t *testing.T) {
	all := concat(everywhere, anywhere)
	t.Run("json", func(t *testing.T) {
		r := renderAll(t, "json", all, contexts)
		var got map[string]string
		if err := json.Unmarshal(r.text, &got); err != nil {
			t.Fatal(err)
		}
		compare(t, "encoding/json", r.want, got)
		if len(r.refused) > 0 {
			t.Errorf("refused: %q", r.refused)
		}
	})
	t.Run("yaml", func(t *testing.T) {
		r := renderAll(t, "yaml", all, contexts)
		var got map[string]string
		if err := yaml.Unmarshal(r.text, &got); err != nil {
			t.Fatal(err)
		}
		compare(t, "yaml", r.want, got)
	})
	t.Run("k8s", func(t *testing.T) {
		r := renderAll(t, "k8s:app-secrets", concat(all, binary, []string{"\x00"}), contexts)
		var got struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string
			Metadata   struct{ Name string }
			Type       string
			Data       map[string]string
		}
		if err := yaml.Unmarshal(r.text, &got); err != nil {
			t.Fatal(err)
		}
		if got.APIVersion != "v1" || got.Kind != "Secret" || got.Metadata.Name != "app-secrets" || got.Type != "Opaque" {
			t.Errorf("%+v", got)
		}
		for k, v := range got.Data {
			b, err := base64.StdEncoding.DecodeString(v)
			if err != nil {
				t.Fatal(err)
			}
			got.Data[k] = string(b)
		}
		compare(t, "k8s", r.want, got.Data)
		if len(r.refused) > 0 {
			t.Errorf("refused: %q", r.refused)
		}
	})
}

// Our reading beside that of compose-go and godotenv, on lines without $.
func TestReadingAgrees(t *testing.T) {
	for _, in := range []string{
		"A=1", "export A=1", "A=", "A=foo # bar", "A=\"foo # bar\" # baz", "A='a#b'", "A=\"a\\nb\"", "A=1\nA=2", "A=a   ", "A=a=b", "a=x", "A = 1",
		"A=foo#bar", "A=#foo", "A='a\\nb'", "A=\"a\nb\"\nB=2", "A='a\nb'\nB=2", "A='a\"b'", "A=\"a\\\"b\"", "A=C:\\new\\dir", "A=1\r\nB=\"2\"\r\n",
		"  A=  foo", "A={\"a\": \"b\"}", "A=http://h/#frag", "A=\"a\\\\b\"", "A=foo\"bar\"", "A='x' # c\n# d\nB=1", "A=''\nB=\"\"",
		"A=grüße", "# c\n\nA=1", "A.B=1", "1A=1", "\n\n  A=1\n\n",
	} {
		want := values(t, []byte(in))
		if diff := cmp.Diff(want, readCompose(t, []byte(in))); diff != "" {
			t.Errorf("compose-go %q: %s", in, diff)
		}
		got, err := godotenv.UnmarshalBytes([]byte(in))
		if err != nil {
			t.Errorf("godotenv %q: %v", in, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("godotenv %q: %s", in, diff)
		}
	}
}

// Where the readings differ, on purpose: see the table in the package comment.
func TestReadingDiffers(t *testing.T) {
	for in, want := range map[string]struct{ ours, compose, godotenv string }{
		"A=\"a\\tb\"":    {"a\tb", "a\tb", "atb"},
		"A= # comment":   {"", "# comment", "# comment"},
		"A='it\\'":       {"it\\", "(error)", "(error)"},
		"A=\"a\\\\\"":    {"a\\", "a\\", "(error)"},
		"A=x$Y":          {"x$Y", "xEXPANDED", "x"},
		"A=pa$$word":     {"pa$$word", "pa$word", "pa$$word"},
		"A=\"x\\$Y\"":    {"x$Y", "x$Y", "x$Y"},
		"A=\"q\\`x\\`\"": {"q`x`", "q\\`x\\`", "q`x`"},
		"A=\"a\r\nb\"":   {"a\nb", "a\r\nb", "a\nb"},
		"A=foo\t# c":     {"foo", "foo\t# c", "foo"},
	} {
		got := want
		got.ours = values(t, []byte(in))["A"]
		if out, err := composenv.UnmarshalBytesWithLookup([]byte(in), func(string) (string, bool) { return "EXPANDED", true }); err != nil {
			got.compose = "(error)"
		} else {
			got.compose = out["A"]
		}
		if out, err := godotenv.UnmarshalBytes([]byte(in)); err != nil {
			got.godotenv = "(error)"
		} else {
			got.godotenv = out["A"]
		}
		if got != want {
			t.Errorf("%q: %+v, not %+v", in, got, want)
		}
	}
}
