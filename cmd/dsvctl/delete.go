package main

import (
	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func secretDelete(a *app) *cobra.Command {
	return changeCommand(a, "delete", "Delete a secret; its history stays and undelete brings it back", (*client.Client).Delete)
}
