package main

import (
	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func secretPut(a *app) *cobra.Command {
	return writeCommand(a, "put", "Create or update a secret", (*client.Client).Put)
}
