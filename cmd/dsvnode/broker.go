package main

import (
	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/internal/node"
)

func brokerCommand() *cobra.Command {
	cfg := node.DefaultBrokerConfig()
	plain := false
	c := &cobra.Command{
		Use:   "broker --data-dir DIR",
		Short: "Run the embedded log broker, for one machine",
		Long: "Run the embedded broker: one machine's ordered log where there is no Apache Kafka. It fsyncs what it\n" +
			"acknowledges. It has no replicas: its disk is the log.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if plain {
				cfg.TLS = node.Files{}
			}
			return node.RunBroker(cmd.Context(), cfg)
		},
	}
	c.Flags().StringVar(&cfg.Listen, "listen", envOr("DSV_BROKER_LISTEN", cfg.Listen), "address to listen on")
	c.Flags().StringVar(&cfg.Advertise, "advertise", envOr("DSV_BROKER_ADVERTISE", ""), "address clients are told (default: --listen)")
	c.Flags().StringVar(&cfg.DataDir, "data-dir", envOr("DSV_BROKER_DATA_DIR", ""), "directory of the log")
	c.Flags().BoolVar(&plain, "plaintext", false, "speak plain TCP, on loopback only")
	identityFlags(c, &cfg.TLS)
	telemetryFlags(c, &cfg.Telemetry)
	return c
}
