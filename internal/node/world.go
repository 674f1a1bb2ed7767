package node

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/gossip"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/store"
)

// World is what a node takes from outside: network, disk and logger. The zero
// World is the real ones with TLS everywhere. Time is package time's, so a node
// runs inside a testing/synctest bubble.
type World struct {
	Logger *slog.Logger
	// Listen opens the listeners of the API and of the port between nodes; nil
	// is net.Listen.
	Listen func(network, addr string) (net.Listener, error)
	// Dial reaches nodes and keepers; nil is net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// DialLog reaches the brokers; nil is net.Dialer.
	DialLog func(ctx context.Context, network, addr string) (net.Conn, error)
	// Gossip is the network of memberlist; nil is UDP and TCP.
	Gossip *gossip.Memory
	// OpenStore opens the node's store; nil is Badger in the data directory.
	OpenStore func(dir string, key dsv.Secret, c Config, log *slog.Logger) (OpenedStore, error)
	// Insecure leaves out TLS between nodes and to keepers, for simulation over
	// a network in memory; the API then has no listener either.
	Insecure bool
	// Keys, where set, are used instead of the files of Config.Keys.
	LogKey, GossipKey dsv.Secret
	// Identity, where set, is used instead of the files of Config.Identity and
	// Config.APIIdentity.
	Identity *identity.Identity
	// Memory, where set, is used instead of the data directory: the node then
	// writes no file.
	Memory *Memory
	// PollKeepers is how often keepers are asked; 0 is the keeper's default.
	PollKeepers time.Duration
}

// OpenedStore is a store with what is known of its last life.
type OpenedStore struct {
	store.Store
	Clean bool // closed cleanly, or empty
}

func (w World) withDefaults(c Config) World {
	if w.Logger == nil {
		w.Logger = NewLogger(c.Telemetry, os.Stderr)
	}
	if w.Listen == nil {
		w.Listen = net.Listen
	}
	var d net.Dialer
	if w.Dial == nil {
		w.Dial = d.DialContext
	}
	switch {
	case w.OpenStore != nil:
	case w.Memory != nil:
		w.OpenStore = w.Memory.open
	default:
		w.OpenStore = openBadger
	}
	return w
}

// NewLogger is the logger a telemetry section asks for.
func NewLogger(t TelemetryConfig, out io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(t.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if t.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(out, opts))
	}
	return slog.New(slog.NewJSONHandler(out, opts))
}

func openBadger(dir string, key dsv.Secret, c Config, log *slog.Logger) (OpenedStore, error) {
	b, err := store.OpenBadger(store.Options{
		Dir: dir, EncryptionKey: key, FreeFloor: int64(c.Limits.FreeFloorBytes), Ballast: int64(c.Limits.BallastBytes), Logger: log,
	})
	if err != nil {
		return OpenedStore{}, err
	}
	return OpenedStore{Store: b, Clean: b.WasClean() || b.WasEmpty()}, nil
}

// loadIdentity reads the node's certificate, unless it is given; nil with Insecure.
func (w World) loadIdentity(f Files) (*identity.Identity, error) {
	if w.Insecure || w.Identity != nil {
		return w.Identity, nil
	}
	return identity.Load(identity.Files{CA: f.CA, Cert: f.Cert, Key: f.Key})
}

func (w World) key(given dsv.Secret, path string) (dsv.Secret, error) {
	if given.Len() > 0 {
		return given, nil
	}
	return identity.ReadKeyFile(path)
}

// Software names this build.
func Software() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "dsv " + s.Value[:12]
			}
		}
		if v := info.Main.Version; v != "" && v != "(devel)" {
			return "dsv " + v
		}
	}
	return "dsv devel"
}
