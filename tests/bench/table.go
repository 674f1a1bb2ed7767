package main

import (
	"fmt"
	"os"
	"text/tabwriter"
	"time"
)

// print writes the table: figures, then ratios within this run.
func (b *bench) print(disk, log float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "measure\tclients\tper second\tp50 ms\tp99 ms\tfailed\tCPU µs/op nodes\tlog\tload\t")
	for _, name := range []string{"create", "update one hot key", "strict read", "local read", "https echo", "bare log"} {
		for _, n := range b.o.clients {
			r := b.rows[name][n]
			fmt.Fprintf(w, "%s\t%d\t%.0f\t%.2f\t%.2f\t%d\t%.0f\t%.0f\t%.0f\t\n", name, n, r.perSec, ms(r.p50), ms(r.p99), r.failed,
				perOp(r, "nodes"), perOp(r, "log"), perOp(r, "load"))
		}
	}
	_ = w.Flush()
	fmt.Println()
	w = tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ratio in this run\tclients\tratio\tto reach\t")
	for _, n := range b.o.clients {
		create := b.rows["create"][n].perSec
		b.ratio(w, "create / bare log", n, create/b.rows["bare log"][n].perSec, goal(n, 0.35))
		b.ratio(w, "strict read / echo", n, b.rows["strict read"][n].perSec/b.rows["https echo"][n].perSec, goal(n, 0.2))
		b.ratio(w, "hot update / create", n, b.rows["update one hot key"][n].perSec/create, goal(n, 0.5))
	}
	_ = w.Flush()
	if one, read := b.rows["create"][1], b.rows["strict read"][1]; one.ops > 0 && read.ops > 0 {
		fmt.Printf("\none client: create p50 %.2f ms (to reach: under 6), strict read p50 %.2f ms (to reach: under 0.6)\n", ms(one.p50), ms(read.p50))
	}
	fmt.Printf("\nbytes per version: %.0f on the five disks together (preallocated logs included), %.0f in the log\n", disk, log)
	fmt.Printf("resident memory of an idle node (largest of five): %.0f MB (to reach: under 120)\n", float64(b.idle)/1e6)
}

func (b *bench) ratio(w *tabwriter.Writer, name string, clients int, v float64, goal string) {
	fmt.Fprintf(w, "%s\t%d\t%.2f\t%s\t\n", name, clients, v, goal)
}

// goal is only set for 64 clients.
func goal(clients int, v float64) string {
	if clients != 64 {
		return ""
	}
	return fmt.Sprintf(">= %.2f", v)
}

func perOp(r result, kind string) float64 {
	if r.ops == 0 {
		return 0
	}
	return float64(r.cpu[kind]/time.Microsecond) / float64(r.ops)
}
