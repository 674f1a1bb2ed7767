package commitlog

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/dsvault/dsv"
)

func testSealer(t testing.TB, inc dsv.Incarnation) *sealer {
	t.Helper()
	s, err := newSealer(Config{ClusterID: "id", Key: dsv.SecretOf(bytes.Repeat([]byte{1}, 32)), Incarnation: inc})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// No nonce comes twice, also where the lower half of the counter overflows.
func TestNonce(t *testing.T) {
	s := testSealer(t, dsv.NewIncarnation())
	s.lo = ^uint64(0) - 50
	seen := map[string]bool{}
	var last []byte
	for range 100 {
		n := make([]byte, nonceSize)
		s.nonce(n)
		if seen[string(n)] {
			t.Fatal("a nonce came twice")
		}
		if last != nil && s.lo > 0 && bytes.Compare(last, n) >= 0 && s.hi != 0 {
			t.Errorf("the counter does not grow: %x after %x", n, last)
		}
		seen[string(n)], last = true, n
	}
	if bytes.Equal(testSealer(t, s.cfg.Incarnation).seal("t", 0, nil), testSealer(t, s.cfg.Incarnation).seal("t", 0, nil)) {
		t.Error("two sealers of one incarnation begin at one nonce")
	}
}

// Neither many incarnations nor garbage make the kept keys grow without bound,
// nor do they push out our own.
func TestKeysBounded(t *testing.T) {
	s := testSealer(t, dsv.NewIncarnation())
	for range 3 * maxAEADs {
		v := testSealer(t, dsv.NewIncarnation()).seal("t", 1, []byte("x"))
		if _, body, void := s.open("t", 1, bytes.Clone(v)); void != "" || string(body) != "x" {
			t.Fatalf("void %q", void)
		}
	}
	n := len(s.aeads)
	if n > maxAEADs || s.aeads[s.cfg.Incarnation] == nil {
		t.Errorf("%d keys kept, own %v", n, s.aeads[s.cfg.Incarnation])
	}
	clear(s.aeads)
	for range 10 {
		inc := dsv.NewIncarnation()
		s.open("t", 1, append(append([]byte{formatVersion}, inc[:]...), make([]byte, 60)...))
	}
	if len(s.aeads) != 0 {
		t.Errorf("%d keys kept for garbage", len(s.aeads))
	}
}

// Opening never panics, and opens only what was sealed for the place.
func FuzzOpen(f *testing.F) {
	s := testSealer(f, dsv.Incarnation{1})
	good := s.seal("t", 3, []byte("body"))
	f.Add(good, "t", int32(3))
	f.Add(good, "t", int32(2))
	f.Add(good, "u", int32(3))
	f.Add(good[:len(good)-1], "t", int32(3))
	f.Add([]byte{}, "", int32(0))
	f.Add([]byte{1}, "t", int32(-1))
	f.Fuzz(func(t *testing.T, v []byte, topic string, part int32) {
		mine := bytes.Equal(v, good) && topic == "t" && part == 3
		_, body, void := s.open(topic, part, bytes.Clone(v))
		if (void == "") != mine || mine && string(body) != "body" || !mine && body != nil {
			t.Errorf("opened %x in %s/%d: %q, %q", v, topic, part, body, void)
		}
	})
}

// The format on disk does not change by accident.
func TestFormat(t *testing.T) {
	s := testSealer(t, dsv.Incarnation{1, 2, 3})
	s.hi, s.lo = 0, 41
	const want = "\x01\x01\x02\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a"
	v := s.seal("c.log", 7, []byte("body"))
	if string(v[:headerSize]) != want {
		t.Errorf("head %x", v[:headerSize])
	}
	if got := hex.EncodeToString(v[headerSize:]); got != "b8117e9ac8eba85d4ace4b8c0c957da09e401d33" {
		t.Errorf("sealed %s", got)
	}
}
