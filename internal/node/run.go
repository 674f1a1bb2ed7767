package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/keeper"
)

// gcPercent lets the heap of a node, which is small, grow to four times what
// lives before it is collected: collecting costs more than the memory is worth.
// GOGC overrides it.
const gcPercent = 300

// Serve runs a node until ctx ends or the node cannot go on.
func Serve(ctx context.Context, cfg Config, world World) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	n, err := New(cfg, world)
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	n.log.Info("listening", "api", n.cfg.API.Listen, "peer", n.cfg.Peer.Listen, "gossip", n.cfg.Gossip.Listen)
	select {
	case <-ctx.Done():
	case <-n.Failed():
	}
	if err := n.Close(); err != nil && n.Err() == nil {
		return err
	}
	return n.Err()
}

// NewKeeper makes a keeper that listens with TLS. persistDir is empty but for
// `dsvnode dev`: there a keeper's shares lie on disk.
func NewKeeper(cfg KeeperConfig, log *slog.Logger, persistDir string) (*keeper.Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	id, err := given(cfg.Given, cfg.Identity)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return keeper.NewServer(keeper.ServerConfig{Listener: l, TLS: id.ServerTLS(onlyNodes(id)), Caller: nodeCaller, Logger: log, InsecurePersistDir: persistDir})
}

// given is the identity that is given, or that of the files.
func given(id *identity.Identity, f Files) (*identity.Identity, error) {
	if id != nil {
		return id, nil
	}
	return identity.Load(identity.Files(f))
}

// onlyNodes lets nodes of the own trust domain in; which share is whose, their
// names decide.
func onlyNodes(own *identity.Identity) func(identity.ID) error {
	return func(id identity.ID) error {
		if id.Role != identity.RoleNode || id.TrustDomain != own.ID().TrustDomain {
			return fmt.Errorf("%s is no node", id)
		}
		return nil
	}
}

func nodeCaller(cs *tls.ConnectionState) (dsv.NodeID, error) {
	id, err := identity.PeerID(cs)
	return id.NodeID(), err
}

// RunKeeper runs a keeper until ctx ends.
func RunKeeper(ctx context.Context, cfg KeeperConfig) error {
	log := NewLogger(cfg.Telemetry, os.Stderr)
	k, err := NewKeeper(cfg, log, "")
	if err != nil {
		return err
	}
	if !k.Locked() {
		log.Warn("shares are not locked in memory: raise the limit of locked memory (ulimit -l)")
	}
	log.Info("keeper listening", "addr", cfg.Listen)
	return k.Run(ctx)
}

// StartBroker starts the embedded broker, with TLS where it has an identity.
func StartBroker(cfg BrokerConfig, log *slog.Logger) (*commitlog.Broker, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	bc := commitlog.BrokerConfig{Listen: cfg.Listen, Advertise: cfg.Advertise, DataDir: cfg.DataDir, Memory: cfg.Memory, Logger: log}
	if cfg.Given != nil || cfg.TLS != (Files{}) {
		id, err := given(cfg.Given, cfg.TLS)
		if err != nil {
			return nil, err
		}
		bc.TLS = id.ServerTLS(func(who identity.ID) error {
			if who.TrustDomain != id.ID().TrustDomain || who.Role != identity.RoleNode && who.Role != identity.RoleOperator {
				return fmt.Errorf("%s may not use the log", who)
			}
			return nil
		})
	}
	return commitlog.StartBroker(bc)
}

// RunBroker runs the embedded broker until ctx ends.
func RunBroker(ctx context.Context, cfg BrokerConfig) error {
	log := NewLogger(cfg.Telemetry, os.Stderr)
	b, err := StartBroker(cfg, log)
	if err != nil {
		return err
	}
	log.Info("broker listening", "addrs", b.Addrs())
	<-ctx.Done()
	return b.Close()
}
