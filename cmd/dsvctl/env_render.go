package main

import (
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/dotenv"
)

func envRender(a *app) *cobra.Command {
	var t targets
	var s sources
	var out, dialect string
	cmd := &cobra.Command{
		Use: "render FILE|-", Short: "Fill the values of secret()s into a .env file", Args: args(1, 1),
		Long: `Fill the values of all secret()s into a .env file and write it for a dialect: to
standard output, or to --out FILE, whole and with mode 0600. What a dialect cannot
hold is refused, and so is a file with any fault: then nothing is written. A file
with enc() left is rendered only with --in-place or --template-out.`,
		Example: "  dsvctl env render -n team-a/app .env.template --out .env",
		RunE: func(cmd *cobra.Command, list []string) error {
			to, err := dotenv.ParseDialect(dialect)
			if err != nil {
				return err
			}
			e, values, err := a.marked(list[0], &s, false, nil)
			if err != nil {
				return err
			}
			if e.stores() && !t.given() {
				return usage(e.name + " has enc() left, which a second run would refuse: give --in-place or --template-out FILE")
			}
			return a.render(cmd, e, &s, &t, values, to, out)
		},
	}
	t.register(cmd)
	s.register(cmd)
	cmd.Flags().StringVar(&out, "out", "", "write to this file (0600) and not to standard output")
	cmd.Flags().StringVar(&dialect, "dialect", "smart", strings.Join(dotenv.Dialects(), ", "))
	return cmd
}

func (a *app) render(cmd *cobra.Command, e *envFile, s *sources, t *targets, values map[string]dsv.Secret, to dotenv.Dialect, out string) error {
	plan, err := a.plan(e, s, values)
	if err != nil {
		return err
	}
	defer plan.Wipe()
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	known := e.storedBy(plan)
	list := e.wants(known)
	defer wipe(list)
	if err := fetch(cmd.Context(), c, list); err != nil {
		return err
	}
	taken, err := a.mayStore(cmd.Context(), c, e, plan)
	if err != nil {
		return err
	}
	if faults := append(e.faultsOf(list), taken...); len(faults) > 0 {
		return faulty(e.name, faults)
	}
	known = maps.Clone(known)
	for _, w := range list {
		known[w.id()] = w.found.Value
	}
	rendered, err := renderTemplate(e, plan, known, to)
	if err != nil {
		return err
	}
	defer clear(rendered)
	template, err := t.prepare(e.name, plan.Template)
	if err != nil {
		return err
	}
	defer template.drop()
	var file *pending
	if out != "" {
		if file, err = prepare(out, rendered, false); err != nil {
			return err
		}
		defer file.drop()
	}
	if err := a.store(cmd.Context(), c, e, plan); err != nil {
		return err
	}
	if err := template.commit(); err != nil {
		return err
	}
	if out != "" {
		return file.commit()
	}
	return a.data(rendered)
}

// renderTemplate renders what later runs will render, before anything is
// stored.
func renderTemplate(e *envFile, plan dotenv.Plan, known map[string]dsv.Secret, to dotenv.Dialect) ([]byte, error) {
	f, faults := dotenv.Parse(plan.Template)
	if len(faults) > 0 {
		return nil, faulty(e.name, faults)
	}
	rendered, faults := dotenv.Render(f, func(r dotenv.Ref) (dsv.Secret, bool) {
		v, ok := known[wantID(e.path(r), r)]
		return v, ok
	}, to)
	if len(faults) > 0 {
		return nil, faulty(e.name, faults)
	}
	return rendered, nil
}

func wipe(list []*want) {
	for _, w := range list {
		w.found.Value.Wipe()
	}
}
