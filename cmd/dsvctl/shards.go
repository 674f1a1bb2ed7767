package main

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
)

func shardsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "shards ([NS:]KEY | NS KEY)", Short: "Show who holds a shard of each version of a secret", Args: args(1, 2),
		RunE: func(cmd *cobra.Command, list []string) error {
			var p dsv.Path
			var err error
			if len(list) == 2 {
				p, err = dsv.ParsePath(list[0], list[1])
			} else {
				p, err = a.path(list[0])
			}
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Shards(cmd.Context(), p)
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) {
				row(w, "VERSION", "NODE", "RANK", "STATE", "SHARE SET")
				for _, v := range s.Versions {
					for _, h := range v.Holders {
						row(w, strconv.FormatUint(v.Version, 10), h.Node, strconv.Itoa(h.Rank), h.State, v.ShareSet)
					}
				}
			})
		},
	}
}
