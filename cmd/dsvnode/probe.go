package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/node"
)

func probeCommand() *cobra.Command {
	var file, address string
	c := &cobra.Command{
		Use:   "probe --config FILE | --keeper ADDRESS",
		Short: "Ask a process on this machine whether it is ready; for health checks",
		Long: "Ask the node of a configuration file whether it is ready, or whether a keeper takes connections.\n" +
			"Exit code 0 says so, 1 says no, and why.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case file == "" && address == "" || file != "" && address != "":
				return dsv.Invalid("probe", "needs one of --config and --keeper")
			case file == "":
				return node.KeeperConfig{Listen: address}.Probe(cmd.Context())
			}
			cfg, err := node.LoadConfig(file, os.LookupEnv)
			if err != nil {
				return err
			}
			return cfg.Probe(cmd.Context())
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file of the node (YAML)")
	c.Flags().StringVar(&address, "keeper", "", "address the keeper listens on")
	return c
}
