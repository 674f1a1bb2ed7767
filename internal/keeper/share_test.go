package keeper

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

func testSet(t testing.TB, node dsv.NodeID, k, n int) *set {
	t.Helper()
	s, err := newSet("cluster", node, 7, k, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.wipe)
	return s
}

func TestShareHasOneEncoding(t *testing.T) {
	s := testSet(t, "n1", 3, 5)
	for i := range 5 {
		b := s.encoded(i)
		got, err := decodeShare(b)
		if err != nil || got.index != i || got.head != s.head || !bytes.Equal(got.y, s.y(i)) || !bytes.Equal(got.encode(), b) {
			t.Fatalf("%d: %v", i, err)
		}
		if len(b) > MaxShare {
			t.Errorf("%d bytes", len(b))
		}
	}
	// Every flipped bit, every cut and every addition is noticed.
	b := s.encoded(0)
	for i := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := decodeShare(bad); !errors.Is(err, errDamaged) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for n := range len(b) {
		if _, err := decodeShare(b[:n]); !errors.Is(err, errDamaged) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	for _, tail := range [][]byte{{0}, make([]byte, 32), make([]byte, 2000)} {
		if _, err := decodeShare(append(bytes.Clone(b), tail...)); !errors.Is(err, errDamaged) {
			t.Fatal(err)
		}
	}
	big, err := newSet(strings.Repeat("c", 255), dsv.NodeID(strings.Repeat("n", 64)), 1<<64-1, 9, 9)
	if err != nil {
		t.Fatal(err)
	}
	defer big.wipe()
	long := share{big.head, 8, big.y(8)}
	if got, err := decodeShare(long.encode()); err != nil || got.head != long.head || len(long.encode()) > MaxShare {
		t.Error("the longest share", err)
	}
}

// Shares with a right digest whose numbers are impossible.
func TestShareNumbersAreChecked(t *testing.T) {
	set := testSet(t, "n1", 2, 3)
	good := func() share { return share{set.head, 0, bytes.Clone(set.y(0))} }
	for name, change := range map[string]func(*share){
		"generation 0": func(s *share) { s.generation = 0 }, "threshold 1": func(s *share) { s.threshold = 1 },
		"threshold over count": func(s *share) { s.threshold = 4 }, "index": func(s *share) { s.index = 3 },
		"no cluster": func(s *share) { s.cluster = "" }, "node": func(s *share) { s.node = "N" }, "no node": func(s *share) { s.node = "" },
		"x is 0": func(s *share) { s.xs = "\x01\x00\x02" }, "x twice": func(s *share) { s.xs = "\x01\x02\x01" },
		"half": func(s *share) { s.count, s.xs = 4, "\x01\x02\x03\x04" }, "fewer x": func(s *share) { s.xs = "\x01\x02" },
		"count 200": func(s *share) { s.count, s.threshold = 200, 150 }, "short y": func(s *share) { s.y = s.y[:31] },
		"fewer digests": func(s *share) { s.digests = s.digests[32:] }, "another's index": func(s *share) { s.index = 1 },
		"another's x": func(s *share) { s.xs = s.xs[1:] + s.xs[:1] }, "wrong y": func(s *share) { s.y[7] ^= 1 },
		"digests in another order": func(s *share) { s.digests = s.digests[32:] + s.digests[:32] },
	} {
		s := good()
		change(&s)
		if _, err := decodeShare(s.encode()); !errors.Is(err, errDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeShare(good().encode()); err != nil {
		t.Error(err)
	}
}

// Any threshold of shares in any order makes the same generation; fewer, or
// one wrong among them, make none.
func TestCombine(t *testing.T) {
	for _, q := range [][2]int{{2, 2}, {2, 3}, {3, 5}, {5, 9}} {
		k, n := q[0], q[1]
		s := testSet(t, "n1", k, n)
		var all []share
		for i := range n {
			all = append(all, share{s.head, n - 1 - i, s.y(n - 1 - i)})
		}
		for some := range subsets(all, k) {
			got := combine(some)
			if got == nil || got.head != s.head || !bytes.Equal(got.mem.b, s.mem.b) {
				t.Fatalf("%d of %d: another generation", k, n)
			}
			got.wipe()
			if combine(some[:k-1]) != nil {
				t.Fatalf("%d of %d: fewer made it", k, n)
			}
			bad := slices.Clone(some)
			bad[0].y = bytes.Clone(bad[0].y)
			bad[0].y[31] ^= 0x80
			if combine(bad) != nil {
				t.Fatalf("%d of %d: a wrong key", k, n)
			}
		}
		// A head all of them lie about: a check value, or a digest.
		for i, change := range []func(*head){
			func(h *head) { h.check[31] ^= 1 }, func(h *head) { h.generation++ }, func(h *head) { h.cluster = "other" },
			func(h *head) { h.node = "n2" }, func(h *head) { h.digests = string(make([]byte, 32)) + h.digests[32:] },
			func(h *head) { h.xs = h.xs[1:] + h.xs[:1] },
		} {
			bad := slices.Clone(all)
			for j := range bad {
				change(&bad[j].head)
			}
			if combine(bad) != nil {
				t.Errorf("%d of %d: lie %d", k, n, i)
			}
		}
	}
	if combine(nil) != nil {
		t.Error("a key of nothing")
	}
}

func TestCheckValueBindsEverything(t *testing.T) {
	key := make([]byte, 32)
	base := checkOf(key, "c", "n", 1)
	other := make([]byte, 32)
	other[0] = 1
	for i, v := range [][32]byte{checkOf(other, "c", "n", 1), checkOf(key, "d", "n", 1), checkOf(key, "c", "m", 1), checkOf(key, "c", "n", 2), checkOf(key, "cn", "", 1)} {
		if v == base {
			t.Errorf("%d: the same check value", i)
		}
	}
}

func TestCheckFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.check")
	if _, err := ReadCheck(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if WriteCheck(path, Check{}) == nil {
		t.Error("a zero check is written")
	}
	for _, c := range []Check{{1, [32]byte{1, 2, 3}}, {1<<64 - 1, [32]byte{31: 255}}} {
		if err := WriteCheck(path, c); err != nil {
			t.Fatal(err)
		}
		got, err := ReadCheck(path)
		if err != nil || got != c {
			t.Fatal(got, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for _, bad := range [][]byte{good[:i], append(bytes.Clone(good[:i]), good[i+1:]...), append(append(bytes.Clone(good[:i]), good[i]^1), good[i+1:]...)} {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if c, err := ReadCheck(path); err == nil || errors.Is(err, fs.ErrNotExist) || c != (Check{}) {
				t.Fatalf("%q is read as %v", bad, c)
			}
		}
	}
}

func TestRoot(t *testing.T) {
	s := testSet(t, "n1", 2, 3)
	r := s.root()
	if r.Generation() != 7 || r.Check() != s.checkFile() {
		t.Error(r.Check())
	}
	if r.Derive("a").Equal(r.Derive("b")) || bytes.Equal(r.Derive("a").Reveal(), s.key()) {
		t.Error("derived keys")
	}
	r.Wipe()
	r.Wipe()
	for name, r := range map[string]*Root{"wiped": r, "zero": {}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: gave a key", name)
				}
			}()
			r.Derive("a")
		}()
	}
	if new(Root).Generation() != 0 || new(Root).Locked() {
		t.Error("zero root")
	}
	(*Root)(nil).Wipe()
}

func TestMemoryIsLockedAndWiped(t *testing.T) {
	m := newBuffer(100)
	if !m.locked {
		t.Log("memory cannot be locked here")
	}
	copy(m.b, "secret")
	m.free()
	m.free()
	if m.b != nil {
		t.Error("still there")
	}
	(*buffer)(nil).free()
}

func TestAssignShares(t *testing.T) {
	for _, tt := range []struct {
		own, had []int
		count    int
		want     []int
	}{
		{[]int{-1, -1, -1}, nil, 3, []int{0, 1, 2}},
		{[]int{2, -1, -1}, nil, 3, []int{2, 1, 0}},
		{[]int{-1, 0, -1}, nil, 3, []int{1, 0, 2}},
		{[]int{1, 1, 2}, nil, 3, []int{0, 1, 2}},
		{[]int{0, 0, 0}, nil, 3, []int{0, 1, 2}},
		{[]int{-1, -1, -1}, []int{2, 0, 1}, 3, []int{2, 0, 1}},
		{[]int{-1, 2, -1}, []int{2, 0, 1}, 3, []int{0, 2, 1}},
		{[]int{-1, -1, -1, -1}, []int{-1, 1, 2, -1}, 3, []int{0, 1, 2, -1}},
		{[]int{-1, -1}, nil, 3, []int{0, 1}},
	} {
		if d := cmp.Diff(tt.want, assignShares(tt.own, tt.had, tt.count)); d != "" {
			t.Errorf("%v %v: %s", tt.own, tt.had, d)
		}
	}
}

func FuzzDecodeShare(f *testing.F) {
	s := testSet(f, "n1", 2, 3)
	f.Add(s.encoded(0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		// With the right digest, or no mutation would ever come through.
		for _, b := range [][]byte{b, redigest(b)} {
			if s, err := decodeShare(b); err == nil && !bytes.Equal(s.encode(), b) {
				t.Fatalf("%x has another encoding", b)
			}
		}
	})
}

func redigest(b []byte) []byte {
	if len(b) < sumSize {
		return b
	}
	sum := sha256.Sum256(b[:len(b)-sumSize])
	return append(bytes.Clone(b[:len(b)-sumSize]), sum[:]...)
}

func FuzzDecodeKept(f *testing.F) {
	s := testSet(f, "n1", 2, 3)
	good := encodeKept(s, targets(3), []int{0, 1, -1})
	f.Add(good)
	f.Add([]byte{1, 0})
	f.Add([]byte{1, 255, 0, 0, 0})
	if list, err := decodeKept(good); err != nil || len(list) != 3 || list[0].keeper != "k0" || list[2].keeper != "" {
		f.Fatal(list, err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeKept(b)
		if err == nil && (len(list) == 0 || len(list) > MaxKeepers) {
			t.Fatal("a list that is none")
		}
	})
}

func FuzzCheckFile(f *testing.F) {
	f.Add(Check{1, [32]byte{1}}.line())
	f.Add([]byte("dsv-root-check-1 1 00 00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseCheck(b); ok && !bytes.Equal(c.line(), b) {
			t.Fatalf("%q has another spelling", b)
		}
	})
}
