package peer

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
)

func testPath(t testing.TB) dsv.Path {
	p, err := dsv.ParsePath("team-a/app", "KEY")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func testStage(t testing.TB) (replica.StageRequest, Proof) {
	p := testPath(t)
	q := replica.StageRequest{Tx: dsv.NewTxID(3, 77), NS: p.NS, Incarnation: dsv.NewIncarnation(), Ops: []replica.StageOp{
		{Op: 0, Kind: metapb.OpKind_CREATE, Key: p.Key, Shard: []byte("shard")},
		{Op: 1, Kind: metapb.OpKind_DELETE, Key: p.Key},
	}}
	return q, Proof{Token: dsv.SecretOf([]byte("dsv.a.b")), Verbs: auth.Create, Revision: 9}
}

// comparing looks into the types that hide their fields.
var comparing = cmp.Options{
	cmp.Comparer(func(a, b dsv.Namespace) bool { return a == b }),
	cmp.Comparer(func(a, b dsv.Key) bool { return a == b }),
	cmp.Comparer(func(a, b dsv.Secret) bool { return a.Equal(b) }),
}

func TestMessagesComeBackAsTheyWent(t *testing.T) {
	q, p := testStage(t)
	q2, p2, err := decodeStage(encodeStage(q, p))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(q, q2, comparing); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(p, p2, comparing); d != "" {
		t.Error(d)
	}
	f := replica.FetchRequest{Path: testPath(t), Set: dsv.ShareSet{Tx: q.Tx, Op: 5}, Probe: true}
	f2, _, err := decodeFetch(encodeFetch(f, Proof{Repair: true}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, f2, comparing); d != "" {
		t.Error(d)
	}
	a := replica.Answer{Store: dsv.NewStoreID(), Decided: -1, Staged: []dsv.TxID{q.Tx, dsv.NewTxID(1, 2)}, State: replica.ShardGood, Shard: []byte("x")}
	a2, err := decodeAnswer(encodeAnswer(a))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(a, a2); d != "" {
		t.Error(d)
	}
}

// A message that is cut or longer than it says is refused whole: half a stage
// must never be stored.
func TestCutMessagesAreRefused(t *testing.T) {
	q, p := testStage(t)
	whole := encodeStage(q, p)
	for n := range whole {
		if _, _, err := decodeStage(whole[:n]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(whole))
		}
	}
	if _, _, err := decodeStage(append(bytes.Clone(whole), 0)); err == nil {
		t.Fatal("a byte too many was accepted")
	}
}

func FuzzMessages(f *testing.F) {
	q, p := testStage(f)
	f.Add(encodeStage(q, p))
	f.Add(encodeFetch(replica.FetchRequest{Path: testPath(f)}, p))
	f.Add(encodeAnswer(replica.Answer{Staged: []dsv.TxID{q.Tx}}))
	f.Add(encodeRevoke(q.Tx, q.Incarnation))
	f.Fuzz(func(_ *testing.T, b []byte) { // no panic, no endless work
		_, _, _ = decodeStage(b)
		_, _, _ = decodeFetch(b)
		_, _ = decodeAnswer(b)
		_, _, _ = decodeRevoke(b)
		_, _ = decodeInfo(b)
	})
}
