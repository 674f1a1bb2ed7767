package main

import (
	"bytes"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/dsvault/dsv"
)

// value reads a secret from where arg says: "-" is standard input, "@FILE" a
// file, "" a prompt without echo on a terminal. A value itself is refused:
// arguments can be seen by others.
func (a *app) value(arg, what string) (dsv.Secret, error) {
	switch {
	case arg == "-":
		return bounded(a.stdin, "standard input")
	case arg == "":
		return a.prompt(what)
	case arg[0] != '@':
		return dsv.Secret{}, usage("a value never stands in an argument, where others see it: use - for standard input or @FILE")
	}
	f, err := os.Open(arg[1:])
	if err != nil {
		return dsv.Secret{}, usage(err.Error())
	}
	defer f.Close()
	return bounded(f, arg[1:])
}

// bounded reads a value whole and refuses one that no node takes.
func bounded(r io.Reader, name string) (dsv.Secret, error) {
	b, err := io.ReadAll(io.LimitReader(r, dsv.MaxValue+1))
	if err != nil {
		return dsv.Secret{}, usage(name + ": " + err.Error())
	}
	if len(b) > dsv.MaxValue {
		clear(b)
		return dsv.Secret{}, usage(name + " is larger than 1 MiB")
	}
	return dsv.SecretOf(b), nil
}

func (a *app) prompt(what string) (dsv.Secret, error) {
	if !terminal(a.stdin) {
		return dsv.Secret{}, usage("no value for " + what + ": give - for standard input or @FILE")
	}
	io.WriteString(a.stderr, "Value of "+what+" (not shown): ")
	b, err := term.ReadPassword(int(a.stdin.Fd()))
	io.WriteString(a.stderr, "\n")
	if err != nil {
		return dsv.Secret{}, usage("prompt: " + err.Error())
	}
	return dsv.SecretOf(b), nil
}

// trimmed is s without one line end at its end.
func trimmed(s dsv.Secret) dsv.Secret {
	b := bytes.TrimSuffix(s.Reveal(), []byte("\n"))
	return dsv.SecretOf(bytes.TrimSuffix(b, []byte("\r")))
}

// confirm asks for the name to be typed, unless yes.
func (a *app) confirm(yes bool, what, name string) error {
	if yes {
		return nil
	}
	if !terminal(a.stdin) {
		return usage(what + " cannot be undone: give --yes")
	}
	io.WriteString(a.stderr, what+" cannot be undone. Type "+name+" to go on: ")
	var line []byte
	for b := make([]byte, 1); ; {
		if n, err := a.stdin.Read(b); n == 0 || err != nil || b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	if strings.TrimSpace(string(line)) != name {
		return usage("not confirmed")
	}
	return nil
}
