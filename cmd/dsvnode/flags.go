package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/internal/node"
)

// envOr is a variable's value, or else where it is unset.
func envOr(name, otherwise string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return otherwise
}

func identityFlags(c *cobra.Command, f *node.Files) {
	c.Flags().StringVar(&f.CA, "ca", envOr("DSV_CA", f.CA), "certificate of the CA (PEM)")
	c.Flags().StringVar(&f.Cert, "cert", envOr("DSV_CERT", f.Cert), "certificate (PEM)")
	c.Flags().StringVar(&f.Key, "key", envOr("DSV_KEY", f.Key), "private key (PEM, mode 0600)")
}

func telemetryFlags(c *cobra.Command, t *node.TelemetryConfig) {
	c.Flags().StringVar(&t.LogLevel, "log-level", envOr("DSV_LOG_LEVEL", t.LogLevel), "debug, info, warn or error")
	c.Flags().StringVar(&t.LogFormat, "log-format", envOr("DSV_LOG_FORMAT", t.LogFormat), "json or text")
}
