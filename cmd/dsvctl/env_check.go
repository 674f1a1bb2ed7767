package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/dotenv"
)

// checked is one reference with what was found.
type checked struct {
	Line      int    `json:"line"`
	Reference string `json:"reference"`
	State     string `json:"state"` // ok new exists not_found destroyed denied
	Version   uint64 `json:"version,omitempty"`
}

func envCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE|-", Short: "Tell whether every reference of a .env file would resolve", Args: args(1, 1),
		Long: "Look up every reference without reading a value: secret() must exist, enc() must\nbe new. Exit codes: 0 all resolve; 1 the file has a fault; 3 something is missing;\n4 something is denied; 5 something exists already.",
		RunE: func(cmd *cobra.Command, list []string) error {
			e, err := a.readEnv(list[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var all []*want
			for _, r := range e.file.References() {
				all = append(all, &want{ref: r, path: e.path(r)})
			}
			if err := look(cmd.Context(), c, all); err != nil {
				return err
			}
			return a.printChecked(e, all)
		},
	}
}

func (a *app) printChecked(e *envFile, all []*want) error {
	encs := map[dsv.Path]bool{}
	for _, w := range all {
		if w.ref.Kind != dotenv.Secret {
			encs[w.path] = true
		}
	}
	var faults []dsv.Fault
	rows := make([]checked, len(all))
	for i, w := range all {
		rows[i] = checked{Line: w.ref.Line, Reference: w.ref.String(), State: "ok", Version: w.found.Version}
		if code := w.code(encs[w.path]); code != "" {
			rows[i].State = string(code)
			faults = append(faults, dsv.Fault{Line: w.ref.Line, Name: w.ref.String(), Code: code, Detail: w.trouble()})
		} else if w.found.Version == 0 {
			rows[i].State = "new"
		}
	}
	err := a.print(map[string]any{"references": rows}, func(out io.Writer) {
		row(out, "LINE", "REFERENCE", "STATE", "VERSION")
		for _, r := range rows {
			version := "-"
			if r.Version > 0 {
				version = strconv.FormatUint(r.Version, 10)
			}
			row(out, strconv.Itoa(r.Line), r.Reference, r.State, version)
		}
	})
	if err != nil || len(faults) == 0 {
		return err
	}
	return faulty(e.name, faults)
}

// code is what is wrong with a reference, "" for nothing. own says that the
// file stores the name itself.
func (w *want) code(own bool) dsv.Code {
	missing := w.err != nil && dsv.KindOf(w.err) != dsv.KindDenied
	switch {
	case w.err != nil && !missing:
		return dsv.CodeDenied
	case w.ref.Kind != dotenv.Secret && !missing:
		return dsv.CodeExists
	case w.ref.Kind == dotenv.Secret && missing && !(own && w.ref.Version == 0 && w.ref.At.IsZero()):
		return dsv.CodeOf(w.err)
	}
	return ""
}

func (w *want) trouble() string {
	if w.err == nil {
		return "exists already: it must be new"
	}
	return trouble(w.err)
}
