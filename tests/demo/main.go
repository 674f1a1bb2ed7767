// Command demo is the main job, from nothing to the end, as real processes with
// real disks and real TLS: a log, three keepers and five nodes keep, version
// and serve the secrets of real .env files while nodes are killed, wiped and
// started again. It prints a line per step and exits 0 only if each one held.
//
//	make demo
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	kafka := flag.Int("kafka", 0, "brokers of a real Apache Kafka in place of the embedded broker")
	keep := flag.String("dir", "", "directory to use and to keep (default: a temporary one)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := run(ctx, *keep, *kafka); err != nil {
		fmt.Fprintln(os.Stderr, "demo FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, kafka int) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "dsv-demo-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
	}
	d := &demo{dir: dir, kafka: kafka}
	defer func() {
		if cerr := d.close(); err == nil {
			err = cerr
		}
	}()
	if err := d.build(ctx); err != nil {
		return err
	}
	d.began = time.Now()
	for i, s := range d.steps() {
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.name, err)
		}
		fmt.Printf("%5.1fs  %2d  %s%s\n", time.Since(d.began).Seconds(), i+1, s.name, d.takeNote())
	}
	fmt.Printf("%5.1fs      all %d steps held\n", time.Since(d.began).Seconds(), len(d.steps()))
	return nil
}
