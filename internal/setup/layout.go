package setup

import (
	"path/filepath"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/node"
)

// Names of files inside the folders of a cluster's directory.
const (
	topologyFile  = "cluster.yaml"
	caDir         = "ca"
	keysDir       = "keys"
	caFile        = "ca.crt"
	certFile      = "tls.crt"
	keyFile       = "tls.key"
	logKeyFile    = "log.key"
	gossipKeyFile = "gossip.key"
	configFile    = "dsv.yaml"
	keystoreFile  = "keystore.pem"
	tokenFile     = "operator.token"
)

// Layout tells where things lie in the directory of a cluster.
type Layout struct{ Dir string }

// Topology is the path of the topology as it is in force.
func (l Layout) Topology() string { return filepath.Join(l.Dir, topologyFile) }

// CA is the folder of the certificate authority.
func (l Layout) CA() string { return filepath.Join(l.Dir, caDir) }

// CACert is the certificate that clients trust.
func (l Layout) CACert() string { return filepath.Join(l.Dir, caDir, caFile) }

// LogKey is the file of the cluster's log key.
func (l Layout) LogKey() string { return filepath.Join(l.Dir, keysDir, logKeyFile) }

// GossipKey is the file of the cluster's gossip key.
func (l Layout) GossipKey() string { return filepath.Join(l.Dir, keysDir, gossipKeyFile) }

// Node is the folder of a node.
func (l Layout) Node(id dsv.NodeID) string { return filepath.Join(l.Dir, "nodes", string(id)) }

// NodeConfig is the configuration file of a node.
func (l Layout) NodeConfig(id dsv.NodeID) string { return filepath.Join(l.Node(id), configFile) }

// Keeper is the folder of a keeper.
func (l Layout) Keeper(id dsv.NodeID) string { return filepath.Join(l.Dir, "keepers", string(id)) }

// Broker is the folder of the brokers' identity.
func (l Layout) Broker() string { return filepath.Join(l.Dir, "broker") }

// Operator is the folder of the operator's identity.
func (l Layout) Operator() string { return filepath.Join(l.Dir, "operator") }

// OperatorToken is the file of the first token's text.
func (l Layout) OperatorToken() string { return filepath.Join(l.Dir, tokenFile) }

// Identity names the three files of an identity in one of the folders above.
func Identity(dir string) node.Files {
	return node.Files{CA: filepath.Join(dir, caFile), Cert: filepath.Join(dir, certFile), Key: filepath.Join(dir, keyFile)}
}
