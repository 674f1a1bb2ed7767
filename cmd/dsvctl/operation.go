package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
)

func operationCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "operation ID", Short: "Tell what became of an operation", Args: args(1, 1),
		RunE: func(cmd *cobra.Command, list []string) error {
			id, err := dsv.ParseTxID(list[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			o, err := c.Operation(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.print(o, func(w io.Writer) {
				row(w, o.State, string(o.Code))
				for _, r := range o.Results {
					row(w, "version "+strconv.FormatUint(r.Version, 10))
				}
			})
		},
	}
}
