package main

import (
	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func secretCreate(a *app) *cobra.Command {
	return writeCommand(a, "create", "Create a secret that does not exist", (*client.Client).Create)
}
