package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/dotenv"
)

// maxEnvFile bounds a .env file.
const maxEnvFile = 16 << 20

func envCommand(a *app) *cobra.Command {
	return group("env", "Store what a .env file holds, and render it back", envRender(a), envEncrypt(a), envCheck(a))
}

// envFile is a .env file that was read without a fault.
type envFile struct {
	name string
	file *dotenv.File
	ns   dsv.Namespace // of references without one; zero where there is no such
}

// readEnv reads FILE or - and refuses it with all its faults.
func (a *app) readEnv(name string) (*envFile, error) {
	var in io.Reader = a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, usage(err.Error())
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxEnvFile+1))
	if err != nil {
		return nil, usage(name + ": " + err.Error())
	}
	if len(text) > maxEnvFile {
		return nil, usage(name + " is larger than 16 MiB")
	}
	return a.parseEnv(name, text)
}

func (a *app) parseEnv(name string, text []byte) (*envFile, error) {
	file, faults := dotenv.Parse(text)
	if len(faults) > 0 {
		return nil, faulty(name, faults)
	}
	if err := file.CheckLimits(); err != nil {
		return nil, err
	}
	e := &envFile{name: name, file: file}
	if slices.ContainsFunc(file.References(), func(r dotenv.Ref) bool { return r.NS.IsZero() }) {
		var err error
		if e.ns, err = a.namespace(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// path is what a reference names.
func (e *envFile) path(r dotenv.Ref) dsv.Path {
	if r.NS.IsZero() {
		return dsv.Path{NS: e.ns, Key: r.Key}
	}
	return dsv.Path{NS: r.NS, Key: r.Key}
}

// stores reports whether the file asks to store anything.
func (e *envFile) stores() bool {
	return slices.ContainsFunc(e.file.References(), func(r dotenv.Ref) bool { return r.Kind != dotenv.Secret })
}

// faulty is one error for all faults of a file, by line. Its kind is that of
// the gravest: a file that is wrong in itself, then rights, then what is
// missing, then what exists.
func faulty(name string, faults []dsv.Fault) error {
	slices.SortStableFunc(faults, func(a, b dsv.Fault) int { return a.Line - b.Line })
	e := &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Faults: faults}
	e.Detail = fmt.Sprintf("%s: %d faults; nothing was stored or written", name, len(faults))
	if len(faults) == 1 {
		e.Detail = name + ": 1 fault; nothing was stored or written"
	}
	for _, grave := range []struct {
		kind  dsv.Kind
		codes []dsv.Code
	}{
		{dsv.KindInvalid, []dsv.Code{dsv.CodeInvalid, dsv.CodeUnprocessable, dsv.CodeTooLarge}},
		{dsv.KindDenied, []dsv.Code{dsv.CodeDenied}},
		{dsv.KindNotFound, []dsv.Code{dsv.CodeNotFound, dsv.CodeDestroyed}},
		{dsv.KindConflict, []dsv.Code{dsv.CodeExists}},
	} {
		i := slices.IndexFunc(faults, func(f dsv.Fault) bool { return slices.Contains(grave.codes, f.Code) })
		if i >= 0 {
			e.Kind, e.Code = grave.kind, faults[i].Code
			break
		}
	}
	return e
}

// targets are where the commands of env write.
type targets struct {
	inPlace     bool
	templateOut string
}

func (t *targets) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&t.inPlace, "in-place", false, "replace FILE by its template, in which enc() has become secret()")
	cmd.Flags().StringVar(&t.templateOut, "template-out", "", "write the template to this file (0600)")
	cmd.MarkFlagsMutuallyExclusive("in-place", "template-out")
}

func (t *targets) given() bool { return t.inPlace || t.templateOut != "" }

// prepare makes the template's file ready; nil where none was asked for.
func (t *targets) prepare(name string, template []byte) (*pending, error) {
	switch {
	case t.inPlace && name == "-":
		return nil, usage("standard input cannot be replaced in place: use --template-out")
	case t.inPlace:
		return prepare(name, template, true)
	case t.templateOut != "":
		return prepare(t.templateOut, template, false)
	}
	return nil, nil
}

// sources say where the plaintexts of enc() come from besides the file.
type sources struct {
	values  []string // NAME=@FILE or NAME=-
	fromEnv bool
}

func (s *sources) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.values, "value", nil, "plaintext of enc(NAME): NAME=@FILE, or NAME=- for standard input; repeat for more")
	cmd.Flags().BoolVar(&s.fromEnv, "values-from-env", false, "take plaintexts that are found nowhere else from the environment")
}

// read reads what --value names.
func (s *sources) read(a *app) (map[string]dsv.Secret, error) {
	out := map[string]dsv.Secret{}
	for _, v := range s.values {
		name, source, ok := strings.Cut(v, "=")
		if !ok || source == "" {
			return nil, usage("value must be NAME=@FILE or NAME=-")
		}
		if _, twice := out[name]; twice {
			return nil, usage("value of " + name + " is given twice")
		}
		value, err := a.value(source, name)
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}
