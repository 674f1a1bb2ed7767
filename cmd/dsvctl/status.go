package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv/client"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the quorum, the nodes, the keepers and the log", Args: args(0, 0),
		Long: "Show the state of the cluster as one node sees it.\n\nExit codes: 0 healthy; 6 degraded or read-only; 7 unavailable, or all nodes asked\nare sealed; 2 no node answers.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.print(s, func(w io.Writer) { statusTable(w, s) }); err != nil {
				return err
			}
			switch s.State {
			case client.Healthy:
				return nil
			case client.Degraded, client.ReadOnly:
				return exitError(exitDegraded)
			}
			return exitError(exitUnavailable)
		},
	}
}

func statusTable(w io.Writer, s client.Status) {
	fmt.Fprintf(w, "%s  cluster %s  k=%d n=%d w=%d  reachable %d  margin %d (%s)\n",
		strings.ToUpper(s.State), s.Cluster, s.K, s.N, s.W, s.Reachable, s.Margin, marginText(s.Margin))
	for _, why := range s.Why {
		fmt.Fprintln(w, "  "+why)
	}
	for _, alarm := range s.Alarms {
		fmt.Fprintln(w, "  ALARM "+alarm)
	}
	logLine(w, s)
	fmt.Fprintln(w)
	row(w, "NODE", "STATE", "SEALED", "POSITION", "LAG", "SHARDS", "HOLES", "STAGED", "RTT", "LAST SEEN", "VERSION", "ADDR")
	for _, m := range s.Members {
		name := m.Node
		if name == s.Node {
			name += "*"
		}
		row(w, name, m.State, yesNo(m.Sealed), known(m.Position), known(m.Lag), known(m.Shards), known(m.Holes), known(m.Staged), rtt(m.RTT), when(m.LastSeen), m.Software, m.Addr)
	}
	fmt.Fprintln(w)
	row(w, "KEEPER", "REACHABLE", "HOLDS", "GENERATION", "LAST SEEN", "PROBLEM", "ADDR")
	for _, k := range s.Keepers {
		row(w, k.Keeper, yesNo(k.Reachable), yesNo(k.Holds), strconv.FormatUint(k.Generation, 10), when(k.LastSeen), first(k.Problem, "-"), k.Addr)
	}
}

// marginText is the margin in words.
func marginText(margin int) string {
	switch {
	case margin > 0:
		return fmt.Sprintf("can lose %d more", margin)
	case margin == 0:
		return "can lose none"
	}
	return fmt.Sprintf("%d too few to read", -margin)
}

// logLine sums up the log and this node's partitions.
func logLine(w io.Writer, s client.Status) {
	state := "not available"
	switch {
	case s.Log.Available && s.Log.Good:
		state = "good"
	case s.Log.Available:
		state = "available"
	}
	var behind int64
	pending := 0
	for _, p := range s.Partitions {
		pending += p.Pending
		if p.End < 0 {
			behind = -1
		} else if behind >= 0 {
			behind += max(0, p.End-1-p.Applied)
		}
	}
	fmt.Fprintf(w, "log %s  brokers %s  partitions %d  behind %s  pending %d  oldest wait %s  void %d\n",
		state, strings.Join(s.Log.Brokers, ","), len(s.Partitions), known(behind), pending, rtt(s.Log.OldestWait), s.Log.Void)
	for _, p := range s.Partitions {
		if p.Diverged != "" {
			fmt.Fprintf(w, "  partition %d stopped: %s\n", p.Partition, p.Diverged)
		}
	}
}

func rtt(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return strconv.FormatFloat(ms, 'f', 1, 64) + "ms"
}
