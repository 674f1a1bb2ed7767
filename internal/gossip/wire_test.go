package gossip

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"

	"github.com/dsvault/dsv"
)

var exported = cmp.AllowUnexported(message{}, meta{}, dsv.Path{}, dsv.Namespace{}, dsv.Key{}, items{})

func TestMessageRoundTrip(t *testing.T) {
	s := stateOf(t, "n1", 1<<40)
	want := message{"n1", s.Incarnation, 77, true, s.Positions, s.Heads}
	b := want.append(nil)
	got, err := parseMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, exported); d != "" {
		t.Fatal(d)
	}
	for i := range b { // cut anywhere, or with a byte more
		if _, err := parseMessage(b[:i]); err == nil {
			t.Fatalf("accepted %d of %d bytes", i, len(b))
		}
	}
	if _, err := parseMessage(append(b, 0)); err == nil {
		t.Fatal("accepted a byte more")
	}
}

func TestMetaRoundTrip(t *testing.T) {
	want := meta{dsv.NewIncarnation(), true, strings.Repeat("a", MaxAddress), strings.Repeat("b", MaxAddress), strings.Repeat("c", MaxSoftware)}
	b := want.append(nil)
	if len(b) > memberlist.MetaMaxSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := parseMeta(b)
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range b {
		if _, err := parseMeta(b[:i]); err == nil {
			t.Fatalf("accepted %d of %d bytes", i, len(b))
		}
	}
	for name, bad := range map[string]func([]byte){
		"version": func(b []byte) { b[0] = '2' }, "bool": func(b []byte) { b[17] = 2 }, "control": func(b []byte) { b[19] = '\n' },
	} {
		x := bytes.Clone(b)
		if bad(x); func() bool { _, err := parseMeta(x); return err == nil }() {
			t.Errorf("%s accepted", name)
		}
	}
}

// The largest state of the largest group stays within the limits.
func TestBounded(t *testing.T) {
	g, err := New(Config{Self: "n0", Bind: "127.0.0.1:0", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	long := strings.TrimSuffix(strings.Repeat(strings.Repeat("x", 64)+"/", 8), "/")
	s := State{API: strings.Repeat("ä", 1000), Software: strings.Repeat("s", 1000)}
	for i := range 3000 {
		s.Positions = append(s.Positions, PartitionState{Partition: dsv.Partition(i), Offset: int64(i)})
		s.Heads = append(s.Heads, Head{Path: path(t, long, fmt.Sprintf("%0128d", i)), ValidFrom: int64(i), Offset: int64(i)})
	}
	g.SetLocal(s)
	d := &delegate{g}
	if _, err := parseMeta(d.NodeMeta(memberlist.MetaMaxSize)); err != nil {
		t.Fatal(err)
	}
	packets := 0
	for range 1000 {
		for _, b := range g.round() {
			packets++
			if len(b) > maxPacket {
				t.Fatalf("a packet of %d bytes", len(b))
			}
			if _, err := parseMessage(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if packets < repeats*(MaxPositions/20+MaxHeads/2) {
		t.Errorf("%d packets", packets)
	}
	if left := g.round(); len(left) != 0 || len(g.pending.positions)+len(g.pending.heads) != 0 {
		t.Errorf("%d packets left", len(left))
	}
	_, heads := g.own.sorted()
	for i := range 2 * maxMembers {
		id := dsv.NodeID(fmt.Sprint("m", i))
		g.present(id, "", meta{})
		if i < 100 {
			g.learn(message{node: id, counter: 1, positions: s.Positions[:MaxPositions], heads: heads})
		}
	}
	if n := len(g.Members()); n != maxMembers {
		t.Errorf("%d members remembered", n)
	}
	b := d.LocalState(false)
	if len(b) > maxExchange {
		t.Errorf("%d bytes of state", len(b))
	}
	n := 0
	if garbage := parseExchange(b, func(m message) {
		if n++; n == 1 && (m.node != "n0" || len(m.heads) != MaxHeads || len(m.positions) != MaxPositions) {
			t.Error("the own state is not the first, or not whole")
		}
	}); garbage != 0 || n < 10 {
		t.Errorf("%d messages, %d garbage", n, garbage)
	}
}

// Merging gives the same in any order, any number of times.
func TestMergeOrderDoesNotMatter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var msgs []message
		for c := range 12 {
			m := message{counter: uint64(c + 1)}
			for range 3 {
				off := rnd.Int64N(20)
				m.positions = append(m.positions, PartitionState{dsv.Partition(rnd.IntN(3)), off, off / 2, [32]byte{byte(off / 2)}})
			}
			for range 20 {
				k, off := rnd.IntN(40), rnd.Int64N(5)
				m.heads = append(m.heads, Head{Path: path(t, "ns", fmt.Sprint("k", k)), Offset: off, ValidFrom: int64(k)*10 + off})
			}
			msgs = append(msgs, m)
		}
		merged := func() *items {
			s := newItems()
			for range 2 {
				rnd.Shuffle(len(msgs), func(i, j int) { msgs[i], msgs[j] = msgs[j], msgs[i] })
				for _, m := range msgs {
					s.merge(m)
				}
			}
			for _, m := range msgs {
				if s.merge(m) {
					t.Fatal("a repeated message is news")
				}
			}
			return s
		}
		if d := cmp.Diff(merged(), merged(), exported); d != "" {
			t.Fatal(d)
		}
	}
}

// What is said under another's name, about a former process, a stranger or the
// listener itself changes nothing.
func TestNotAccepted(t *testing.T) {
	g, err := New(Config{Self: "n1", Bind: "127.0.0.1:0", Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	d := &delegate{g}
	now, before := dsv.NewIncarnation(), dsv.NewIncarnation()
	alive := &memberlist.Node{Name: "n2", Meta: meta{incarnation: now}.append(nil)}
	d.NotifyJoin(alive)
	say := func(node dsv.NodeID, inc dsv.Incarnation, offset int64) {
		d.NotifyMsg(message{node: node, incarnation: inc, counter: uint64(offset), positions: []PartitionState{{Partition: 1, Offset: offset}}}.append(nil))
	}
	say("n2", now, 5)
	say("n2", before, 9)
	say("n3", now, 9)
	say("n1", now, 9)
	m, _ := g.Member("n2")
	if len(g.Members()) != 1 || len(m.Positions) != 1 || m.Positions[0].Offset != 5 || m.Counter != 5 {
		t.Errorf("%+v", g.Members())
	}
	if s := g.Stats(); s.Stale != 2 || s.Garbage != 0 {
		t.Errorf("%+v", s)
	}
	d.NotifyUpdate(&memberlist.Node{Name: "n2", Meta: meta{incarnation: before, sealed: true}.append(nil)})
	if m, _ = g.Member("n2"); len(m.Positions) != 0 || !m.Sealed {
		t.Errorf("after a restart: %+v", m)
	}
	for name, n := range map[string]*memberlist.Node{
		"name": {Name: "N/2", Meta: alive.Meta}, "no metadata": {Name: "n2"}, "junk": {Name: "n2", Meta: []byte("junk")},
	} {
		if d.NotifyAlive(n) == nil {
			t.Errorf("%s accepted", name)
		}
	}
	if d.NotifyAlive(alive) != nil {
		t.Error("a good one refused")
	}
	if s := g.Stats(); s.Garbage != 3 {
		t.Errorf("%+v", s)
	}
}

func FuzzDelegate(f *testing.F) {
	s := stateOf(f, "n2", 100)
	m := message{"n2", dsv.Incarnation{1}, 3, false, s.Positions, s.Heads}
	f.Add(m.append(nil))
	f.Add(appendExchange(nil, slices.Values([]message{m, m})))
	f.Add(meta{api: "a", peer: "b"}.append(nil))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := New(Config{Self: "n1", Bind: "127.0.0.1:0", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		d := &delegate{g}
		d.NotifyJoin(&memberlist.Node{Name: "n2", Meta: meta{incarnation: dsv.Incarnation{1}}.append(nil)})
		d.NotifyMsg(b)
		d.MergeRemoteState(b, true)
		if n := (&memberlist.Node{Name: "n2", Meta: b}); d.NotifyAlive(n) == nil {
			d.NotifyUpdate(n)
		}
		if len(g.Members()) != 1 {
			t.Fatal("somebody came to be")
		}
		x, _ := g.Member("n2")
		if len(x.Positions) > MaxPositions || len(x.Heads) > MaxHeads {
			t.Fatal("too much is kept")
		}
		if parsed, err := parseMessage(b); err == nil && !bytes.Equal(parsed.append(nil), b) {
			t.Fatal("not written as it was read")
		}
		if n := len(d.LocalState(false)); n > maxExchange {
			t.Fatal(n)
		}
	})
}
