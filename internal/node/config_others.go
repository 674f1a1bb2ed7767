package node

import (
	"path/filepath"

	"github.com/dsvault/dsv/internal/identity"
)

// Where a process that is told nothing looks for its identity.
const (
	defaultCA   = "/etc/dsv/ca.crt"
	defaultCert = "/etc/dsv/tls.crt"
	defaultKey  = "/etc/dsv/tls.key"
)

// KeeperConfig is everything a keeper is told: by flags and environment, never
// by a file. It says nothing about nodes.
type KeeperConfig struct {
	// Address to listen on.
	Listen string
	// Identity of the keeper.
	Identity Files
	// Given, where set, is used in place of the files of Identity.
	Given *identity.Identity
	// What it says about itself.
	Telemetry TelemetryConfig
}

// DefaultKeeperConfig lets `dsvnode keeper` start without an argument.
func DefaultKeeperConfig() KeeperConfig {
	return KeeperConfig{
		Listen:    ":8410",
		Identity:  Files{CA: defaultCA, Cert: defaultCert, Key: defaultKey},
		Telemetry: DefaultConfig().Telemetry,
	}
}

// Check reports every fault at once, also those of the identity's files.
func (c KeeperConfig) Check() error {
	f := &Faults{}
	checkListen(f, "listen", c.Listen)
	if c.Given == nil {
		checkFiles(f, "identity", c.Identity)
		checkIdentity(f, "identity", c.Identity, identity.RoleKeeper, "")
	}
	checkTelemetry(f, c.Telemetry)
	return f.Err("keeper config", "")
}

// BrokerConfig is everything the embedded broker is told, by flags and
// environment.
type BrokerConfig struct {
	// Address to listen on.
	Listen string
	// Address that clients are told: one they can dial. Default: Listen.
	Advertise string
	// Directory of the log; made if it is missing, 0700.
	DataDir string
	// Memory keeps the log in memory only, without a directory; for development.
	Memory bool
	// Identity of the broker; without one (all three empty) it speaks plain TCP and must listen on loopback.
	TLS Files
	// Given, where set, is used in place of the files of TLS.
	Given *identity.Identity
	// What it says about itself.
	Telemetry TelemetryConfig
}

// DefaultBrokerConfig needs no more than a data directory. It listens on
// loopback.
func DefaultBrokerConfig() BrokerConfig {
	return BrokerConfig{
		Listen:    "127.0.0.1:9094",
		TLS:       Files{CA: defaultCA, Cert: defaultCert, Key: defaultKey},
		Telemetry: DefaultConfig().Telemetry,
	}
}

// Check fills in Advertise and reports every fault at once, also those of the
// TLS files.
func (c *BrokerConfig) Check() error {
	f := &Faults{}
	checkListen(f, "listen", c.Listen)
	if c.Advertise == "" {
		c.Advertise = c.Listen
	}
	if !f.Has("listen") {
		checkDial(f, "advertise", c.Advertise, nil)
	}
	if !c.Memory {
		required(f, "data_dir", c.DataDir)
	}
	switch {
	case c.Given != nil:
	case c.TLS == (Files{}):
		if !f.Has("listen") && !loopback(c.Listen) {
			f.Add("tls", "is missing: without certificates the broker listens on loopback only, not on %q", c.Listen)
		}
	default:
		checkFiles(f, "tls", c.TLS)
		checkIdentity(f, "tls", c.TLS, identity.RoleBroker, "")
	}
	if dir, err := filepath.Abs(c.DataDir); err == nil && c.DataDir != "" {
		c.DataDir = dir
	}
	checkTelemetry(f, c.Telemetry)
	return f.Err("broker config", "")
}
