package store

import (
	"bytes"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func FuzzEvents(f *testing.F) {
	f.Add([]byte("a"), []byte("v"), []byte("b"), []byte{1, 0, 1, 'a', 0})
	f.Add([]byte{}, []byte{}, []byte{0xff}, []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, k1, v, k2, raw []byte) {
		rows := []row{{key: userKey(nil, k1), value: v}, {key: userKey(nil, k2), del: true}}
		all := [][]byte{nil}
		events, err := decodeEvents(encodeEvents(all, rows), 7, all)
		must(t, err)
		want := []Event{{Key: k1, Value: v, Revision: 7}, {Key: k2, Deleted: true, Revision: 7}}
		if d := cmp.Diff(want, events, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
		_, _ = decodeEvents(raw, 1, all) // anything may be on a disk
	})
}

func FuzzRedo(f *testing.F) {
	f.Add([]byte("k"), []byte("v"), uint64(9), byte(3), []byte{1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 3, 1, 'k', 0})
	f.Fuzz(func(t *testing.T, k, v []byte, tick uint64, slot byte, raw []byte) {
		b := &batch{tick: tick, rows: []row{{key: k, value: v, slot: slot}, {key: v, del: true, slot: slot}}}
		got, err := decodeBatch(encodeBatch(b))
		must(t, err)
		if d := cmp.Diff(b, got, cmp.AllowUnexported(batch{}, row{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
		if b, err := decodeBatch(raw); err == nil && b == nil {
			t.Fatal("no batch and no error")
		}
	})
}

func FuzzRegistry(f *testing.F) {
	f.Add([]byte("a:"), []byte{}, uint64(1), []byte{1, 'a', 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, p1, p2 []byte, since uint64, raw []byte) {
		prefixes, revs := [][]byte{p1, p2}, []uint64{since, 0}
		gotP, gotS, err := decodeRegistry(encodeRegistry(prefixes, revs))
		must(t, err)
		if !slices.EqualFunc(gotP, prefixes, bytes.Equal) || !slices.Equal(gotS, revs) {
			t.Fatalf("%q %v reads back as %q %v", prefixes, revs, gotP, gotS)
		}
		if p, s, err := decodeRegistry(raw); err == nil && len(p) != len(s) {
			t.Fatal("lengths differ")
		}
	})
}

// FuzzBounds compares the range of a page with its words.
func FuzzBounds(f *testing.F) {
	f.Add([]byte("a"), []byte("a:"), []byte("a"), []byte("b"), []byte("a:1"))
	f.Add([]byte{0xff}, []byte(nil), []byte(nil), []byte(nil), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, prefix, after, from, to, key []byte) {
		if len(key) == 0 {
			return
		}
		orNil := func(b []byte) []byte {
			if len(b) == 0 {
				return nil
			}
			return b
		}
		p := Page{After: orNil(after), From: orNil(from), To: orNil(to)}
		s, k := bounds(prefix, p), userKey(nil, key)
		got := bytes.Compare(s.lo, k) <= 0 && bytes.Compare(k, s.hi) < 0
		want := bytes.HasPrefix(key, prefix) && (p.After == nil || bytes.Compare(key, p.After) > 0) &&
			(p.From == nil || bytes.Compare(key, p.From) >= 0) && (p.To == nil || bytes.Compare(key, p.To) < 0)
		if got != want {
			t.Fatalf("key %q in prefix %q page %+v: %v, want %v", key, prefix, p, got, want)
		}
		if got && !bytes.HasPrefix(k, s.prefix) {
			t.Fatalf("key %q without the span's prefix %q", k, s.prefix)
		}
	})
}

func FuzzCoalesce(f *testing.F) {
	f.Add([]byte("abcdef"), byte('c'))
	f.Fuzz(func(t *testing.T, ends []byte, at byte) {
		var ranges []span
		for i := 0; i+1 < len(ends); i += 2 {
			lo, hi := min(ends[i], ends[i+1]), max(ends[i], ends[i+1])
			if lo < hi {
				ranges = append(ranges, span{lo: []byte{lo}, hi: []byte{hi}})
			}
		}
		in := func(rs []span) bool {
			return slices.ContainsFunc(rs, func(r span) bool { return r.lo[0] <= at && at < r.hi[0] })
		}
		want := in(ranges)
		joined := coalesce(slices.Clone(ranges))
		for i := 1; i < len(joined); i++ {
			if bytes.Compare(joined[i-1].hi, joined[i].lo) >= 0 {
				t.Fatalf("%v meet", joined)
			}
		}
		key := [][]byte{{at}}
		if in(joined) != want || overlaps(key, joined) != want || overlaps(append(key, []byte{at}), joined) != want {
			t.Fatalf("%d in %v: %v", at, ranges, want)
		}
	})
}
