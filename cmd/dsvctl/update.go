package main

import (
	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func secretUpdate(a *app) *cobra.Command {
	return writeCommand(a, "update", "Make a new version of a secret that exists", (*client.Client).Update)
}
