package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
)

// app is what every command shares: the streams, the environment, the flags.
type app struct {
	stdin          *os.File
	stdout, stderr io.Writer
	getenv         func(string) string
	flags          flags
	set            settings
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "dsvctl",
		Short: "Keep, version and serve secrets with a DSV cluster",
		Example: `  dsvctl secret create -n team-a/app DB_PASSWORD @password.txt
  dsvctl secret get -n team-a/app DB_PASSWORD
  dsvctl env render -n team-a/app .env.template --out .env
  dsvctl status`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.load(cmd) },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err.Error()) })
	a.flags.register(root.PersistentFlags())
	root.AddCommand(
		secretCommand(a), tokenCommand(a), envCommand(a),
		initCommand(a), statusCommand(a), shardsCommand(a), operationCommand(a), initCommand(a), versionCommand(a),
	)
	return root
}

// usage is a fault of the command line.
func usage(detail string) error {
	return &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Detail: detail}
}

// args refuses another number of arguments than low to high.
func args(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		switch {
		case len(list) < low:
			return usage("too few arguments: dsvctl " + useOf(cmd))
		case len(list) > high:
			return usage("too many arguments: dsvctl " + useOf(cmd))
		}
		return nil
	}
}

func useOf(cmd *cobra.Command) string {
	if cmd.HasParent() && cmd.Parent().HasParent() {
		return cmd.Parent().Name() + " " + cmd.Use
	}
	return cmd.Use
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: func(cmd *cobra.Command, list []string) error {
		if len(list) > 0 {
			return usage("there is no " + cmd.CommandPath() + " " + list[0] + ": see dsvctl " + cmd.Name() + " --help")
		}
		return nil
	}, RunE: func(cmd *cobra.Command, _ []string) error {
		_ = cmd.Usage()
		return usage("a verb is missing")
	}}
	g.AddCommand(commands...)
	return g
}
