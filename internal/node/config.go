package node

import (
	"time"

	"github.com/dsvault/dsv"
)

// Config is everything a node is told. Its YAML form is the file that
// `dsvnode serve --config FILE` reads (LoadConfig) and `dsvctl init` writes;
// the names are the yaml tags, nested as here. It holds paths, never secrets,
// so it may be printed. The zero Config does not start.
type Config struct {
	Cluster     ClusterConfig   `yaml:"cluster"`
	Node        SelfConfig      `yaml:"node"`
	API         APIConfig       `yaml:"api,omitempty"`
	Peer        PeerConfig      `yaml:"peer,omitempty"`
	Gossip      GossipConfig    `yaml:"gossip,omitempty"`
	Members     []Member        `yaml:"members"`
	Quorum      QuorumConfig    `yaml:"quorum"`
	Log         LogConfig       `yaml:"log"`
	Keepers     KeepersConfig   `yaml:"keepers"`
	Identity    Files           `yaml:"identity"`
	APIIdentity Files           `yaml:"api_identity,omitempty"`
	Keys        KeyFiles        `yaml:"keys"`
	Repair      RepairConfig    `yaml:"repair,omitempty"`
	Limits      LimitsConfig    `yaml:"limits,omitempty"`
	Telemetry   TelemetryConfig `yaml:"telemetry,omitempty"`
}

// ClusterConfig names the cluster.
type ClusterConfig struct {
	// Name of the cluster: 1 to 63 of [a-z0-9-]. Topics are NAME.log and NAME.control; the trust domain of the built-in CA is NAME.
	Name string `yaml:"name"`
	// ID of the cluster, made once by `dsvctl init`: 1 to 64 of [a-z0-9-]. A log with another id is refused.
	ID string `yaml:"id"`
}

// SelfConfig says which member this node is.
type SelfConfig struct {
	// ID of this node: one of members.
	ID dsv.NodeID `yaml:"id"`
	// Directory of the store; made if it is missing, 0700.
	DataDir string `yaml:"data_dir"`
}

// APIConfig is the public HTTP API.
type APIConfig struct {
	// Address to listen on. Default: every interface, the port of this node's members row.
	Listen string `yaml:"listen,omitempty"`
	// Address others reach the API at. Default: this node's members row.
	Advertise string `yaml:"advertise,omitempty"`
	// Largest value of a secret: 1 byte to 1 MiB.
	MaxValueBytes Size `yaml:"max_value_bytes,omitempty"`
	// Time in which every request is answered: 100ms to 9s, less than the 10s an undecided transaction lives.
	RequestTimeout time.Duration `yaml:"request_timeout,omitempty"`
	// Requests served at once; above that 429.
	MaxInFlight int `yaml:"max_in_flight,omitempty"`
}

// PeerConfig is the port between nodes.
type PeerConfig struct {
	// Address to listen on (TCP). Default: every interface, the port of this node's members row.
	Listen string `yaml:"listen,omitempty"`
	// Address the other nodes dial. Default: this node's members row.
	Advertise string `yaml:"advertise,omitempty"`
}

// GossipConfig is the gossip port.
type GossipConfig struct {
	// Address to listen on (UDP and TCP), an IP and a port. Default: 0.0.0.0 and the port of this node's members row.
	Listen string `yaml:"listen,omitempty"`
	// Address told to the others. Default: this node's members row.
	Advertise string `yaml:"advertise,omitempty"`
	// Addresses to join at. Default: the gossip addresses of all other members.
	Join []string `yaml:"join,omitempty"`
}

// Member is one node of the cluster, as all others see it.
type Member struct {
	// ID of the member: 1 to 64 of [a-z0-9-].
	ID dsv.NodeID `yaml:"id"`
	// host:port of its port between nodes.
	Peer string `yaml:"peer"`
	// host:port of its gossip port.
	Gossip string `yaml:"gossip"`
	// host:port of its HTTP API.
	API string `yaml:"api"`
}

// QuorumConfig is the arithmetic of the cluster. The zero value refuses to start.
type QuorumConfig struct {
	// Shards per version, one each at the n holders of a namespace. At most the number of members.
	N int `yaml:"n"`
	// Threshold: k shards rebuild a value, fewer tell nothing. At least 2.
	K int `yaml:"k"`
	// Write quorum: durable shards before a write counts. k < w <= n and k + w > n.
	W int `yaml:"w"`
}

// Quorum is q in the words of the root package.
func (q QuorumConfig) Quorum() dsv.Quorum { return dsv.Quorum{K: q.K, N: q.N, W: q.W} }

// LogConfig is the ordered log.
type LogConfig struct {
	// host:port of the Kafka brokers to start from.
	Brokers []string `yaml:"brokers"`
	// Partitions of NAME.log, fixed when the cluster is made: 1 to 1024.
	Partitions int `yaml:"partitions,omitempty"`
	// Speak TLS to the brokers, with this node's identity. Only tests and one-machine set-ups say false.
	TLS bool `yaml:"tls"`
}

// KeepersConfig says who keeps the shares of this node's root key.
type KeepersConfig struct {
	// Shares that rebuild the root key: at least 2, at most the number of targets.
	Threshold int `yaml:"threshold,omitempty"`
	// The keepers, each with one share.
	Targets []KeeperTarget `yaml:"targets"`
}

// KeeperTarget is one keeper.
type KeeperTarget struct {
	// ID of the keeper: 1 to 64 of [a-z0-9-], the name in its certificate.
	ID dsv.NodeID `yaml:"id"`
	// host:port of the keeper.
	Address string `yaml:"address"`
}

// Files are the three files of an identity. Relative paths count from the
// folder of the configuration file.
type Files struct {
	// Certificate of the CA, PEM.
	CA string `yaml:"ca,omitempty"`
	// Certificate, PEM, leaf first.
	Cert string `yaml:"cert,omitempty"`
	// Private key, PEM, mode 0600.
	Key string `yaml:"key,omitempty"`
}

// KeyFiles are the keys that all members share.
type KeyFiles struct {
	// File of the cluster's log key, mode 0600.
	Log string `yaml:"log"`
	// File of the cluster's gossip key, mode 0600.
	Gossip string `yaml:"gossip"`
}

// RepairConfig bounds repair.
type RepairConfig struct {
	// A read repairs when n - holes <= k + trigger_buffer: 0 to n - k.
	TriggerBuffer int `yaml:"trigger_buffer,omitempty"`
	// How long a read may wait for the repair it began; it goes on behind the answer.
	Deadline time.Duration `yaml:"deadline,omitempty"`
	// Versions per second that the scan for holes may re-split: 1 to 100000.
	ScanRate int `yaml:"scan_rate,omitempty"`
}

// LimitsConfig bounds what a node takes.
type LimitsConfig struct {
	// Shards staged and not yet decided, in all; above that 429. At least 4 MiB.
	StagedBytes Size `yaml:"staged_bytes,omitempty"`
	// Free space below which writes are refused with 507.
	FreeFloorBytes Size `yaml:"free_floor_bytes,omitempty"`
	// Size of the file that can be deleted when the disk is full; 0 for none.
	BallastBytes Size `yaml:"ballast_bytes,omitempty"`
}

// TelemetryConfig is what the node says about itself.
type TelemetryConfig struct {
	// debug, info, warn or error.
	LogLevel string `yaml:"log_level,omitempty"`
	// json or text.
	LogFormat string `yaml:"log_format,omitempty"`
}

// DefaultConfig holds every default there is. The quorum has none on purpose.
func DefaultConfig() Config {
	return Config{
		API:       APIConfig{MaxValueBytes: dsv.MaxValue, RequestTimeout: 4 * time.Second, MaxInFlight: 1024},
		Log:       LogConfig{Partitions: 12, TLS: true},
		Keepers:   KeepersConfig{Threshold: 2},
		Repair:    RepairConfig{TriggerBuffer: 1, Deadline: 50 * time.Millisecond, ScanRate: 50},
		Limits:    LimitsConfig{StagedBytes: 256 << 20, FreeFloorBytes: 256 << 20, BallastBytes: 64 << 20},
		Telemetry: TelemetryConfig{LogLevel: "info", LogFormat: "json"},
	}
}
