package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/dsvault/dsv/client"
)

// note says something on standard error.
func (a *app) note(format string, list ...any) { fmt.Fprintf(a.stderr, format+"\n", list...) }

// print shows v as JSON or YAML, or what table writes.
func (a *app) print(v any, table func(w io.Writer)) error {
	switch a.set.output {
	case "json":
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		return a.data(append(b, '\n'))
	case "yaml":
		b, err := yamlOf(v)
		if err != nil {
			return err
		}
		return a.data(b)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	table(w)
	_ = w.Flush() // a bytes.Buffer takes everything
	return a.data(trimLines(b.Bytes()))
}

// trimLines drops the blanks that columns leave at line ends.
func trimLines(b []byte) []byte {
	lines := bytes.Split(b, []byte("\n"))
	for i, l := range lines {
		lines[i] = bytes.TrimRight(l, " ")
	}
	return bytes.Join(lines, []byte("\n"))
}

// data writes to standard output and reports what it cannot write.
func (a *app) data(b []byte) error {
	if _, err := a.stdout.Write(b); err != nil {
		return usage("standard output: " + err.Error())
	}
	return nil
}

// yamlOf is v in YAML with the names and the order of its JSON form.
func yamlOf(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil {
		return nil, err
	}
	plain(&n)
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return nil, err
	}
	return out.Bytes(), e.Close()
}

// plain takes JSON's brackets and quotes away, where YAML needs none.
func plain(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// row writes one line of a table.
func row(w io.Writer, cells ...string) {
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// known is n, "?" where it is not known.
func known(n int64) string {
	if n < 0 {
		return "?"
	}
	return strconv.FormatInt(n, 10)
}

// when is t to the second, "-" where there is none.
func when(t client.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// terminal reports whether f is one.
func terminal(f any) bool {
	t, ok := f.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(t.Fd()))
}
