package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/setup"
)

// initFlags are what `dsvctl init` is told.
type initFlags struct {
	dir, file                       string
	cluster, nodes, keepers, quorum string
	brokers                         []string
	partitions                      int
	plaintext, offline              bool
}

func initCommand(a *app) *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use:   "init --dir DIR (--file TOPOLOGY.yaml | --cluster NAME --nodes … --keepers … --brokers …)",
		Short: "Make a cluster: certificates, keys, configuration files, topics, the first token",
		Long: "Make everything a cluster starts from in one directory, and its first records in Kafka. It can be run\n" +
			"again: it goes on where it stopped and changes nothing that is there; then --dir alone is enough.\n" +
			"The topology file is explained in docs/OPERATIONS.md.",
		Example: `  dsvctl init --dir prod --file topology.yaml
  dsvctl init --dir prod --cluster prod --nodes n1=10.0.0.1,n2=10.0.0.2,n3=10.0.0.3,n4=10.0.0.4,n5=10.0.0.5 \
      --keepers k1=10.0.1.1,k2=10.0.1.2,k3=10.0.1.3 --brokers kafka1.example.com:9094`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := f.topology()
			if err != nil {
				return faultsOnce(err)
			}
			return faultsOnce(setup.Run(cmd.Context(), setup.Options{Dir: f.dir, Topology: t, Offline: f.offline, Timeout: a.set.timeout}, a.stdout))
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.dir, "dir", "", "directory of the cluster; made if it is missing")
	fs.StringVar(&f.file, "file", "", "topology of the cluster (YAML), instead of the flags below")
	fs.StringVar(&f.cluster, "cluster", "", "name of the cluster: topics are NAME.log and NAME.control")
	fs.StringVar(&f.nodes, "nodes", "", "nodes: ID=HOST[:PORT],…; PORT is the API's (8400), the next two are peer and gossip")
	fs.StringVar(&f.keepers, "keepers", "", "keepers: ID=HOST[:PORT],…; PORT is 8410")
	fs.StringVar(&f.quorum, "quorum", "", "shards, threshold and write quorum as N,K,W (5,3,4 with five nodes or more)")
	fs.StringSliceVar(&f.brokers, "brokers", nil, "Kafka brokers: HOST:PORT,…")
	fs.IntVar(&f.partitions, "partitions", 0, "partitions of the log (12)")
	fs.BoolVar(&f.plaintext, "broker-plaintext", false, "speak plain TCP to the brokers")
	fs.BoolVar(&f.offline, "offline", false, "make files only and leave Kafka alone")
	return c
}

// topology is the one asked for, from the file or from flags; the zero one
// where only a directory is named.
func (f *initFlags) topology() (setup.Topology, error) {
	byFlags := f.cluster != "" || f.nodes != "" || f.keepers != "" || f.quorum != "" || len(f.brokers) > 0 || f.partitions != 0 || f.plaintext
	switch {
	case f.dir == "":
		return setup.Topology{}, usage("--dir is missing: it names the directory of the cluster")
	case f.file != "" && byFlags:
		return setup.Topology{}, usage("--file stands for the flags that describe the cluster: give one or the other")
	case f.file != "":
		return setup.LoadTopology(f.file)
	case !byFlags:
		return setup.Topology{}, nil
	}
	nodes, err1 := setup.ParseNodes(f.nodes)
	keepers, err2 := setup.ParseKeepers(f.keepers)
	quorum, err3 := setup.ParseQuorum(f.quorum)
	if err := errors.Join(err1, err2, err3); err != nil {
		return setup.Topology{}, usage(err.Error())
	}
	return setup.Topology{Cluster: f.cluster, Quorum: quorum, Partitions: f.partitions, Brokers: f.brokers,
		BrokerTLS: !f.plaintext, Nodes: nodes, Keepers: keepers}, nil
}

// faultsOnce leaves the list of faults to report, which tells them one by one.
func faultsOnce(err error) error {
	e, ok := errors.AsType[*dsv.Error](err)
	if !ok || len(e.Faults) == 0 {
		return err
	}
	short := *e
	short.Detail, _, _ = strings.Cut(e.Detail, ":\n")
	return &short
}
