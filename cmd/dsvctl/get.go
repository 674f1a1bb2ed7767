package main

import (
	"bytes"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func secretGet(a *app) *cobra.Command {
	var f readFlags
	cmd := &cobra.Command{
		Use: "get [NS:]KEY", Short: "Print the value of a secret", Args: args(1, 1), ValidArgsFunction: a.completeKeys,
		Long: "Print the value of a secret, byte for byte. On a terminal a line end is added\nwhere the value has none. With -o json or yaml the value is base64, beside its\nversion and times.",
		RunE: func(cmd *cobra.Command, list []string) error {
			p, err := a.path(list[0])
			if err != nil {
				return err
			}
			o, err := f.options(cmd)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			found, err := c.Get(cmd.Context(), p, o)
			if err != nil {
				return err
			}
			defer found.Value.Wipe()
			if found.NotFinal {
				a.note("warning: the log's time has not passed the instant asked for; the answer may still change")
			}
			return a.printFound(found)
		},
	}
	f.register(cmd, true)
	return cmd
}

func (a *app) printFound(f client.Found) error {
	if a.set.output != "table" {
		return a.print(struct {
			client.Found
			Value []byte `json:"value"`
		}{f, f.Value.Reveal()}, nil)
	}
	if err := a.data(f.Value.Reveal()); err != nil {
		return err
	}
	if terminal(a.stdout) && !bytes.HasSuffix(f.Value.Reveal(), []byte("\n")) {
		return a.data([]byte("\n"))
	}
	return nil
}
