package shard

import (
	"bytes"
	"errors"
	"testing"

	"github.com/dsvault/dsv"
)

// fuzzSealed is the same in every process: fuzz workers share the seeds of one.
func fuzzSealed(t testing.TB, q dsv.Quorum) (Binding, Sealed) {
	t.Helper()
	b, random := testBinding("FUZZ"), stream("fuzz")
	s, err := sealer{byteReader(random), twinSplit(random)}.seal(q, b, dsv.SecretOf([]byte("value")))
	if err != nil {
		t.Fatal(err)
	}
	return b, s
}

// FuzzParse: total, and what it accepts has exactly one encoding.
func FuzzParse(f *testing.F) {
	for _, q := range quorums {
		_, s := fuzzSealed(f, q)
		f.Add(s.Shards[0])
		f.Add(s.Shards[q.N-1])
	}
	f.Add([]byte{})
	f.Add(make([]byte, headerSize))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := Parse(in)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrMissing) {
				t.Fatalf("neither damaged nor missing: %v", err)
			}
			return
		}
		out := make([]byte, headerSize)
		putHeader(out, s.Set(), s.Index(), dsv.Quorum{K: s.Threshold(), N: s.Count()}, s.PaddedSize())
		copy(out[offKeyShare:], s.KeyShare())
		if !bytes.Equal(append(out, s.Fragment()...), in) {
			t.Fatal("a second encoding")
		}
	})
}

// FuzzCombine: whatever some holders answer, the value is right or there is none.
func FuzzCombine(f *testing.F) {
	q := quorums[1]
	b, s := fuzzSealed(f, q)
	f.Add(uint8(0b00111), uint8(0b00100), s.Shards[2])
	f.Add(uint8(0b11111), uint8(0b11000), s.Shards[0])
	f.Add(uint8(0b11100), uint8(0b00100), []byte{1})
	f.Fuzz(func(t *testing.T, present, lying uint8, lie []byte) {
		shards := make(map[int][]byte)
		honest := 0
		for r := range 8 {
			if present>>r&1 == 0 {
				continue
			}
			shards[r] = lie
			if r < q.N && lying>>r&1 == 0 {
				shards[r] = s.Shards[r]
			}
			if r < q.N && bytes.Equal(shards[r], s.Shards[r]) {
				honest++
			}
		}
		got, report, err := Combine(q, b, digestsOf(s), shards)
		switch {
		case honest >= q.K && (err != nil || string(got.Reveal()) != "value"):
			t.Fatalf("%d good shards: %v", honest, err)
		case honest < q.K && !errors.Is(err, ErrTooFew):
			t.Fatalf("%d good shards: %v", honest, err)
		case len(report.Good) != honest:
			t.Fatalf("%d good shards, report %+v", honest, report)
		}
	})
}

// FuzzOpen goes behind the digests: authentic metadata over any bytes that
// parse must not panic, and must not give a value.
func FuzzOpen(f *testing.F) {
	q := quorums[1]
	b, s := fuzzSealed(f, q)
	f.Add(s.Shards[0], s.Shards[3], s.Shards[4])
	f.Add(s.Shards[0], s.Shards[1], s.Shards[2])
	f.Fuzz(func(t *testing.T, one, two, three []byte) {
		digests, shards := digestsOf(s), make(map[int][]byte)
		same := true
		for _, in := range [][]byte{one, two, three} {
			p, err := Parse(in)
			if err != nil || p.Index() >= q.N {
				return
			}
			sum := Digest(in)
			shards[p.Index()], digests[p.Index()] = in, sum[:]
			same = same && bytes.Equal(in, s.Shards[p.Index()])
		}
		got, _, err := Combine(q, b, digests, shards)
		if err == nil && (!same || string(got.Reveal()) != "value") {
			t.Fatal("a value of forged shards")
		}
	})
}
