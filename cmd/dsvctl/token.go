package main

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func tokenCommand(a *app) *cobra.Command {
	return group("token", "Make, list and revoke tokens", tokenCreate(a), tokenList(a), tokenRevoke(a))
}

func tokenCreate(a *app) *cobra.Command {
	var r client.TokenRequest
	var ttl time.Duration
	var out string
	cmd := &cobra.Command{
		Use: "create --name NAME --prefix NS --verb VERB,…", Short: "Make a token; its text is shown this once", Args: args(0, 0),
		Example: "  dsvctl token create --name ci --prefix team-a --verb read,list --ttl 720h --out ci.token",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl < 0 {
				return usage("ttl is negative")
			}
			if ttl > 0 {
				r.Expires = time.Now().Add(ttl)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			t, err := c.CreateToken(cmd.Context(), r)
			if err != nil {
				return err
			}
			defer t.Text.Wipe()
			if out != "" {
				if err := writeFile(out, append(t.Text.Reveal(), '\n')); err != nil {
					a.note("the token was made but not written; revoke it: dsvctl token revoke %s", t.ID)
					return err
				}
			}
			return a.printNewToken(t, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.Name, "name", "", "for people")
	f.StringArrayVar(&r.Prefixes, "prefix", nil, `namespace, with all below it; repeat for more; "" for all`)
	f.StringSliceVar(&r.Verbs, "verb", nil, "create, update, read, list, history, delete, undelete, destroy, watch, admin")
	f.DurationVar(&ttl, "ttl", 0, "life of the token (default: no end)")
	f.StringVar(&out, "out", "", "write the text to this file (0600) and not to standard output")
	return cmd
}

func (a *app) printNewToken(t client.Token, file string) error {
	v := struct {
		client.Token
		Text string `json:"token,omitempty"`
		File string `json:"file,omitempty"`
	}{Token: t, File: file}
	if file == "" {
		v.Text = string(t.Text.Reveal())
	}
	if a.set.output == "table" {
		a.note("token %s (%s)", t.ID, t.Name)
	}
	return a.print(v, func(w io.Writer) {
		if file == "" {
			row(w, v.Text)
		}
	})
}

func tokenList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.ListTokens(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(map[string]any{"tokens": list}, func(w io.Writer) {
				row(w, "ID", "NAME", "PREFIXES", "VERBS", "CREATED", "EXPIRES")
				for _, t := range list {
					row(w, t.ID, t.Name, prefixText(t.Prefixes), strings.Join(t.Verbs, ","), when(t.Created), when(t.Expires))
				}
			})
		},
	}
}

func prefixText(list []string) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = first(p, "(all)")
	}
	return strings.Join(out, ",")
}

func tokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token", Args: args(1, 1),
		RunE: func(cmd *cobra.Command, list []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.RevokeToken(cmd.Context(), list[0]); err != nil {
				return err
			}
			return a.print(map[string]string{"revoked": list[0]}, func(w io.Writer) { row(w, "revoked "+list[0]) })
		},
	}
}
