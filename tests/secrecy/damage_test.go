package secrecy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

var seedFlag = flag.Uint64("seed", 0, "seed of TestDamage, 0 draws one")

// damage is one way to harm one class of files of a node that is not running.
type damage struct {
	files string // in the node's data directory
	how   string
	do    func(*rand.Rand, []byte) []byte // nil removes the file
	kill  bool                            // the node was killed, not stopped: what is newest is in the write-ahead log
}

// damages are all cases.
func damages() (all []damage) {
	flip := func(r *rand.Rand, b []byte) []byte {
		if used := lastUsed(b); used > 0 {
			b[r.IntN(used)] ^= 1 << r.IntN(8)
		}
		return b
	}
	cut := func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(max(1, lastUsed(b)))] }
	zero := func(_ *rand.Rand, b []byte) []byte { clear(b); return b }
	hole := func(r *rand.Rand, b []byte) []byte { // a block that was never written
		at := r.IntN(max(1, lastUsed(b)))
		clear(b[at:min(len(b), at+512)])
		return b
	}
	head := func(r *rand.Rand, b []byte) []byte { // where formats have numbers and lengths
		b[r.IntN(min(len(b), 28))] ^= 1 << r.IntN(8)
		return b
	}
	early := func(r *rand.Rand, b []byte) []byte { return b[:min(len(b), 28)] } // all of KEYREGISTRY but its keys
	none := func(*rand.Rand, []byte) []byte { return []byte{} }
	add := func(files string, kill bool, how ...string) {
		do := map[string]func(*rand.Rand, []byte) []byte{"flip": flip, "head": head, "early": early, "cut": cut, "zero": zero, "hole": hole, "empty": none, "gone": nil}
		for _, x := range how {
			all = append(all, damage{files, x, do[x], kill})
		}
	}
	add("store/*.sst", false, "flip", "flip", "flip", "cut", "zero", "hole", "empty", "gone")
	add("store/*.mem", true, "flip", "flip", "head", "cut", "zero", "hole", "empty", "gone")
	add("store/*.vlog", false, "head", "cut", "zero", "gone")
	add("store/MANIFEST", false, "flip", "head", "cut", "zero", "gone")
	add("store/MANIFEST", true, "cut", "gone") // tables go, newer rows stay
	add("store/*.sst", true, "flip", "gone")
	add("store/KEYREGISTRY", true, "gone")
	add("store/KEYREGISTRY", false, "flip", "cut", "early", "gone")
	add("store/DISCARD", false, "flip", "empty", "gone")
	add("store/CLEAN", false, "flip", "cut", "gone")
	add("root.check", false, "flip", "empty", "gone")
	return all
}

// lastUsed is the length of b without the zeros at its end: files are made
// longer than what is in them.
func lastUsed(b []byte) int {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}

// TestDamage harms one node's files in one way after the other, each time while
// it is down, and starts it. Either it serves, and every strict read through it
// is right, also of what was written last; or it ends, and says what is wrong
// with which directory. Without that directory it comes back. Nobody ever reads
// anything wrong meanwhile, on any node.
func TestDamage(t *testing.T) {
	h := theHouse(t)
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const victim = 2
	smallBallast(t, h, victim)
	b := h.book(t)
	stop := b.readAlong(t)
	all := damages()
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	served, refused := 0, 0
	for _, d := range all {
		if d.kill { // tables with older rows and a write-ahead log with newer ones
			if err := errors.Join(h.Node(victim).Stop(), h.Node(victim).Start(), h.WaitReady(t.Context(), victim)); err != nil {
				t.Fatal(err)
			}
		}
		b.write(t, 3)
		what := d.how + " " + d.files
		file := h.harm(t, r, victim, d)
		said, err := h.begin(t, victim)
		switch {
		case err == nil:
			served++
		default:
			refused++
			away := h.checkRefusal(t, victim, what, said)
			if err := errors.Join(os.RemoveAll(away), h.Node(victim).Start(), h.WaitReady(t.Context(), victim)); err != nil {
				t.Fatalf("%s, %s: it does not come back without %s: %v", what, file, away, err)
			}
		}
		b.readAll(t, victim, what+", "+file)
	}
	stop()
	t.Logf("%d cases: after %d the node served, after %d it refused and came back without its directory", len(all), served, refused)
	h.allHolesFilled(t)
	// Its shards are as good as any: with two others down it takes them to read.
	if err := errors.Join(h.Node(0).Kill(), h.Node(1).Kill()); err != nil {
		t.Fatal(err)
	}
	b.readAll(t, victim, "with two others down")
	if err := errors.Join(h.Node(0).Start(), h.Node(1).Start(), h.WaitReady(t.Context(), 0), h.WaitReady(t.Context(), 1)); err != nil {
		t.Fatal(err)
	}
}

// smallBallast spares a node that loses its directory often the ballast file.
func smallBallast(t *testing.T, h *house, i int) {
	t.Helper()
	path := h.Layout().NodeConfig(h.NodeID(i))
	text := must[[]byte](t)(os.ReadFile(path))
	if strings.Contains(string(text), "limits:") {
		t.Fatal("the configuration has limits already")
	}
	if err := os.WriteFile(path, append(text, "\nlimits: {ballast_bytes: 0}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// harm ends the node and damages one of the files.
func (h *house) harm(t *testing.T, r *rand.Rand, i int, d damage) string {
	t.Helper()
	end := h.Node(i).Stop
	if d.kill {
		end = h.Node(i).Kill
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	files := must[[]string](t)(filepath.Glob(filepath.Join(h.DataDir(i), d.files)))
	if len(files) == 0 {
		t.Fatalf("%s: there is no such file", d.files)
	}
	file := files[r.IntN(len(files))]
	if d.do == nil {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		return filepath.Base(file)
	}
	b := must[[]byte](t)(os.ReadFile(file))
	if err := os.WriteFile(file, d.do(r, b), 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(file)
}

// begin starts a node and waits until it serves or has ended; what it said
// since then comes with the error.
func (h *house) begin(t *testing.T, i int) (said string, err error) {
	t.Helper()
	log := filepath.Join(h.dir, string(h.NodeID(i))+".log")
	before := must[os.FileInfo](t)(os.Stat(log)).Size()
	if err := h.Node(i).Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	err = h.WaitReady(ctx, i)
	if err != nil && ctx.Err() != nil {
		t.Fatalf("it neither serves nor ends: %v", err)
	}
	return string(must[[]byte](t)(os.ReadFile(log))[before:]), err
}

// told is what a node says that cannot use what is on its disk, with what is to
// be taken away.
var told = regexp.MustCompile(`^dsvnode: .*(?: move (\S+/data/store) away| (\S+/data/root\.check) is damaged.* remove it)`)

// checkRefusal: a node that ends says why and what to do, and does not crash.
// It returns what is to be taken away.
func (h *house) checkRefusal(t *testing.T, i int, what, said string) string {
	t.Helper()
	for _, crash := range []string{"panic:", "goroutine ", "SIGSEGV", "SIGBUS", "fatal error"} {
		if strings.Contains(said, crash) {
			t.Errorf("%s: it crashes (%s):\n%s", what, crash, said[max(0, len(said)-3000):])
			return h.DataDir(i)
		}
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := lines[len(lines)-1]
	m := told.FindStringSubmatch(last)
	if m == nil || !strings.HasPrefix(m[1]+m[2], h.DataDir(i)) {
		t.Errorf("%s: the last line does not say what to do: %s", what, last)
		return h.DataDir(i)
	}
	t.Logf("%s: %s", what, strings.ReplaceAll(last, h.dir, "…"))
	return m[1] + m[2]
}

// book is what the secrets are known to hold.
type book struct {
	h       *house
	clients []*client.Client // one per node
	paths   []dsv.Path

	mu       sync.Mutex
	values   map[dsv.Path][]string // by version-1; with what is under way
	answered map[dsv.Path]uint64   // newest version that was acknowledged
}

func (h *house) book(t *testing.T) *book {
	t.Helper()
	b := &book{h: h, values: map[dsv.Path][]string{}, answered: map[dsv.Path]uint64{}}
	for i := range h.Nodes() {
		c := must[*client.Client](t)(h.Client(i))
		t.Cleanup(c.Close)
		b.clients = append(b.clients, c)
	}
	for i := range 12 {
		b.paths = append(b.paths, h.path(t, fmt.Sprint("damage-", i%4), fmt.Sprint("D", i)))
	}
	b.write(t, len(b.paths))
	return b
}

var writes atomic.Int64

// write makes new versions of some secrets, through any node.
func (b *book) write(t *testing.T, n int) {
	t.Helper()
	for range n {
		seq := int(writes.Add(1))
		p, value := b.paths[seq%len(b.paths)], b.h.value.text+fmt.Sprint(" ", seq, strings.Repeat("x", seq*37%3000))
		b.mu.Lock()
		b.values[p] = append(b.values[p], value)
		want := uint64(len(b.values[p]))
		b.mu.Unlock()
		eventually(t, "write", func() error {
			w, err := b.h.cl.Put(t.Context(), p, dsv.SecretOf([]byte(value)), &client.WriteOptions{IdempotencyKey: fmt.Sprint("damage-", seq)})
			if err == nil && w.Version != want {
				t.Fatalf("%s: version %d, want %d", p, w.Version, want)
			}
			return err
		})
		b.mu.Lock()
		b.answered[p] = want
		b.mu.Unlock()
	}
}

// right checks what a strict read of the newest gave that began when least was
// acknowledged.
func (b *book) right(p dsv.Path, least uint64, f client.Found) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.values[p]; f.Version < least || f.Version > uint64(len(v)) || string(f.Value.Reveal()) != v[f.Version-1] {
		return fmt.Errorf("%s: version %d is read when %d was acknowledged, or it is not what was stored", p, f.Version, least)
	}
	return nil
}

func (b *book) newest(p dsv.Path) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answered[p]
}

// readAll reads the newest and one older version of every secret through one
// node. A node that has just started may lack connections for a moment and
// refuse; what it answers is right.
func (b *book) readAll(t *testing.T, i int, what string) {
	t.Helper()
	read := func(p dsv.Path, least uint64, o *client.ReadOptions) {
		t.Helper()
		eventually(t, what, func() error {
			f, err := b.clients[i].Get(t.Context(), p, o)
			if err != nil {
				return err
			}
			if wrong := b.right(p, least, f); wrong != nil || o != nil && f.Version != o.Version {
				t.Fatalf("%s: %v, version %d", what, wrong, f.Version)
			}
			return nil
		})
	}
	for _, p := range b.paths {
		newest := b.newest(p)
		read(p, newest, nil)
		old := 1 + rand.Uint64N(newest)
		read(p, old, &client.ReadOptions{Version: old})
	}
}

// readAlong reads on all nodes until stop: reads may fail meanwhile, but never
// be wrong.
func (b *book) readAlong(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var good, failed atomic.Int64
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p := b.paths[n%len(b.paths)]
			least := b.newest(p)
			f, err := b.clients[n%len(b.clients)].Get(ctx, p, nil)
			if err != nil {
				failed.Add(1)
				continue
			}
			good.Add(1)
			if err := b.right(p, least, f); err != nil {
				t.Errorf("n%d, meanwhile: %v", n%len(b.clients)+1, err)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
		if good.Load() < 100 {
			t.Errorf("only %d reads meanwhile", good.Load())
		}
		t.Logf("meanwhile %d reads were right and %d had no answer", good.Load(), failed.Load())
	}
}
