// Command dsvnode runs the processes of a cluster: a node, a keeper, the
// embedded broker, or all of them in one process for development.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/keeper"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it ran and could not go on
	exitUsage  = 2 // flags or configuration
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := keeper.Harden(); err != nil {
		fmt.Fprintln(os.Stderr, "dsvnode: memory is not protected from core files:", err)
	}
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "dsvnode:", err)
	if usageError(err) {
		return exitUsage
	}
	return exitFailed
}

// usageError reports whether the caller is to change flags or configuration.
func usageError(err error) bool { return dsv.KindOf(err) == dsv.KindInvalid }

func newRoot() *cobra.Command {
	root := &cobra.Command{Use: "dsvnode", Short: "The processes of a DSV cluster", SilenceUsage: true, SilenceErrors: true}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Detail: err.Error()}
	})
	root.AddCommand(serveCommand(), keeperCommand(), brokerCommand(), devCommand(), probeCommand(), versionCommand())
	return root
}
