package main

import (
	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/internal/node"
)

func keeperCommand() *cobra.Command {
	cfg := node.DefaultKeeperConfig()
	c := &cobra.Command{
		Use:   "keeper",
		Short: "Run a keeper: it holds, in memory only, one share of each node's root key",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return node.RunKeeper(cmd.Context(), cfg)
		},
	}
	c.Flags().StringVar(&cfg.Listen, "listen", envOr("DSV_KEEPER_LISTEN", cfg.Listen), "address to listen on")
	identityFlags(c, &cfg.Identity)
	telemetryFlags(c, &cfg.Telemetry)
	return c
}
