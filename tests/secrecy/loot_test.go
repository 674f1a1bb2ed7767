package secrecy

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/keeper"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/setup"
	"github.com/dsvault/dsv/internal/shard"
	"github.com/dsvault/dsv/internal/store"
)

// loot is what a thief has who took one node's disk and got its root key out of
// the keepers.
type loot struct {
	node     dsv.NodeID
	storeKey dsv.Secret
	rowKey   dsv.Secret
	rows     []store.Item
}

// rob stops a node, copies its store, opens the copy with the root key, and
// starts the node again.
func (h *house) rob(t *testing.T, i int) *loot {
	t.Helper()
	l := &loot{node: h.NodeID(i)}
	root := h.rootKey(t, i)
	defer root.Wipe()
	l.storeKey, l.rowKey = root.Derive("store"), root.Derive("shard rows")
	if err := h.Node(i).Stop(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copyStore(t, filepath.Join(h.DataDir(i), "store"), dir)
	if err := errors.Join(h.Node(i).Start(), h.WaitReady(t.Context(), i)); err != nil {
		t.Fatal(err)
	}
	s := must[*store.Badger](t)(store.OpenBadger(store.Options{Dir: dir, EncryptionKey: l.storeKey}))
	defer func() { _ = s.Close() }()
	tx := must[store.Txn](t)(s.Begin(store.ReadOnly))
	defer func() { _ = tx.Abort() }()
	for page := (store.Page{Limit: 256}); ; {
		items, more, err := tx.Scan(nil, page)
		if err != nil {
			t.Fatal(err)
		}
		l.rows = append(l.rows, items...)
		if !more {
			return l
		}
		page.After = items[len(items)-1].Key
	}
}

func copyStore(t *testing.T, from, to string) {
	t.Helper()
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(from)) {
		if e.Name() == "BALLAST" || e.Name() == "STORE.LOCK" {
			continue
		}
		b := must[[]byte](t)(os.ReadFile(filepath.Join(from, e.Name())))
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// rootKey collects a node's root key from the keepers, as the node does.
func (h *house) rootKey(t *testing.T, i int) *keeper.Root {
	t.Helper()
	own := must[*identity.Identity](t)(identity.Load(identity.Files(setup.Identity(h.Layout().Node(h.NodeID(i))))))
	check := must[keeper.Check](t)(keeper.ReadCheck(filepath.Join(h.DataDir(i), "root.check")))
	cfg := keeper.CustodianConfig{Cluster: h.clusterID(t), Node: h.NodeID(i), Threshold: 2, TLS: func(k dsv.NodeID) *tls.Config {
		return own.ClientTLS(identity.ID{TrustDomain: own.ID().TrustDomain, Role: identity.RoleKeeper, Name: string(k)})
	}}
	for _, k := range h.Topology().Keepers {
		cfg.Keepers = append(cfg.Keepers, keeper.Target{ID: k.ID, Addr: address(k.Host, k.Port)})
	}
	c := must[*keeper.Custodian](t)(keeper.New(cfg))
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	root, _, err := c.Obtain(ctx, keeper.ObtainOptions{Known: &check})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func (h *house) clusterID(t *testing.T) string {
	t.Helper()
	return must[setup.Topology](t)(setup.LoadTopology(h.Layout().Topology())).ID
}

// value of a row, nil where there is none.
func (l *loot) value(key []byte) []byte {
	i, ok := slices.BinarySearchFunc(l.rows, key, func(it store.Item, k []byte) int { return slices.Compare(it.Key, k) })
	if !ok {
		return nil
	}
	return l.rows[i].Value
}

// shard opens the shard that the node holds of a share set, as
// internal/replica seals it.
func (l *loot) shard(set dsv.ShareSet, n int) (shard.Shard, []byte, error) {
	row := l.value(set.AppendBinary([]byte("rs")))
	const salt = 16
	if len(row) < 1+salt {
		return shard.Shard{}, nil, errors.New("no row")
	}
	for rank := range n {
		info := append(set.AppendBinary(slices.Clone(row[1:1+salt])), byte(rank))
		key, err := hkdf.Expand(sha256.New, l.rowKey.Reveal(), string(info), 32)
		if err != nil {
			return shard.Shard{}, nil, err
		}
		b, err := newGCM(key).Open(nil, make([]byte, 12), row[1+salt:], append(info[salt:], l.node...))
		if err == nil {
			s, err := shard.Parse(b)
			return s, b, err
		}
	}
	return shard.Shard{}, nil, errors.New("the row does not open")
}

func newGCM(key []byte) cipher.AEAD {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		panic(err)
	}
	return g
}

// versionRow is what the node's metadata say of a version.
func (l *loot) versionRow(p dsv.Path, version uint64) (raw []byte, row *metapb.VersionRow) {
	want := append(append([]byte(p.NS.String()+"\x00"), p.Key.String()...), 0)
	for i := range 8 {
		want = append(want, byte(version>>(56-8*i)))
	}
	for _, it := range l.rows {
		if len(it.Key) > 4 && it.Key[0] == 'm' && it.Key[3] == 'v' && string(it.Key[4:]) == string(want) {
			row = new(metapb.VersionRow)
			if proto.Unmarshal(it.Value, row) == nil {
				return it.Value, row
			}
		}
	}
	return nil, nil
}

// logRecord is one record of the log, opened with the log key.
type logRecord struct {
	body []byte
	*metapb.Record
}

// readLog opens the whole log.
func (h *house) readLog(t *testing.T) []logRecord {
	t.Helper()
	top := must[setup.Topology](t)(setup.LoadTopology(h.Layout().Topology()))
	op := must[*identity.Identity](t)(identity.Load(identity.Files(setup.Identity(h.Layout().Operator()))))
	l := must[*commitlog.Log](t)(commitlog.Open(t.Context(), commitlog.Config{Brokers: top.Brokers, TLS: op.BrokerTLS(), Cluster: top.Cluster,
		ClusterID: top.ID, Partitions: top.Partitions, Key: must[dsv.Secret](t)(identity.ReadKeyFile(h.Layout().LogKey())), Incarnation: dsv.NewIncarnation()}))
	defer func() { _ = l.Close() }()
	left := map[dsv.Partition]int64{}
	for _, p := range l.Partitions() {
		if end := must[int64](t)(l.EndOffset(t.Context(), p)); end > 0 {
			left[p] = end
		}
	}
	if err := l.Start(nil); err != nil {
		t.Fatal(err)
	}
	var all []logRecord
	for len(left) > 0 {
		for _, r := range must[commitlog.Batch](t)(l.Poll(t.Context())).Records {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Void != "" {
				t.Errorf("a record that does not open: %s", r.Void)
				continue
			}
			all = append(all, logRecord{r.Body, must[*metapb.Record](t)(meta.Decode(r.Body))})
		}
	}
	return all
}
