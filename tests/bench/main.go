// Command bench measures a cluster of five nodes on one real Kafka broker, all
// as processes with TLS everywhere, against a bare log and a bare HTTPS echo in
// the same run, and prints one table. Figures are of this machine in this
// minute; the ratios are what to compare.
//
//	go run ./tests/bench            # make bench
//	go run ./tests/bench -short -embedded
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dsvault/dsv/tests/cluster"
)

type options struct {
	dir      string
	embedded bool
	phase    time.Duration
	warm     time.Duration
	clients  []int
	bin      string
	only     string // the one measurement to make
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "echo" {
		if err := echo(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
			os.Exit(1)
		}
		return
	}
	o := options{clients: []int{1, 16, 64}}
	short := flag.Bool("short", false, "a third of the time, 64 clients only")
	flag.BoolVar(&o.embedded, "embedded", false, "the embedded broker in place of Kafka")
	flag.StringVar(&o.dir, "dir", "", "directory to use (default: a temporary one)")
	flag.StringVar(&o.bin, "bin", "", "folder with dsvnode (default: built for the run)")
	flag.DurationVar(&o.phase, "phase", 12*time.Second, "time of one measurement, over all its rounds")
	flag.DurationVar(&o.warm, "warm", time.Minute, "load before measuring, so that the JVM is warm")
	flag.StringVar(&o.only, "only", "", "make only the measurement of this name, and no bare log")
	flag.Func("clients", "numbers of clients, by comma (default 1,16,64)", func(s string) (err error) {
		o.clients, err = numbers(s)
		return err
	})
	flag.Parse()
	if *short {
		o.phase, o.warm, o.clients = o.phase/2, o.warm/2, []int{64}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// numbers of a list by comma, each at least 1.
func numbers(list string) (out []int, err error) {
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no number of clients", s)
		}
		out = append(out, n)
	}
	return out, nil
}

func run(ctx context.Context, o options) (err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "dsv-bench-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(o.dir) }()
	}
	brokers := 1
	if o.embedded {
		brokers = 0
	}
	step("starting five nodes, three keepers and the log")
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(o.dir, "c"), Bin: o.bin, Kafka: brokers, Env: []string{"DSV_LOG_LEVEL=warn"}})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := c.Close(); err == nil {
			err = cerr
		}
	}()
	b, err := newBench(ctx, o, c)
	if err != nil {
		return err
	}
	defer b.close()
	return b.run(ctx)
}

func step(format string, a ...any) { fmt.Fprintf(os.Stderr, "# "+format+"\n", a...) }
