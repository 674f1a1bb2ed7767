package main

import (
	"context"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

func secretCommand(a *app) *cobra.Command {
	return group("secret", "Create, read, change and remove secrets",
		secretCreate(a), secretUpdate(a), secretPut(a), secretGet(a), secretDelete(a),
		secretUndelete(a), secretDestroy(a), secretList(a), secretHistory(a))
}

// writeFlags are those of every write.
type writeFlags struct {
	ifVersion uint64
	key       string
	trim      bool
}

func (f *writeFlags) register(cmd *cobra.Command, value bool) {
	cmd.Flags().Uint64Var(&f.ifVersion, "if-version", 0, "only if the live version is this; 0 = only if there is none")
	cmd.Flags().StringVar(&f.key, "idempotency-key", "", "makes a later run with the same key safe (drawn anew for each run by default)")
	if value {
		cmd.Flags().BoolVar(&f.trim, "trim", false, "drop one line end at the end of the value")
	}
}

func (f *writeFlags) options(cmd *cobra.Command) *client.WriteOptions {
	o := &client.WriteOptions{IdempotencyKey: f.key}
	if cmd.Flags().Changed("if-version") {
		o.IfVersion = &f.ifVersion
	}
	return o
}

// writeFunc is Client.Create, Update or Put.
type writeFunc func(c *client.Client, ctx context.Context, p dsv.Path, value dsv.Secret, o *client.WriteOptions) (client.Written, error)

// writeCommand is a command that stores a value.
func writeCommand(a *app, verb, short string, write writeFunc) *cobra.Command {
	var f writeFlags
	cmd := &cobra.Command{
		Use: verb + " [NS:]KEY [-|@FILE]", Short: short, Args: args(1, 2), ValidArgsFunction: a.completeKeys,
		Long: short + ".\n\nThe value comes from standard input (-), from a file (@FILE), or from a prompt on\na terminal; every byte of it counts, a line end too (--trim drops it).",
		RunE: func(cmd *cobra.Command, list []string) error {
			p, err := a.path(list[0])
			if err != nil {
				return err
			}
			source := ""
			if len(list) == 2 {
				source = list[1]
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			value, err := a.value(source, p.String())
			if err != nil {
				return err
			}
			defer value.Wipe()
			if f.trim {
				value = trimmed(value)
			}
			w, err := write(c, cmd.Context(), p, value, f.options(cmd))
			if err != nil {
				return err
			}
			return a.printWritten(p, w)
		},
	}
	f.register(cmd, true)
	return cmd
}

// printWritten shows what a write did.
func (a *app) printWritten(p dsv.Path, w client.Written) error {
	w.Namespace, w.Key = p.NS.String(), p.Key.String()
	return a.print(w, func(out io.Writer) {
		text := p.String()
		if w.Version > 0 {
			text += " version " + strconv.FormatUint(w.Version, 10)
		}
		if w.Unchanged {
			text += " unchanged"
		}
		row(out, text)
	})
}

// changeFunc is Client.Delete or Undelete.
type changeFunc func(c *client.Client, ctx context.Context, p dsv.Path, o *client.WriteOptions) (client.Written, error)

func changeCommand(a *app, verb, short string, change changeFunc) *cobra.Command {
	var f writeFlags
	cmd := &cobra.Command{
		Use: verb + " [NS:]KEY", Short: short, Args: args(1, 1), ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, list []string) error {
			p, err := a.path(list[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			w, err := change(c, cmd.Context(), p, f.options(cmd))
			if err != nil {
				return err
			}
			return a.printWritten(p, w)
		},
	}
	f.register(cmd, false)
	return cmd
}

// readFlags are those of reads.
type readFlags struct {
	version     uint64
	at          string
	consistency string
}

func (f *readFlags) register(cmd *cobra.Command, point bool) {
	if point {
		cmd.Flags().Uint64Var(&f.version, "version", 0, "this version instead of the latest")
		cmd.Flags().StringVar(&f.at, "at", "", "the version valid at a time like 2026-01-31T00:00:00Z")
		cmd.MarkFlagsMutuallyExclusive("version", "at")
	}
	cmd.Flags().StringVar(&f.consistency, "consistency", "", "strict (default), index or local")
}

func (f *readFlags) options(cmd *cobra.Command) (*client.ReadOptions, error) {
	o := &client.ReadOptions{Version: f.version, Consistency: client.Consistency(f.consistency)}
	if cmd.Flags().Changed("version") && f.version == 0 {
		return nil, usage("version must be a whole number from 1")
	}
	if f.at != "" {
		t, err := time.Parse(time.RFC3339Nano, f.at)
		if err != nil {
			return nil, usage("at is not a time like 2026-01-31T00:00:00Z")
		}
		o.At = t
	}
	return o, nil
}
