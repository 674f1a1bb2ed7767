package main

import (
	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func secretUndelete(a *app) *cobra.Command {
	return changeCommand(a, "undelete", "Bring the last version of a deleted secret back", (*client.Client).Undelete)
}
