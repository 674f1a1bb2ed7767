package secrecy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/shard"
)

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// stored is one version whose value the test knows.
type stored struct {
	path    dsv.Path
	version uint64
	group   string // of versions with the same value
	value   string
}

// The values of the test, by group. They are written in rounds, one of each in
// any order, so that nothing that goes with time goes with a group.
var pins = []struct{ group, value string }{
	{"pin A", "4711"},
	{"pin B", "0815"},
	{"longer, of the same bucket", "a passphrase of some length, 48 bytes of it here"},
	{"longest of the bucket", strings.Repeat("z", 60)},
}

// TestFewerThanKDisksTellNothing: a thief with the disks of k-1 nodes, their
// root keys, the whole log and its key cannot tell which of two PINs a secret
// holds, nor that two secrets hold the same, nor how long one is within its
// bucket, nor test a guess. With one disk more he reads them all.
func TestFewerThanKDisksTellNothing(t *testing.T) {
	h := theHouse(t)
	many, versions, other := h.storePins(t)
	loots := []*loot{h.rob(t, 0), h.rob(t, 1), h.rob(t, 2)}
	log := h.readLog(t)
	k := len(loots) // h's quorum is 5,3,4
	few := loots[:k-1]

	for what, all := range map[string][]stored{"secrets": many, "versions of one secret": versions} {
		groups := map[string][]fields{}
		for _, s := range all {
			groups[s.group] = append(groups[s.group], h.fieldsOf(t, few, log, s))
		}
		n := len(groups["pin A"][0])
		if n < 60 {
			t.Errorf("%s: only %d fields: the loot is not being read", what, n)
		}
		told := telling(groups)
		for _, name := range told {
			t.Errorf("%s: %s tells", what, name)
		}
		t.Logf("%s: %d versions, %d of %d fields and their bytes tell", what, len(all), len(told), n)
	}
	// A value of another bucket is told from these, by its size: the comparison sees.
	control := map[string][]fields{}
	for _, s := range append(many[:0:0], other...) {
		control[s.group] = append(control[s.group], h.fieldsOf(t, few, log, s))
	}
	for _, s := range many {
		if s.group == "pin A" {
			control[s.group] = append(control[s.group], h.fieldsOf(t, few, log, s))
		}
	}
	if got := telling(control); !slices.Contains(got, "n1 meta.padded_size") || !slices.Contains(got, "log op.padded_size") {
		t.Errorf("values of two buckets differ by %q only", got)
	}
	h.guessPins(t, few, log, many[0])
	h.noMarkInLoot(t, loots, log)
	for _, s := range slices.Concat(many, versions, other) {
		h.rebuild(t, loots, s)
	}
}

// storePins stores the PINs as many secrets, as versions of one secret, and
// values of another bucket.
func (h *house) storePins(t *testing.T) (many, versions, other []stored) {
	t.Helper()
	const each = 6
	one := rand.Text()
	put := func(key, group, value string) stored { // keys of one length, that have nothing to do with a group
		p := h.path(t, "pins", key)
		w := must[client.Written](t)(h.cl.Put(t.Context(), p, dsv.SecretOf([]byte(value)), nil))
		return stored{p, w.Version, group, value}
	}
	for range each {
		for _, j := range mrand.Perm(len(pins)) {
			x := pins[j]
			many = append(many, put(rand.Text(), x.group, x.value))
			versions = append(versions, put(one, x.group, x.value))
		}
		other = append(other, put(rand.Text(), "larger", strings.Repeat("y", 61)))
	}
	return many, versions, other
}

// fieldsOf is all that is to be had of one version from some disks and the log.
func (h *house) fieldsOf(t *testing.T, loots []*loot, log []logRecord, s stored) fields {
	t.Helper()
	f := fields{}
	var set dsv.ShareSet
	for _, l := range loots {
		raw, row := l.versionRow(s.path, s.version)
		if row == nil {
			t.Fatalf("%s knows no version %d of %s", l.node, s.version, s.path)
		}
		set = must[dsv.ShareSet](t)(dsv.ShareSetFromBytes(row.GetShareSet()))
		f.add(string(l.node)+" meta", raw)
		f.message(string(l.node)+" meta", row)
		part, plain, err := l.shard(set, 5)
		if err != nil {
			t.Fatalf("%s, %s version %d: %v", l.node, s.path, s.version, err)
		}
		f.add(string(l.node)+" shard row", l.value(set.AppendBinary([]byte("rs"))))
		f.add(string(l.node)+" shard", plain)
		f.add(string(l.node)+" key share", part.KeyShare())
		f.add(string(l.node)+" fragment", part.Fragment())
	}
	h.fieldsOfLog(t, f, log, set, s)
	return f
}

func (h *house) fieldsOfLog(t *testing.T, f fields, log []logRecord, set dsv.ShareSet, s stored) {
	t.Helper()
	tx := set.Tx.Bytes()
	for _, r := range log {
		switch {
		case bytes.Equal(r.GetPrepare().GetTxid(), tx):
			f.add("log PREPARE", r.body)
			for _, op := range r.GetPrepare().GetOps() {
				if op.GetKey() == s.path.Key.String() {
					f.message("log op", op)
				}
			}
			rest := proto.Clone(r.GetPrepare()).(*metapb.Prepare)
			rest.Ops = nil
			f.message("log PREPARE", rest)
		case bytes.Equal(r.GetCommit().GetTxid(), tx):
			f.add("log COMMIT", r.body)
		}
	}
	if f["log PREPARE"] == nil || f["log COMMIT"] == nil {
		t.Fatalf("the log has no transaction of %s version %d", s.path, s.version)
	}
}

// guessPins tries all PINs on one secret.
func (h *house) guessPins(t *testing.T, loots []*loot, log []logRecord, s stored) {
	t.Helper()
	w := windows{}
	for _, r := range log {
		w.add(r.body)
	}
	salts := map[string][]byte{"cluster id": []byte(h.clusterID(t)), "path": []byte(s.path.String()), "key": []byte(s.path.Key.String()),
		"log key": must[dsv.Secret](t)(identity.ReadKeyFile(h.Layout().LogKey())).Reveal(), "gossip key": must[dsv.Secret](t)(identity.ReadKeyFile(h.Layout().GossipKey())).Reveal()}
	for _, l := range loots {
		for _, it := range l.rows {
			if len(it.Value) < 4096 { // shards of the large values of other tests would only cost time
				w.add(it.Value)
			}
			w.add(it.Key)
		}
		_, row := l.versionRow(s.path, s.version)
		set := must[dsv.ShareSet](t)(dsv.ShareSetFromBytes(row.GetShareSet()))
		part, plain, err := l.shard(set, 5)
		if err != nil {
			t.Fatal(err)
		}
		w.add(plain)
		node := string(l.node)
		salts["share set"], salts["txid"], salts["nonce"] = set.Bytes(), set.Tx.Bytes(), row.GetShareSet()[10:26]
		salts[node+" store key"], salts[node+" row key"] = l.storeKey.Reveal(), l.rowKey.Reveal()
		salts[node+" key share"], salts[node+" row salt"] = part.KeyShare()[:32], l.value(set.AppendBinary([]byte("rs")))[1:17]
		for i, d := range row.GetDigests() {
			salts[fmt.Sprint("digest ", i)] = d
		}
	}
	for pin, how := range guess(w, salts) {
		t.Errorf("PIN %s fits: %s", pin, how)
	}
}

// noMarkInLoot: not even below all encryption is a value or a part of one; the
// names are, so the search finds what is there.
func (h *house) noMarkInLoot(t *testing.T, loots []*loot, log []logRecord) {
	t.Helper()
	p := h.path(t, "below", "V")
	must[client.Written](t)(h.cl.Create(t.Context(), p, h.secret("below all encryption"), nil))
	loots = append(slices.Clone(loots), h.rob(t, 3))
	names := 0
	for _, l := range loots {
		for _, it := range l.rows {
			if f := find(it.Value, []mark{h.value}) + find(it.Key, []mark{h.value}); f != "" {
				t.Errorf("%s, row %q: %s", l.node, it.Key[:4], f)
			}
			if find(it.Key, []mark{h.name}) != "" {
				names++
			}
			if len(it.Key) > 2 && string(it.Key[:2]) == "rs" {
				set, err := dsv.ShareSetFromBytes(it.Key[2:])
				if err != nil {
					t.Fatal(err)
				}
				if _, plain, err := l.shard(set, 5); err != nil || find(plain, []mark{h.value}) != "" {
					t.Errorf("%s, shard %s: %v, %s", l.node, set, err, find(plain, []mark{h.value}))
				}
			}
		}
	}
	for _, r := range log {
		if f := find(r.body, []mark{h.value}); f != "" {
			t.Errorf("log: %s", f)
		}
		if find(r.body, []mark{h.name}) != "" {
			names++
		}
	}
	if names < 100 {
		t.Errorf("only %d rows and records with a name: the loot is not being read", names)
	}
}

// rebuild: k disks give the value, k-1 of them do not.
func (h *house) rebuild(t *testing.T, loots []*loot, s stored) {
	t.Helper()
	shards := map[int][]byte{}
	var digests [][]byte
	bind := shard.Binding{ClusterID: h.clusterID(t), Path: s.path}
	q := dsv.Quorum{N: 5, K: 3, W: 4}
	for i, l := range loots {
		_, row := l.versionRow(s.path, s.version)
		bind.Set, digests = must[dsv.ShareSet](t)(dsv.ShareSetFromBytes(row.GetShareSet())), row.GetDigests()
		part, plain, err := l.shard(bind.Set, 5)
		if err != nil {
			t.Fatal(err)
		}
		shards[part.Index()] = plain
		v, _, err := shard.Combine(q, bind, digests, shards)
		switch {
		case i < len(loots)-1 && !errors.Is(err, shard.ErrTooFew):
			t.Errorf("%s: %d disks give %v", s.path, i+1, err)
		case i == len(loots)-1 && (err != nil || string(v.Reveal()) != s.value):
			t.Errorf("%s version %d: %d disks do not give the value: %v", s.path, s.version, i+1, err)
		}
	}
}
