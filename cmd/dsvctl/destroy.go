package main

import (
	"slices"

	"github.com/spf13/cobra"
)

func secretDestroy(a *app) *cobra.Command {
	var f writeFlags
	var versions []uint
	var all, yes bool
	cmd := &cobra.Command{
		Use: "destroy [NS:]KEY (--versions N,… | --all)", Short: "Remove the shards of versions for good", Args: args(1, 1), ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, list []string) error {
			p, err := a.path(list[0])
			if err != nil {
				return err
			}
			if all == (len(versions) > 0) {
				return usage("name the versions with --versions, or give --all")
			}
			slices.Sort(versions)
			var numbers []uint64
			for _, v := range slices.Compact(versions) {
				numbers = append(numbers, uint64(v))
			}
			if err := a.confirm(yes, "destroy", p.String()); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			w, err := c.Destroy(cmd.Context(), p, numbers, f.options(cmd))
			if err != nil {
				return err
			}
			return a.printWritten(p, w)
		},
	}
	f.register(cmd, false)
	cmd.Flags().UintSliceVar(&versions, "versions", nil, "versions to destroy")
	cmd.Flags().BoolVar(&all, "all", false, "all versions")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
