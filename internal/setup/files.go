package setup

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/google/renameio/v2"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/node"
)

// How long certificates are valid. A certificate ends with its CA at the
// latest; delete tls.crt and tls.key of a folder and run init again for a new
// pair.
const (
	caValidity   = 10 * 365 * 24 * time.Hour
	certValidity = 365 * 24 * time.Hour
)

// files makes whatever is missing on disk.
func (r *run) files() error {
	ca, err := r.ca()
	if err != nil {
		return err
	}
	for _, path := range []string{r.lay.LogKey(), r.lay.GossipKey()} {
		if err := r.key(path); err != nil {
			return err
		}
	}
	for _, n := range r.t.Nodes {
		if err := r.node(ca, n); err != nil {
			return err
		}
	}
	for _, k := range r.t.Keepers {
		if err := r.identity(ca, r.lay.Keeper(k.ID), identity.RoleKeeper, string(k.ID), []string{k.Host}); err != nil {
			return err
		}
	}
	if err := r.broker(ca); err != nil {
		return err
	}
	return r.identity(ca, r.lay.Operator(), identity.RoleOperator, "operator", nil)
}

// ca makes or loads the authority. Its folder appears whole or not at all.
func (r *run) ca() (*identity.CA, error) {
	dir := r.lay.CA()
	if _, err := os.Stat(dir); err == nil {
		ca, err := identity.LoadCA(dir)
		if err != nil {
			return nil, conflict(dir, err.Error())
		}
		if ca.TrustDomain() != r.t.Cluster {
			return nil, conflict(dir, "is the authority of "+ca.TrustDomain()+", not of "+r.t.Cluster)
		}
		return ca, nil
	}
	ca, err := identity.NewCA(r.t.Cluster, caValidity)
	if err != nil {
		return nil, err
	}
	half := dir + ".part"
	if err := errors.Join(os.RemoveAll(half), os.Mkdir(half, 0o700)); err != nil {
		return nil, local(half, err)
	}
	if err := ca.Save(half); err != nil {
		return nil, err
	}
	if err := os.Rename(half, dir); err != nil {
		return nil, local(dir, err)
	}
	r.note(dir)
	return ca, nil
}

func (r *run) key(path string) error {
	if _, err := os.Stat(path); err == nil {
		key, err := identity.ReadKeyFile(path)
		key.Wipe()
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return local(path, err)
	}
	key := identity.NewKey()
	defer key.Wipe()
	if err := identity.WriteKeyFile(path, key); err != nil {
		return err
	}
	r.note(path)
	return nil
}

func (r *run) node(ca *identity.CA, n Node) error {
	dir := r.lay.Node(n.ID)
	hosts := append([]string{n.Host}, n.Names...)
	if err := r.identity(ca, dir, identity.RoleNode, string(n.ID), hosts); err != nil {
		return err
	}
	for _, from := range []string{r.lay.LogKey(), r.lay.GossipKey()} {
		if err := r.copyKey(from, filepath.Join(dir, filepath.Base(from))); err != nil {
			return err
		}
	}
	path := r.lay.NodeConfig(n.ID)
	if _, err := os.Stat(path); err == nil {
		return nil // the operator's own by now
	}
	var c node.Config // without defaults, so that the file holds what was decided
	r.t.configure(&c, r.t.ID, n)
	text, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	if _, err := node.ParseConfig(text, dir, nil); err != nil {
		return err // a node must start from it
	}
	head := "# Node " + string(n.ID) + " of " + r.t.Cluster + ". Every key is explained in docs/OPERATIONS.md.\n"
	if err := writeWhole(path, append([]byte(head), text...), 0o600); err != nil {
		return err
	}
	r.note(path)
	return nil
}

// copyKey gives a folder its copy of a shared key, and refuses another key
// that lies there.
func (r *run) copyKey(from, to string) error {
	key, err := identity.ReadKeyFile(from)
	if err != nil {
		return err
	}
	defer key.Wipe()
	if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
		if err := identity.WriteKeyFile(to, key); err != nil {
			return err
		}
		r.note(to)
		return nil
	}
	have, err := identity.ReadKeyFile(to)
	if err != nil {
		return err
	}
	defer have.Wipe()
	if !have.Equal(key) {
		return conflict(to, "is not the key in "+from+": delete the one that is wrong")
	}
	return nil
}

// identity makes certificate and key of a folder, both or none.
func (r *run) identity(ca *identity.CA, dir string, role identity.Role, name string, hosts []string) error {
	f := Identity(dir)
	_, noCert := os.Stat(f.Cert)
	_, noKey := os.Stat(f.Key)
	switch {
	case noCert == nil && noKey == nil:
		if _, err := identity.Load(identity.Files(f)); err != nil {
			return conflict(dir, err.Error()+"; delete "+certFile+" and "+keyFile+" to have new ones")
		}
		return nil
	case noCert == nil:
		return conflict(dir, "has "+certFile+" without "+keyFile+": delete it to have a new pair")
	}
	if noKey == nil { // a run before stopped between the two
		if err := os.Remove(f.Key); err != nil {
			return local(f.Key, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return local(dir, err)
	}
	cert, key, err := ca.Issue(role, name, hosts, certValidity)
	if err != nil {
		return err
	}
	defer clear(key)
	if err := identity.WriteFiles(identity.Files(f), ca.PEM(), cert, key); err != nil {
		return err
	}
	r.note(f.Cert)
	return nil
}

// broker makes the one identity that all brokers show, valid for the hosts of
// the broker list, and its form for Apache Kafka.
func (r *run) broker(ca *identity.CA) error {
	dir := r.lay.Broker()
	if err := r.identity(ca, dir, identity.RoleBroker, "broker", r.t.brokerHosts()); err != nil {
		return err
	}
	f := Identity(dir)
	key, err1 := os.ReadFile(f.Key)
	cert, err2 := os.ReadFile(f.Cert)
	if err := errors.Join(err1, err2); err != nil {
		return local(dir, err)
	}
	defer clear(key)
	store := slices.Concat(key, cert)
	defer clear(store)
	path := filepath.Join(dir, keystoreFile)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, store) {
		return nil
	}
	if err := writeWhole(path, store, 0o600); err != nil {
		return err
	}
	r.note(path)
	return nil
}

func (t *Topology) brokerHosts() []string {
	var hosts []string
	for _, b := range t.Brokers {
		hosts = append(hosts, hostOf(b))
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// writeWhole writes a file so that it appears whole or not at all.
func writeWhole(path string, data []byte, mode fs.FileMode) error {
	if err := renameio.WriteFile(path, data, mode, renameio.IgnoreUmask()); err != nil {
		return &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: "init", Path: path, Detail: "cannot be written", Err: err}
	}
	return nil
}
