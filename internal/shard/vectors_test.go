package shard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew, from the twin")

// vector is one known answer: everything that goes in, every byte that comes out.
type vector struct {
	Name      string   `json:"name"`
	K         int      `json:"k"`
	N         int      `json:"n"`
	W         int      `json:"w"`
	ClusterID string   `json:"cluster_id"`
	Namespace string   `json:"namespace"`
	Key       string   `json:"key"`
	Set       string   `json:"share_set"`
	Value     string   `json:"value"`
	Seed      string   `json:"seed"`     // of the stream: data key, then polynomials; "" = drawn by the library
	DataKey   string   `json:"data_key"` // "" = not known
	Shards    []string `json:"shards"`
	Digests   []string `json:"digests"`
}

func (v vector) decode(t *testing.T) (dsv.Quorum, Binding, []byte, map[int][]byte, [][]byte) {
	t.Helper()
	path, err := dsv.ParsePath(v.Namespace, v.Key)
	if err != nil {
		t.Fatal(err)
	}
	set, err := dsv.ShareSetFromBytes(unhex(t, v.Set))
	if err != nil {
		t.Fatal(err)
	}
	shards := make(map[int][]byte)
	var digests [][]byte
	for i := range v.Shards {
		shards[i] = unhex(t, v.Shards[i])
		digests = append(digests, unhex(t, v.Digests[i]))
	}
	return dsv.Quorum{K: v.K, N: v.N, W: v.W}, Binding{v.ClusterID, path, set}, unhex(t, v.Value), shards, digests
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	seeded := 0
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			q, b, value, shards, digests := v.decode(t)
			subsets(q.N, func(ranks []int) {
				if len(ranks) != q.K {
					return
				}
				some := make(map[int][]byte)
				for _, r := range ranks {
					some[r] = shards[r]
				}
				got, _, err := Combine(q, b, digests, some)
				if err != nil || !bytes.Equal(got.Reveal(), value) {
					t.Fatalf("ranks %v: %v", ranks, err)
				}
			})
			if v.Seed == "" {
				return
			}
			random := stream(v.Seed)
			got, err := sealer{byteReader(random), twinSplit(random)}.seal(q, b, dsv.SecretOf(value))
			if err != nil {
				t.Fatal(err)
			}
			for r := range got.Shards {
				if diff := cmp.Diff(shards[r], got.Shards[r]); diff != "" {
					t.Fatalf("rank %d: %s", r, diff)
				}
				if diff := cmp.Diff(digests[r], got.Digests[r][:]); diff != "" {
					t.Fatalf("digest %d: %s", r, diff)
				}
			}
		})
		if v.Seed != "" {
			seeded++
		}
	}
	if seeded < 4 || len(vectors) <= seeded {
		t.Fatalf("%d vectors, %d of them seeded", len(vectors), seeded)
	}
}

// writeVectors makes the seeded vectors with the twin and one with the library.
func writeVectors(t *testing.T) {
	var out []vector
	long := make([]byte, 1000)
	for i := range long {
		long[i] = byte(i * 7)
	}
	for i, value := range [][]byte{nil, []byte("p@ss"), bytes.Repeat([]byte{'x'}, 60), bytes.Repeat([]byte{'x'}, 61), long, []byte("drawn by the library")} {
		q := quorums[i%len(quorums)]
		name := []string{"empty", "short", "full bucket", "one over", "long", "library"}[i]
		b := testBinding("V" + name[:1])
		v := vector{Name: name, K: q.K, N: q.N, W: q.W, ClusterID: b.ClusterID, Namespace: b.Path.NS.String(), Key: b.Path.Key.String(),
			Set: hex.EncodeToString(b.Set.Bytes()), Value: hex.EncodeToString(value)}
		var shards [][]byte
		if name == "library" {
			shards = seal(t, q, b, value).Shards
		} else {
			v.Seed = "vector " + name
			random := stream(v.Seed)
			key := make([]byte, 32)
			_, _ = byteReader(random).Read(key)
			v.DataKey = hex.EncodeToString(key)
			shards = twinSeal(q.K, q.N, b, value, key, twinSplit(random))
		}
		for _, s := range shards {
			sum := Digest(s)
			v.Shards = append(v.Shards, hex.EncodeToString(s))
			v.Digests = append(v.Digests, hex.EncodeToString(sum[:]))
		}
		out = append(out, v)
	}
	text, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("testdata/vectors.json", append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
