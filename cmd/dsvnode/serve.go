package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/internal/node"
)

func serveCommand() *cobra.Command {
	var file string
	var check bool
	c := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run a node",
		Long: "Run a node. It answers 503 and says why until it has collected its root key from the keepers,\n" +
			"opened its store and joined the log. Variables DSV_* override the file (docs/OPERATIONS.md).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := node.LoadConfig(file, os.LookupEnv)
			if err != nil {
				return err
			}
			if check {
				fmt.Fprintln(cmd.OutOrStdout(), "the configuration is good")
				return nil
			}
			return node.Serve(cmd.Context(), cfg, node.World{})
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	c.Flags().BoolVar(&check, "check", false, "check the configuration, print every fault, and exit")
	_ = c.MarkFlagRequired("config")
	return c
}

func versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the build", Args: cobra.NoArgs, Run: func(cmd *cobra.Command, _ []string) {
		fmt.Fprintln(cmd.OutOrStdout(), node.Software())
	}}
}
