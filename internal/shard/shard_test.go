package shard

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

var quorums = []dsv.Quorum{{K: 2, N: 3, W: 3}, {K: 3, N: 5, W: 4}, {K: 4, N: 7, W: 6}}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func seal(t testing.TB, q dsv.Quorum, b Binding, value []byte) Sealed {
	t.Helper()
	s, err := Seal(q, b, dsv.SecretOf(value))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func digestsOf(s Sealed) [][]byte {
	out := make([][]byte, len(s.Digests))
	for i := range out {
		out[i] = s.Digests[i][:]
	}
	return out
}

func pick(s Sealed, ranks ...int) map[int][]byte {
	out := make(map[int][]byte)
	for _, r := range ranks {
		out[r] = s.Shards[r]
	}
	return out
}

// subsets calls f with every subset of 0..n-1.
func subsets(n int, f func([]int)) {
	for mask := range 1 << n {
		var s []int
		for i := range n {
			if mask>>i&1 == 1 {
				s = append(s, i)
			}
		}
		f(s)
	}
}

func TestEverySubset(t *testing.T) {
	for _, q := range quorums {
		b := testBinding("SUBSETS")
		want := randomBytes(301)
		s := seal(t, q, b, bytes.Clone(want))
		subsets(q.N, func(ranks []int) {
			got, report, err := Combine(q, b, digestsOf(s), pick(s, ranks...))
			if len(ranks) < q.K {
				var few *TooFewError
				if !errors.As(err, &few) || !errors.Is(err, ErrTooFew) || few.Have != len(ranks) || few.Need != q.K {
					t.Fatalf("%v of %v: %v", ranks, q, err)
				}
				if got.Len() != 0 {
					t.Fatalf("%v of %v: a value of too few shards", ranks, q)
				}
				return
			}
			if err != nil || !bytes.Equal(got.Reveal(), want) {
				t.Fatalf("%v of %v: wrong value, %v", ranks, q, err)
			}
			if len(report.Bad) != 0 || !slices.Equal(report.Good, ranks) {
				t.Fatalf("%v of %v: report %+v", ranks, q, report)
			}
			if len(ranks) == q.K {
				twin, err := twinCombine(q.K, q.N, b, pick(s, ranks...))
				if err != nil || !bytes.Equal(twin, want) {
					t.Fatalf("%v of %v: the twin disagrees, %v", ranks, q, err)
				}
			}
		})
	}
}

func TestLargeQuorum(t *testing.T) {
	q := dsv.Quorum{K: 128, N: 255, W: 200}
	b := testBinding("LARGE")
	want := randomBytes(5000)
	s := seal(t, q, b, bytes.Clone(want))
	shards := make(map[int][]byte)
	for r := 1; r < q.N; r += 2 {
		shards[r] = s.Shards[r]
	}
	shards[0] = s.Shards[0]
	got, _, err := Combine(q, b, digestsOf(s), shards)
	if err != nil || !bytes.Equal(got.Reveal(), want) {
		t.Fatal("wrong value", err)
	}
}

func TestSizes(t *testing.T) {
	q := quorums[1]
	b := testBinding("SIZES")
	for _, n := range []int{0, 1, 59, 60, 61, 92, 93, 124, 125, 4092, 4093, 65536, dsv.MaxValue - 1, dsv.MaxValue} {
		want := randomBytes(n)
		s := seal(t, q, b, bytes.Clone(want))
		if s.PaddedSize != PaddedSize(n) || s.PaddedSize != twinBucket(n+4) {
			t.Fatalf("%d bytes: padded to %d", n, s.PaddedSize)
		}
		for _, ranks := range [][]int{{0, 1, 2}, {2, 3, 4}} {
			got, _, err := Combine(q, b, digestsOf(s), pick(s, ranks...))
			if err != nil || !bytes.Equal(got.Reveal(), want) {
				t.Fatalf("%d bytes of %v: %v", n, ranks, err)
			}
		}
		for r, e := range s.Shards {
			p, err := Parse(e)
			if err != nil || p.Set() != b.Set || p.Index() != r || p.Threshold() != q.K || p.Count() != q.N ||
				p.PaddedSize() != s.PaddedSize || len(e) != EncodedSize(s.PaddedSize, q.K) || len(e) > MaxEncoded {
				t.Fatalf("%d bytes, rank %d: %v %v", n, r, p, err)
			}
		}
	}
	if _, err := Seal(q, b, dsv.SecretOf(make([]byte, dsv.MaxValue+1))); dsv.KindOf(err) != dsv.KindTooLarge {
		t.Fatalf("a value over the limit: %v", err)
	}
}

func TestPaddedSize(t *testing.T) {
	var buckets []int
	for n := 0; n <= dsv.MaxValue; n++ {
		p := PaddedSize(n)
		if p < n+4 || p != twinBucket(n+4) {
			t.Fatalf("%d bytes are padded to %d", n, p)
		}
		if len(buckets) == 0 || buckets[len(buckets)-1] != p {
			buckets = append(buckets, p)
		}
	}
	want := []int{64, 96, 128, 192, 256, 384, 512, 768}
	if diff := cmp.Diff(want, buckets[:len(want)]); diff != "" {
		t.Fatal(diff)
	}
	if len(buckets) != 30 {
		t.Fatalf("%d buckets up to 1 MiB", len(buckets))
	}
}

// Only the bucket may be told by what others see: sizes of shards, padded size.
func TestSizeLeaksOnlyTheBucket(t *testing.T) {
	q := quorums[1]
	shape := func(n int) []int {
		s := seal(t, q, testBinding("LEAK"), make([]byte, n))
		out := []int{s.PaddedSize}
		for _, e := range s.Shards {
			out = append(out, len(e))
		}
		return out
	}
	for _, same := range [][]int{{0, 1, 30, 60}, {61, 92}, {253, 300, 380}} {
		want := shape(same[0])
		for _, n := range same[1:] {
			if diff := cmp.Diff(want, shape(n)); diff != "" {
				t.Fatalf("%d and %d bytes look different: %s", same[0], n, diff)
			}
		}
	}
}

func TestEveryDamagedByteIsRefused(t *testing.T) {
	q := quorums[1]
	b := testBinding("DAMAGE")
	want := []byte("correct horse battery staple")
	s := seal(t, q, b, bytes.Clone(want))
	for at := range s.Shards[1] {
		for _, bit := range []byte{1, 0x80, 0xFF} {
			bad := bytes.Clone(s.Shards[1])
			bad[at] ^= bit
			err := Check(bad, b.Set, 1, s.Digests[1][:])
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
				t.Fatalf("byte %d: %v", at, err)
			}
			shards := pick(s, 0, 2, 4)
			shards[1] = bad
			got, report, err := Combine(q, b, digestsOf(s), shards)
			if err != nil || !bytes.Equal(got.Reveal(), want) {
				t.Fatalf("byte %d: %v", at, err)
			}
			if len(report.Bad) != 1 || report.Bad[0].Rank != 1 || !slices.Equal(report.Good, []int{0, 2, 4}) {
				t.Fatalf("byte %d: report %+v", at, report)
			}
			delete(shards, 4)
			if _, _, err := Combine(q, b, digestsOf(s), shards); !errors.Is(err, ErrTooFew) {
				t.Fatalf("byte %d, too few: %v", at, err)
			}
		}
	}
	for _, bad := range [][]byte{s.Shards[1][:len(s.Shards[1])-1], append(bytes.Clone(s.Shards[1]), 0), s.Shards[1][:1]} {
		if err := Check(bad, b.Set, 1, s.Digests[1][:]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d bytes: %v", len(bad), err)
		}
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	q := quorums[1]
	b, other := testBinding("MINE"), testBinding("OTHER")
	s, foreign := seal(t, q, b, []byte("a")), seal(t, q, other, []byte("a"))
	otherOp := b
	otherOp.Set.Op++
	sibling := seal(t, q, otherOp, []byte("a"))
	damaged := bytes.Clone(s.Shards[1])
	damaged[len(damaged)-1] ^= 1
	for name, c := range map[string]struct {
		encoded []byte
		want    error
	}{
		"good":                {s.Shards[1], nil},
		"nil":                 {nil, ErrMissing},
		"empty":               {[]byte{}, ErrMissing},
		"another secret's":    {foreign.Shards[1], ErrForeign},
		"another operation's": {sibling.Shards[1], ErrForeign},
		"another rank's":      {s.Shards[2], ErrForeign},
		"damaged":             {damaged, ErrDamaged},
		"cut":                 {s.Shards[1][:40], ErrDamaged},
		"garbage":             {bytes.Repeat([]byte{1}, 200), ErrDamaged},
	} {
		err := Check(c.encoded, b.Set, 1, s.Digests[1][:])
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		for _, sentinel := range []error{ErrMissing, ErrForeign, ErrDamaged} {
			if errors.Is(err, sentinel) != (sentinel == c.want) {
				t.Errorf("%s: is %v: %v", name, sentinel, err)
			}
		}
	}
	if err := Check(s.Shards[1], b.Set, 1, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("no digest: %v", err)
	}
}

// Shards of two splits of one value, and of two values, never meet.
func TestSetsNeverMix(t *testing.T) {
	q := quorums[1]
	b := testBinding("MIX")
	second := b
	second.Set.Tx.Nonce[15] ^= 1
	one, two := seal(t, q, b, []byte("first")), seal(t, q, second, []byte("second"))
	for mask := range 1 << q.N {
		shards := make(map[int][]byte)
		mine := 0
		for r := range q.N {
			shards[r] = two.Shards[r]
			if mask>>r&1 == 1 {
				shards[r] = one.Shards[r]
				mine++
			}
		}
		got, report, err := Combine(q, b, digestsOf(one), shards)
		if len(report.Good) != mine || len(report.Bad) != q.N-mine {
			t.Fatalf("mask %b: report %+v", mask, report)
		}
		for _, bad := range report.Bad {
			if bad.Reason != Foreign {
				t.Fatalf("mask %b: %v", mask, bad)
			}
		}
		if mine < q.K {
			if !errors.Is(err, ErrTooFew) {
				t.Fatalf("mask %b: %v", mask, err)
			}
		} else if err != nil || string(got.Reveal()) != "first" {
			t.Fatalf("mask %b: %v", mask, err)
		}
	}
}

func TestForeignInCombine(t *testing.T) {
	q := quorums[1]
	b := testBinding("FOREIGN")
	s := seal(t, q, b, []byte("value"))
	shards := pick(s, 0, 1, 2)
	shards[3] = s.Shards[4]  // another rank's
	shards[9] = s.Shards[4]  // no such rank
	shards[-1] = s.Shards[4] // nor such
	shards[4] = nil          // silent: not a fault of the holder
	got, report, err := Combine(q, b, digestsOf(s), shards)
	if err != nil || string(got.Reveal()) != "value" {
		t.Fatal(err)
	}
	var ranks []int
	for _, bad := range report.Bad {
		if bad.Reason != Foreign {
			t.Errorf("%v", bad)
		}
		ranks = append(ranks, bad.Rank)
	}
	if diff := cmp.Diff([]int{-1, 3, 9}, ranks); diff != "" {
		t.Fatal(diff)
	}
	// the right shards under a quorum that is not theirs
	wrong := dsv.Quorum{K: 2, N: 5, W: 4}
	if _, report, err := Combine(wrong, b, digestsOf(s), pick(s, 0, 1, 2)); !errors.Is(err, ErrTooFew) || len(report.Bad) != 3 {
		t.Fatalf("another quorum: %v", err)
	}
}

// Whatever the value is bound to must be the same at both ends.
func TestBindingIsChecked(t *testing.T) {
	q := quorums[1]
	b := testBinding("BOUND")
	s := seal(t, q, b, []byte("value"))
	cluster, key, ns := b, b, b
	cluster.ClusterID = "cluster-2"
	key.Path, _ = dsv.ParsePath("team-a/app", "BOUND2")
	ns.Path, _ = dsv.ParsePath("team-a", "BOUND")
	for _, other := range []Binding{cluster, key, ns} {
		got, report, err := Combine(q, other, digestsOf(s), pick(s, 0, 1, 2))
		if !errors.Is(err, ErrCorrupt) || got.Len() != 0 || len(report.Bad) != 0 {
			t.Errorf("%v: %v", other, err)
		}
	}
	other := b
	other.Set.Tx.T0++
	if _, report, err := Combine(q, other, digestsOf(s), pick(s, 0, 1, 2)); !errors.Is(err, ErrTooFew) || len(report.Bad) != 3 {
		t.Errorf("share set: %v", err)
	}
	for name, empty := range map[string]Binding{
		"cluster": {Path: b.Path, Set: b.Set}, "path": {ClusterID: "c", Set: b.Set}, "set": {ClusterID: "c", Path: b.Path},
		"long": {ClusterID: strings.Repeat("c", 1<<16), Path: b.Path, Set: b.Set},
	} {
		if _, err := Seal(q, empty, dsv.Secret{}); dsv.KindOf(err) != dsv.KindInvalid {
			t.Errorf("seal without %s: %v", name, err)
		}
		if _, _, err := Combine(q, empty, digestsOf(s), nil); dsv.KindOf(err) != dsv.KindInvalid {
			t.Errorf("combine without %s: %v", name, err)
		}
	}
}

func TestBadArguments(t *testing.T) {
	b := testBinding("ARGS")
	for _, q := range []dsv.Quorum{{}, {K: 1, N: 3, W: 2}, {K: 3, N: 3, W: 3}, {K: 3, N: 256, W: 255}} {
		if _, err := Seal(q, b, dsv.Secret{}); err == nil {
			t.Errorf("seal with %+v", q)
		}
		if _, _, err := Combine(q, b, nil, nil); err == nil {
			t.Errorf("combine with %+v", q)
		}
	}
	q := quorums[1]
	if _, _, err := Combine(q, b, make([][]byte, 4), nil); dsv.KindOf(err) != dsv.KindInvalid {
		t.Errorf("four digests: %v", err)
	}
	if _, _, err := Combine(q, b, make([][]byte, 5), nil); dsv.KindOf(err) != dsv.KindInvalid {
		t.Errorf("empty digests: %v", err)
	}
}

// A digest that is right and key shares that are not: the tag must catch it.
func TestWrongKeyShareUnderARightDigest(t *testing.T) {
	q := quorums[1]
	b := testBinding("TAG")
	s := seal(t, q, b, []byte("value"))
	s.Shards[0][offKeyShare] ^= 1
	s.Digests[0] = Digest(s.Shards[0])
	if got, _, err := Combine(q, b, digestsOf(s), pick(s, 0, 1, 2)); !errors.Is(err, ErrCorrupt) || got.Len() != 0 {
		t.Fatal(err)
	}
	s.Shards[1][offKeyShare+keySize] = s.Shards[0][offKeyShare+keySize] // one x twice
	s.Digests[1] = Digest(s.Shards[1])
	if _, _, err := Combine(q, b, digestsOf(s), pick(s, 0, 1, 2)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestSealLeavesItsInputAlone(t *testing.T) {
	q := quorums[1]
	b := testBinding("INPUT")
	value := dsv.SecretOf([]byte("unchanged"))
	one, err := Seal(q, b, value)
	if err != nil || string(value.Reveal()) != "unchanged" {
		t.Fatal("value changed", err)
	}
	two, err := Seal(q, b, value)
	if err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(pick(one, 2, 3, 4))
	for r := range before {
		before[r] = bytes.Clone(before[r])
	}
	got, _, err := Combine(q, b, digestsOf(one), pick(one, 2, 3, 4))
	if err != nil {
		t.Fatal(err)
	}
	got.Wipe()
	if diff := cmp.Diff(before, pick(one, 2, 3, 4)); diff != "" {
		t.Fatal("Combine changed a shard")
	}
	for r := range one.Shards {
		if bytes.Equal(one.Shards[r][offKeyShare:], two.Shards[r][offKeyShare:]) {
			t.Fatal("two seals under one data key")
		}
		if bytes.Contains(one.Shards[r], []byte("unchanged")) {
			t.Fatal("plaintext in a shard")
		}
	}
}

func TestSealWipesTheDataKey(t *testing.T) {
	q := quorums[1]
	var key []byte
	var shares [][]byte
	s := sealer{rand.Reader, func(secret []byte, n, k int) ([][]byte, error) {
		key = secret
		var err error
		shares, err = twinSplit(stream("wipe"))(secret, n, k)
		return shares, err
	}}
	if _, err := s.seal(q, testBinding("WIPE"), dsv.SecretOf([]byte("v"))); err != nil {
		t.Fatal(err)
	}
	for _, b := range append(shares, key) {
		if !bytes.Equal(b, make([]byte, len(b))) {
			t.Fatal("key material is left in memory")
		}
	}
	failing := sealer{rand.Reader, func(secret []byte, _, _ int) ([][]byte, error) {
		key = secret
		return nil, errors.New("no")
	}}
	if _, err := failing.seal(q, testBinding("WIPE"), dsv.Secret{}); err == nil || !bytes.Equal(key, make([]byte, keySize)) {
		t.Fatal("key is left after a failure", err)
	}
}

// One byte of a share, over many splits of one value, is uniform: k-1 shards
// do not depend on it. Chi-square with 255 degrees, bound at p = 1e-6.
func TestKeySharesAreUniform(t *testing.T) {
	q := quorums[0]
	b := testBinding("UNIFORM")
	var counts [256]int
	const rounds = 500
	total := 0
	for range rounds {
		p, err := Parse(seal(t, q, b, nil).Shards[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, y := range p.KeyShare()[:keySize] {
			counts[y]++
			total++
		}
	}
	want := float64(total) / 256
	chi := 0.0
	for _, c := range counts {
		chi += (float64(c) - want) * (float64(c) - want) / want
	}
	if chi > 380 {
		t.Fatalf("chi-square %f over %d bytes", chi, total)
	}
}

func TestPrintsNoKeyShare(t *testing.T) {
	s := seal(t, quorums[1], testBinding("PRINT"), []byte("v"))
	p, err := Parse(s.Shards[0])
	if err != nil {
		t.Fatal(err)
	}
	share := fmt.Sprint(p.KeyShare())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(verb, p); strings.Contains(out, strings.Trim(share, "[]")) || !strings.Contains(out, "shard 0 of 5") {
			t.Fatalf("%s prints %q", verb, out)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		q := quorums[i%len(quorums)]
		b := testBinding(fmt.Sprint("AT-ONCE-", i))
		wg.Go(func() {
			for range 50 {
				want := randomBytes(200)
				s, err := Seal(q, b, dsv.SecretOf(bytes.Clone(want)))
				if err != nil {
					t.Error(err)
					return
				}
				last := make([]int, q.K)
				for j := range last {
					last[j] = q.N - 1 - j
				}
				if got, _, err := Combine(q, b, digestsOf(s), pick(s, last...)); err != nil || !bytes.Equal(got.Reveal(), want) {
					t.Error("wrong value", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What Seal cannot have made is not parsed, whatever its digest.
func TestParseRefuses(t *testing.T) {
	s := seal(t, quorums[1], testBinding("PARSE"), []byte("v"))
	for name, damage := range map[string]func(b []byte) []byte{
		"format":      func(b []byte) []byte { b[0] = 2; return b },
		"no set":      func(b []byte) []byte { clear(b[offSet:offRank]); return b },
		"rank n":      func(b []byte) []byte { b[offRank] = 5; return b },
		"k 1":         func(b []byte) []byte { b[offK] = 1; return b },
		"k n":         func(b []byte) []byte { b[offK] = 5; return b },
		"n 0":         func(b []byte) []byte { b[offN] = 0; return b },
		"no bucket":   func(b []byte) []byte { b[offPadded+3]++; return b },
		"size 0":      func(b []byte) []byte { clear(b[offPadded:offKeyShare]); return b },
		"size 4 GiB":  func(b []byte) []byte { b[offPadded] = 0xFF; return b },
		"the key":     func(b []byte) []byte { b[offKeyShare+keySize] = 0; return b }, // the share at x = 0
		"cut":         func(b []byte) []byte { return b[:len(b)-1] },
		"one more":    func(b []byte) []byte { return append(b, 0) },
		"only header": func(b []byte) []byte { return b[:headerSize] },
	} {
		if got, err := Parse(damage(bytes.Clone(s.Shards[0]))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := Parse(nil); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

func TestUnpad(t *testing.T) {
	for _, n := range []int{0, 60, 61, 92, 1000} {
		want := randomBytes(n)
		if got, ok := unpad(pad(want)); !ok || !bytes.Equal(got, want) || cap(got) != n {
			t.Errorf("%d bytes: %v", n, ok)
		}
	}
	for name, b := range map[string][]byte{
		"short":            make([]byte, 63),
		"longer than all":  append([]byte{0, 0, 0, 61}, make([]byte, 60)...),
		"a smaller bucket": append([]byte{0, 0, 0, 1}, make([]byte, 92)...),
		"huge":             append([]byte{255, 255, 255, 255}, make([]byte, 60)...),
	} {
		if got, ok := unpad(b); ok {
			t.Errorf("%s: %x", name, got)
		}
	}
}
