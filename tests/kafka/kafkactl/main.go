// Kafkactl starts and stops an Apache Kafka for tests on this machine.
//
//	kafkactl up [--brokers 3] [--port 29000] [--tls DIR] [--heap 384m] [--dir DIR] [--libs DIR]
//	kafkactl down | status | env [--dir DIR]
//	kafkactl kill|pause|resume|restart [--dir DIR] BROKER...
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/dsvault/dsv/tests/kafka"
)

const usage = `kafkactl up [--brokers N] [--port BASE] [--tls DIR] [--heap SIZE] [--dir DIR] [--libs DIR]
kafkactl down | status | env [--dir DIR]
kafkactl kill|pause|resume|restart [--dir DIR] N...
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%s", usage)
	}
	var o kafka.Options
	fs := flag.NewFlagSet("kafkactl", flag.ContinueOnError)
	fs.StringVar(&o.Dir, "dir", "", "folder of the cluster")
	fs.StringVar(&o.Libs, "libs", "", "folder of the jars")
	fs.IntVar(&o.Brokers, "brokers", 1, "number of brokers")
	fs.IntVar(&o.BasePort, "port", 0, "base of the ports, 0 for free ones")
	fs.StringVar(&o.TLSDir, "tls", "", "folder with ca, certificate and key: also listen with TLS")
	fs.StringVar(&o.Heap, "heap", "384m", "heap of each broker")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "up" {
		return up(ctx, o, out)
	}
	dir := o.Dir
	if dir == "" {
		var err error
		if dir, err = kafka.DefaultDir(); err != nil {
			return err
		}
	}
	c, err := kafka.Load(dir)
	if err != nil {
		return err
	}
	return command(ctx, c, args[0], fs.Args(), out)
}

func up(ctx context.Context, o kafka.Options, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c, err := kafka.Start(ctx, o)
	if err != nil {
		return err
	}
	exports(c, out)
	return nil
}

func exports(c *kafka.Cluster, out io.Writer) {
	fmt.Fprintf(out, "export DSV_TEST_KAFKA=%s\n", strings.Join(c.Brokers(), ","))
	if tls := c.TLSBrokers(); tls != nil {
		fmt.Fprintf(out, "export DSV_TEST_KAFKA_TLS=%s\n", strings.Join(tls, ","))
	}
	fmt.Fprintf(out, "export DSV_TEST_KAFKA_DIR=%s\n", c.Dir())
}

func command(ctx context.Context, c *kafka.Cluster, verb string, args []string, out io.Writer) error {
	switch verb {
	case "down":
		return c.Stop()
	case "env":
		exports(c, out)
		return nil
	case "status":
		for i, addr := range c.Brokers() {
			fmt.Fprintf(out, "broker %d %s running=%v\n", i+1, addr, c.Running(i+1))
		}
		return nil
	}
	do := map[string]func(int) error{
		"kill": c.Kill, "pause": c.Pause, "resume": c.Resume,
		"restart": func(i int) error { return c.Restart(ctx, i) },
	}[verb]
	if do == nil || len(args) == 0 {
		return fmt.Errorf("%s", usage)
	}
	for _, a := range args {
		i, err := strconv.Atoi(a)
		if err != nil {
			return fmt.Errorf("%q is no broker number", a)
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}
