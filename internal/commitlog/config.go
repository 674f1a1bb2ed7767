package commitlog

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"

	"github.com/dsvault/dsv"
)

// Control is the pseudo partition of the control topic's only partition. The
// partitions of the log topic are 0..P-1.
const Control = dsv.Partition(0xFFFF)

// MaxBody is the largest record body in bytes.
const MaxBody = 512 << 10

// MaxPartitions is the largest number of partitions of a cluster.
const MaxPartitions = 4096

// Config is what a Log needs. The zero value opens nothing.
type Config struct {
	Brokers     []string                                                          // host:port of some brokers
	TLS         *tls.Config                                                       // nil is plain text
	Dial        func(ctx context.Context, network, addr string) (net.Conn, error) // nil is net.Dialer; with TLS it is wrapped
	Cluster     string                                                            // prefix of the topic names
	ClusterID   string                                                            // bound into every record
	Partitions  int                                                               // of the log topic
	Key         dsv.Secret                                                        // cluster log key, 32 bytes
	Incarnation dsv.Incarnation                                                   // of this process
	Logger      *slog.Logger                                                      // nil is silent
}

// Validate tells every fault of c at once, as *dsv.Error joined.
func (c Config) Validate() error {
	errs := c.validateTopics()
	if c.ClusterID == "" || len(c.ClusterID) > 256 {
		errs = append(errs, dsv.Invalid("log.cluster_id", "must have 1 to 256 characters"))
	}
	if c.Key.Len() != 32 {
		errs = append(errs, dsv.Invalid("log.key", "must be 32 bytes"))
	}
	if c.Incarnation == (dsv.Incarnation{}) {
		errs = append(errs, dsv.Invalid("log.incarnation", "must not be zero"))
	}
	return errors.Join(errs...)
}

// validateTopics tells the faults that concern Init too.
func (c Config) validateTopics() (errs []error) {
	if len(c.Brokers) == 0 {
		errs = append(errs, dsv.Invalid("log.brokers", "must name at least one broker"))
	}
	for _, b := range c.Brokers {
		if _, port, err := net.SplitHostPort(b); err != nil || !isPort(port) {
			errs = append(errs, dsv.Invalid("log.brokers", strconv.Quote(b)+" is not host:port"))
		}
	}
	if !topicPrefix(c.Cluster) {
		errs = append(errs, dsv.Invalid("log.cluster", "must be 1 to 200 characters of [A-Za-z0-9._-]"))
	}
	if c.Partitions < 1 || c.Partitions > MaxPartitions {
		errs = append(errs, dsv.Invalid("log.partitions", "must be 1 to "+strconv.Itoa(MaxPartitions)))
	}
	return errs
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func topicPrefix(s string) bool {
	if s == "" || len(s) > 200 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

func (c Config) logTopic() string     { return c.Cluster + ".log" }
func (c Config) controlTopic() string { return c.Cluster + ".control" }

// topic is the Kafka topic and partition of p.
func (c Config) topic(p dsv.Partition) (string, int32, bool) {
	switch {
	case p == Control:
		return c.controlTopic(), 0, true
	case int(p) < c.Partitions:
		return c.logTopic(), int32(p), true
	}
	return "", 0, false
}

// partition is the inverse of topic.
func (c Config) partition(topic string, part int32) (dsv.Partition, bool) {
	switch {
	case topic == c.logTopic() && part >= 0 && int(part) < c.Partitions:
		return dsv.Partition(part), true
	case topic == c.controlTopic() && part == 0:
		return Control, true
	}
	return 0, false
}

// all are the partitions of the cluster, Control last.
func (c Config) all() []dsv.Partition {
	ps := make([]dsv.Partition, 0, c.Partitions+1)
	for p := range c.Partitions {
		ps = append(ps, dsv.Partition(p))
	}
	return append(ps, Control)
}
