package dev

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/node"
	"github.com/dsvault/dsv/internal/setup"
)

// memory is what a cluster that writes no file has in place of its directory:
// authority, keys and the operator's token, and what each node would have on
// disk.
type memory struct {
	ca                *identity.CA
	logKey, gossipKey dsv.Secret
	token             dsv.Secret
	disks             map[dsv.NodeID]*node.Memory
}

// validity of the certificates of a cluster in memory.
const validity = 365 * 24 * time.Hour

// newMemory makes keys and authority for t, and gives t an id.
func newMemory(t *setup.Topology) (*memory, error) {
	var id [16]byte
	_, _ = rand.Read(id[:])
	t.ID = hex.EncodeToString(id[:])
	if err := t.Check(); err != nil {
		return nil, err
	}
	ca, err := identity.NewCA(t.Cluster, validity)
	if err != nil {
		return nil, err
	}
	m := &memory{ca: ca, logKey: identity.NewKey(), gossipKey: identity.NewKey(), disks: map[dsv.NodeID]*node.Memory{}}
	for _, n := range t.Nodes {
		m.disks[n.ID] = new(node.Memory)
	}
	return m, nil
}

// issue makes an identity that is good for the hosts.
func (m *memory) issue(role identity.Role, name string, hosts ...string) (*identity.Identity, error) {
	cert, key, err := m.ca.Issue(role, name, hosts, validity)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return identity.FromPEM(m.ca.PEM(), cert, key)
}

// initLog makes the first records of the log; the token stays in m.
func (m *memory) initLog(ctx context.Context, o setup.LogOptions) error {
	o.Key = m.logKey
	if o.Topology.BrokerTLS {
		var err error
		if o.Identity, err = m.issue(identity.RoleOperator, "operator"); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, setup.DefaultTimeout)
	defer cancel()
	var err error
	m.token, err = setup.InitLog(ctx, o)
	return err
}

// node is the configuration and the world of a node.
func (m *memory) node(t *setup.Topology, id dsv.NodeID) (node.Config, node.World, error) {
	cfg, err := t.NodeConfig(id)
	if err != nil {
		return node.Config{}, node.World{}, err
	}
	at := slices.IndexFunc(t.Nodes, func(n setup.Node) bool { return n.ID == id })
	own, err := m.issue(identity.RoleNode, string(id), append([]string{t.Nodes[at].Host}, t.Nodes[at].Names...)...)
	return cfg, node.World{Identity: own, LogKey: clone(m.logKey), GossipKey: clone(m.gossipKey), Memory: m.disks[id]}, err
}

func clone(s dsv.Secret) dsv.Secret { return dsv.SecretOf(bytes.Clone(s.Reveal())) }

// close drops what the nodes had.
func (m *memory) close() error {
	var errs []error
	for _, d := range m.disks {
		errs = append(errs, d.Close())
	}
	m.logKey.Wipe()
	m.gossipKey.Wipe()
	m.token.Wipe()
	return errors.Join(errs...)
}
