package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func secretHistory(a *app) *cobra.Command {
	var f readFlags
	cmd := &cobra.Command{
		Use: "history [NS:]KEY", Short: "List the versions of a secret and when each was valid", Args: args(1, 1), ValidArgsFunction: a.completeKeys,
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
			h, err := c.History(cmd.Context(), p, o)
			if err != nil {
				return err
			}
			return a.print(h, func(w io.Writer) { historyTable(w, h) })
		},
	}
	f.register(cmd, false)
	return cmd
}

// historyTable has a line per interval.
func historyTable(w io.Writer, h client.History) {
	row(w, "VERSION", "STATE", "VALID FROM", "VALID TO", "REQUESTED", "AUTHOR", "SIZE")
	for _, v := range h.Versions {
		for _, iv := range v.Intervals {
			to := iv.To.String()
			if to == "" {
				to = "-"
			}
			row(w, strconv.FormatUint(v.Version, 10), v.State, iv.From.String(), to, when(v.RequestedAt), v.Author, "<="+strconv.Itoa(v.PaddedSize))
		}
	}
}
