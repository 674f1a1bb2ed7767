package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/dev"
	"github.com/dsvault/dsv/internal/node"
)

// devPort is the first of the block of ports that `dev` takes on loopback.
const devPort = 8400

func devCommand() *cobra.Command {
	opt := dev.Options{FirstPort: devPort}
	telemetry := node.TelemetryConfig{LogLevel: "warn", LogFormat: "text"}
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster in this process, for development",
		Long: "Run five nodes, three keepers and the embedded broker in this process and print the exports to paste.\n" +
			"The data directory survives a restart. INSECURE: only here the keepers' shares lie on disk.\n" +
			"With --memory no file is written, and the exports hold the token itself.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opt.Memory && cmd.Flags().Changed("dir") {
				return dsv.Invalid("dir", "has no meaning with --memory, which writes no file")
			}
			return runDev(cmd, opt, telemetry)
		},
	}
	c.Flags().StringVar(&opt.Dir, "dir", envOr("DSV_DEV_DIR", defaultDevDir()), "directory of the cluster")
	c.Flags().BoolVar(&opt.Memory, "memory", false, "keep everything in memory and write no file; gone when it ends")
	c.Flags().IntVar(&opt.FirstPort, "port", devPort, "first of 19 ports on loopback, when the cluster is made; 0 takes free ones")
	telemetryFlags(c, &telemetry)
	return c
}

func defaultDevDir() string {
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "dsv-dev"
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "dsv", "dev")
}

func runDev(cmd *cobra.Command, opt dev.Options, t node.TelemetryConfig) error {
	log := &startLog{to: cmd.ErrOrStderr(), held: t.LogLevel == "warn"}
	opt.Logger = node.NewLogger(t, log)
	ctx := cmd.Context()
	c, err := dev.Start(ctx, opt)
	log.release(err != nil)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case opt.Memory:
		fmt.Fprintln(out, "# a cluster in memory: everything is gone when it ends")
	default:
		fmt.Fprintf(out, "# INSECURE, for development only: the keepers' shares lie in %s\n", filepath.Join(opt.Dir, "insecure-dev-keepers"))
	}
	fmt.Fprintln(out, "# five nodes, three keepers and a broker are up; paste into another shell:")
	for _, line := range c.Exports() {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out, "# dsvctl status; Ctrl-C ends the cluster")
	<-ctx.Done()
	fmt.Fprintln(cmd.ErrOrStderr(), "stopping")
	return c.Close()
}

// startLog holds back what nodes say while the others are not up yet: that they
// reach nobody and are sealed. It is told only if the start fails.
type startLog struct {
	to io.Writer

	mu   sync.Mutex
	held bool
	buf  bytes.Buffer
}

func (l *startLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		return l.buf.Write(b)
	}
	return l.to.Write(b)
}

func (l *startLog) release(tell bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if tell {
		_, _ = l.buf.WriteTo(l.to)
	}
	l.held, l.buf = false, bytes.Buffer{}
}
