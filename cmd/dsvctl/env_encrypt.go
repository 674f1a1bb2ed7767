package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/dotenv"
)

func envEncrypt(a *app) *cobra.Command {
	var t targets
	var s sources
	var names []string
	var all bool
	cmd := &cobra.Command{
		Use: "encrypt FILE|-", Short: "Store the enc()s of a .env file as new secrets", Args: args(1, 1),
		Long: `Store the plaintext of every enc(NAME) as a new secret, all or none, and turn the
file into its template: enc(NAME) becomes secret(NAME), which is safe to commit.
The template goes to standard output, or where --in-place or --template-out say.
With --all or --names, plain values NAME=value are taken for NAME=enc(NAME) first.`,
		Example: "  dsvctl env encrypt -n team-a/app .env --all --in-place",
		RunE: func(cmd *cobra.Command, list []string) error {
			e, values, err := a.marked(list[0], &s, all, names)
			if err != nil {
				return err
			}
			return a.encrypt(cmd, e, &s, &t, values)
		},
	}
	t.register(cmd)
	s.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "store all plain values")
	cmd.Flags().StringSliceVar(&names, "names", nil, "store the plain values of these names")
	cmd.MarkFlagsMutuallyExclusive("all", "names")
	return cmd
}

// marked reads the file and, where asked, takes its plain values as enc().
func (a *app) marked(name string, s *sources, all bool, names []string) (*envFile, map[string]dsv.Secret, error) {
	values, err := s.read(a)
	if err != nil {
		return nil, nil, err
	}
	e, err := a.readEnv(name)
	if err != nil || !all && len(names) == 0 {
		return e, values, err
	}
	m, faults := e.file.Mark(func(n string) bool { return all || slices.Contains(names, n) })
	if len(faults) > 0 {
		return nil, nil, faulty(name, faults)
	}
	for _, f := range m.Left {
		a.note("left as it is: line %d: %s %s", f.Line, f.Name, f.Detail)
	}
	for n, v := range m.Values {
		if _, twice := values[n]; twice {
			return nil, nil, usage("value of " + n + " is given and stands in the file too")
		}
		values[n] = v
	}
	e, err = a.parseEnv(name, m.Text)
	return e, values, err
}

func (a *app) encrypt(cmd *cobra.Command, e *envFile, s *sources, t *targets, values map[string]dsv.Secret) error {
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
	stored := e.storedBy(plan)
	list := e.wants(stored)
	if err := look(cmd.Context(), c, list); err != nil {
		return err
	}
	taken, err := a.mayStore(cmd.Context(), c, e, plan)
	if err != nil {
		return err
	}
	if faults := append(e.faultsOf(list), taken...); len(faults) > 0 {
		return faulty(e.name, faults)
	}
	file, err := t.prepare(e.name, plan.Template)
	if err != nil {
		return err
	}
	defer file.drop()
	if err := a.store(cmd.Context(), c, e, plan); err != nil {
		return err
	}
	if !t.given() {
		return a.data(plan.Template)
	}
	return file.commit()
}

// storedBy are the values that the file's own secret()s will find after plan.
func (e *envFile) storedBy(plan dotenv.Plan) map[string]dsv.Secret {
	out := map[string]dsv.Secret{}
	for _, st := range plan.Stores {
		out[wantID(dsv.Path{NS: e.ns, Key: st.Key}, dotenv.Ref{Key: st.Key})] = st.Value
	}
	return out
}
