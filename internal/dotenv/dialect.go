package dotenv

import (
	"strings"

	"github.com/dsvault/dsv"
)

// Dialect is a reader to render for. The zero Dialect is smart.
type Dialect struct {
	d    *dialect
	name string // of a k8s Secret
}

// dialect is how to write for one reader, and how it reads.
type dialect struct {
	name    string
	read    func(text []byte) ([]entry, []dsv.Fault) // nil: a document
	forms   []form                                   // tried in this order for a whole value
	escapes string                                   // what "..." needs a back-slash before; "" = no such quotes
	lineEnd bool                                     // "..." has \n and \r for line ends
	folds   bool                                     // CR LF in quotes is read as LF
	bare    func(value []byte, export bool) bool     // may this stand without quotes
	expands bool                                     // a $ means something
	ticks   bool                                     // so does a back-tick
	utf8    bool                                     // refuses other bytes
	write   func(d Dialect, all []entry) []byte      // of a document
	check   func(text []byte) ([]entry, bool)        // reads a document again
}

// form is one way to write a value.
type form struct {
	quote byte
	clean bool // only where nothing but line ends would need an escape; they stay literal
}

// entry is one assignment as a dialect reads it.
type entry struct {
	reading
	name  string
	line  int
	alone bool
}

const shellEscapes = "\\\"$`"

var (
	smart = &dialect{
		name: "smart", read: smartGrammar.entries,
		forms:   []form{{}, {'"', true}, {'\'', false}, {'"', false}},
		escapes: shellEscapes, lineEnd: true, folds: true, bare: safe, expands: true, ticks: true,
	}
	compose = &dialect{
		name: "compose", read: composeGrammar.entries,
		forms:   []form{{}, {'"', true}, {'\'', false}, {'"', false}},
		escapes: "\\\"$", lineEnd: true, bare: safe, expands: true,
	}
	sh = &dialect{
		name: "sh", read: readSh,
		forms:   []form{{}, {'\'', false}, {'"', false}},
		escapes: shellEscapes, bare: safe, expands: true, ticks: true,
	}
	systemd = &dialect{
		name: "systemd", read: readSystemd,
		forms:   []form{{}, {'"', false}},
		escapes: shellEscapes, bare: safe, utf8: true,
	}
	docker = &dialect{
		name: "docker", read: readDocker,
		forms: []form{{}},
		bare:  func([]byte, bool) bool { return true }, utf8: true,
	}
	dialects = []*dialect{
		smart, sh, docker, compose, systemd,
		{name: "json", write: writeJSON, check: checkJSON, utf8: true},
		{name: "yaml", write: writeYAML, check: checkYAML, utf8: true},
		{name: "k8s", write: writeK8s, check: checkK8s},
	}
)

// ParseDialect returns the dialect s names: smart, sh, docker, compose, systemd,
// json, yaml, k8s or k8s:NAME, where NAME is that of the Secret ("env" if not
// given). The error is a *dsv.Error of KindInvalid.
func ParseDialect(s string) (Dialect, error) {
	word, name, named := strings.Cut(s, ":")
	for _, d := range dialects {
		switch {
		case d.name != word:
			continue
		case named && d.name != "k8s":
			return Dialect{}, dsv.Invalid("dialect", "only k8s takes a name")
		case named && !k8sName(name):
			return Dialect{}, dsv.Invalid("dialect", "has a Secret name that Kubernetes refuses")
		case !named:
			name = "env"
		}
		return Dialect{d, name}, nil
	}
	return Dialect{}, dsv.Invalid("dialect", "is not one of "+strings.Join(Dialects(), ", "))
}

// Dialects lists the names that ParseDialect takes.
func Dialects() []string {
	out := make([]string, len(dialects))
	for i, d := range dialects {
		out[i] = d.name
	}
	return out
}

// String is the form that ParseDialect takes.
func (d Dialect) String() string {
	if d.of().name == "k8s" {
		return "k8s:" + d.name
	}
	return d.of().name
}

func (d Dialect) of() *dialect {
	if d.d == nil {
		return smart
	}
	return d.d
}

// k8sName is a DNS-1123 subdomain, as names of Secrets are.
func k8sName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !(wordByte(c) && c != '_' && !('A' <= c && c <= 'Z') || c == '-') {
				return false
			}
		}
	}
	return len(s) <= 253
}
