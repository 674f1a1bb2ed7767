package dotenv

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dsvault/dsv"
)

// Any file made of such lines, any values: whatever smart and sh write is read
// by a shell or by smart as it was meant; see compare in readers_test.go for
// the real readers.
func TestAnyFileComesBack(t *testing.T) {
	value := rapid.StringOfN(rapid.SampledFrom([]rune("ab1 \t'\"\\$`{}()#=&;~!\n\r@:/é")), 0, 12, -1)
	quoted := rapid.Custom(func(t *rapid.T) string {
		v := value.Draw(t, "value")
		switch rapid.IntRange(0, 2).Draw(t, "quote") {
		case 0:
			return "'" + strings.ReplaceAll(v, "'", "") + "'"
		case 1:
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
		}
		return strings.Trim(strings.NewReplacer("\n", "", "\r", "", " #", "", "\t#", "").Replace(v), " \t'\"#")
	})
	line := rapid.Custom(func(t *rapid.T) string {
		name := rapid.StringMatching(`[A-Z]{1,3}[0-9]{3}`).Draw(t, "name")
		indent := rapid.SampledFrom([]string{"", "  ", "export ", "\texport\t"}).Draw(t, "indent")
		equals := rapid.SampledFrom([]string{"=", " = "}).Draw(t, "equals")
		tail := rapid.SampledFrom([]string{"", "  ", " # c", "\t# it's \"c\""}).Draw(t, "tail")
		return indent + name + equals + quoted.Draw(t, "quoted") + tail
	})
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(line, 0, 5).Draw(rt, "lines")
		end := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(rt, "end")
		text := []byte(strings.Join(lines, end) + rapid.SampledFrom([]string{"", end}).Draw(rt, "last"))
		f, faults := Parse(text)
		if faults != nil {
			return
		}
		checkMark(t, f)
	})
}

func TestAnyValueIsWrittenOrRefused(t *testing.T) {
	value := rapid.StringOfN(rapid.SampledFrom([]rune("ab1 \t'\"\\$`{}()#=&;~!\n\r@:/é")), 0, 12, -1)
	shape := rapid.SampledFrom([]string{
		"A=secret(S)", "A=\"secret(S)\" # c\n", "A='secret(S)'", "A=x-secret(S)-secret(S)", "A=\"x\\\\secret(S)\"", "A=\"${B} secret(S)\"", "A=\\secret(S)", "export A=b secret(S)\r\n",
	})
	rapid.Check(t, func(rt *rapid.T) {
		f := parse(t, []byte(shape.Draw(rt, "shape")))
		v := []byte(value.Draw(rt, "value"))
		for _, d := range dialects {
			out, faults := Render(f, func(Ref) (dsv.Secret, bool) { return dsv.SecretOf(v), true }, Dialect{d, "env"})
			if faults != nil {
				if d == smart {
					rt.Fatalf("smart refuses %q in %q: %+v", v, f.Text(), faults)
				}
				continue
			}
			if d == smart || d == compose {
				with := [][]byte{v, v}[:len(f.items[0].refs)]
				if want, got := string(f.items[0].meant(f.text, with).value), values(t, out)["A"]; got != want && d == smart {
					rt.Fatalf("%q in %q is read as %q from %q", v, f.Text(), got, out)
				}
			}
		}
	})
}
