package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents are what a user reads, with their text.
func documents(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, f := range slices.Concat(files, more, []string{"../README.md", "README.md", "../docker-compose.yml"}) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		docs[f] = string(b)
	}
	return docs
}

// TestDocumentedCommands: every command that the documents show is known to
// its binary, with every flag.
func TestDocumentedCommands(t *testing.T) {
	shown := regexp.MustCompile("(?m)(?:^[^|`\\n]*\\| *|^#? *|`)(?:bin/)?(dsv(?:ctl|node) [a-z][^`\\n#|>]*)")
	found := 0
	for file, text := range documents(t) {
		for _, m := range shown.FindAllStringSubmatch(text, -1) {
			found++
			checkKnown(t, file, strings.Fields(m[1]))
		}
	}
	if found < 8 {
		t.Errorf("only %d commands found: the test looks in the wrong places", found)
	}
}

// TestDocumentedVariables: every DSV_ variable in the documents is read
// somewhere.
func TestDocumentedVariables(t *testing.T) {
	source := readSource(t)
	for file, text := range documents(t) {
		for _, v := range regexp.MustCompile(`\bDSV_[A-Z_]+[A-Z]\b`).FindAllString(text, -1) {
			if !strings.Contains(source, `"`+v+`"`) {
				t.Errorf("%s: nothing reads %s", file, v)
			}
		}
	}
}

// TestDocumentedTargetsAndLinks: `make X` is a target, and a relative link
// leads to a file.
func TestDocumentedTargetsAndLinks(t *testing.T) {
	mk, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range documents(t) {
		for _, m := range regexp.MustCompile("(?m)(?:^#? *|`)make ([a-z][a-z-]*)").FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(mk), "\n"+m[1]+":") {
				t.Errorf("%s: the Makefile has no target %s", file, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", file, m[1])
			}
		}
	}
}

// readSource is all Go code of the module, tests apart, and theirs too.
func readSource(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip("..", p, d.Name())
		}
		if strings.HasSuffix(p, ".go") && filepath.Base(p) != "docs_test.go" {
			b, err := os.ReadFile(p)
			all.Write(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

var (
	usageLine = regexp.MustCompile(`(?m)^Usage:\n\s+(.+)$`)
	word      = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// checkKnown holds a command line, as someone shows or uses it, to what the
// command itself says under --help.
func checkKnown(t *testing.T, who string, line []string) {
	t.Helper()
	for _, fault := range unknown(t, line) {
		t.Errorf("%s: %q: %s", who, strings.Join(line, " "), fault)
	}
}

// unknown is what of a command line its binary does not know: the command, or
// flags.
func unknown(t *testing.T, line []string) (faults []string) {
	t.Helper()
	var words []string
	for _, a := range line[1:] {
		if !word.MatchString(a) {
			break
		}
		words = append(words, a)
	}
	help, err := command(t, line[0], append(words, "--help")...)
	m := usageLine.FindStringSubmatch(help)
	if err != nil || m == nil {
		return []string{"says " + help}
	}
	known := strings.Fields(m[1])
	n := 0 // words that are the command's name
	for n < len(known) && n < len(line) && known[n] == line[n] {
		n++
	}
	group := strings.Contains(help, "\nAvailable Commands:")
	if n < 2 && len(words) > 0 || group && len(words) >= n {
		return []string{"there is no such command"}
	}
	for _, a := range line {
		flag, _, _ := strings.Cut(a, "=")
		as := regexp.QuoteMeta(flag) + `, --`
		if strings.HasPrefix(flag, "--") {
			as = `(-\w, )?` + regexp.QuoteMeta(flag) + `\b`
		}
		if len(flag) > 1 && flag[0] == '-' && !regexp.MustCompile(`(?m)^\s+`+as).MatchString(help) {
			faults = append(faults, "it has no flag "+flag)
		}
	}
	return faults
}

// TestUnknownCanFail: what is wrong is found.
func TestUnknownCanFail(t *testing.T) {
	for _, line := range []string{"dsvnode serv --config x", "dsvnode serve --confg x", "dsvctl secret made -n a", "dsvctl secret get -q"} {
		if len(unknown(t, strings.Fields(line))) != 1 {
			t.Errorf("%q passes", line)
		}
	}
}
