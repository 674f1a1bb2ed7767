package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const childDir = "STORE_CHILD_DIR"

// TestMain is also the process that TestC16 kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child writes numbers from four goroutines, telling each after its commit.
func child(dir string) {
	s, err := OpenBadger(Options{Dir: dir, EncryptionKey: testKey(), Watched: watched("n:"), memTable: 1 << 20})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for g := range 4 {
		go func() {
			for i := 0; ; i++ {
				tx, _ := s.Begin(ReadWrite)
				k := fmt.Sprintf("n:%d:%d", g, i)
				v := binary.BigEndian.AppendUint64(nil, uint64(i))
				_ = tx.Put(Pair{Key: []byte(k), Value: v}, Pair{Key: fmt.Append(nil, "last:", g), Value: v})
				if i%500 == 499 { // through the redo row
					_ = tx.Put(Pair{Key: fmt.Append(nil, "pad:", g), Value: make([]byte, 200<<10)})
				}
				rev, err := tx.Commit(context.Background())
				if err != nil {
					fmt.Println("error", err)
				}
				fmt.Println("ack", k, rev)
			}
		}()
	}
	select {}
}

func startChild(t *testing.T, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

// noteAck takes in what the child says of a commit.
func noteAck(t *testing.T, line string, acked map[string]uint64) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "ack" {
		t.Fatalf("child: %s", line)
	}
	rev, err := strconv.ParseUint(f[2], 10, 64)
	must(t, err)
	acked[f[1]] = rev
}

func TestC16KillAfterAck(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]uint64{}
	for round := range 3 {
		if round > 0 { // begin anew: the child counts from zero
			dir, acked = t.TempDir(), map[string]uint64{}
		}
		cmd, lines := startChild(t, dir)
		for n := 0; n < 700*(round+1) && lines.Scan(); n++ {
			noteAck(t, lines.Text(), acked)
		}
		must(t, cmd.Process.Kill())
		for lines.Scan() { // acknowledged before it died
			if f := strings.Fields(lines.Text()); len(f) == 3 {
				noteAck(t, lines.Text(), acked)
			}
		}
		_ = cmd.Wait()
		s := openTest(t, dir, Options{Watched: watched("n:"), memTable: 1 << 20})
		same(t, "clean", s.WasClean(), false)
		checkAfterKill(t, s, acked)
		must(t, s.Close())
	}
}

func checkAfterKill(t *testing.T, s *Badger, acked map[string]uint64) {
	t.Helper()
	tx := begin(t, s, ReadOnly)
	defer tx.Abort()
	for k, rev := range acked {
		it, err := tx.Get([]byte(k))
		if err != nil || it.Revision != rev {
			t.Fatalf("%s was acknowledged at %d: revision %d, %v", k, rev, it.Revision, err)
		}
	}
	for g := range 4 { // no transaction is there in part
		n, err := tx.Count(fmt.Appendf(nil, "n:%d:", g))
		must(t, err)
		last, err := tx.Get(fmt.Append(nil, "last:", g))
		must(t, err)
		same(t, "transactions", int(binary.BigEndian.Uint64(last.Value)), n-1)
	}
	all, err := tx.Count([]byte("n:"))
	must(t, err)
	w := watch(t, s, Start{}) // and each has its event
	for range all {
		c := next(t, w)
		if rev, ok := acked[string(c.Events[0].Key)]; ok && rev != c.Revision || len(c.Events) != 1 {
			t.Fatalf("%v, acknowledged at %d", c, rev)
		}
	}
}

// The redo row: a crash between any two parts leaves the whole batch or none.
func TestRedoAfterCrash(t *testing.T) {
	opt := Options{memTable: 1 << 20, Watched: watched("")}
	dir := t.TempDir()
	s := openTest(t, dir, opt)
	put(t, s, "0", "old", "5", "old")
	must(t, s.Close())

	full := &batch{rows: []row{}}
	for i := range 10 {
		full.rows = append(full.rows, row{key: userKey(nil, fmt.Append(nil, i)), value: []byte(strings.Repeat("n", 50<<10)), slot: 255})
	}
	full.rows = append(full.rows, row{key: userKey(nil, []byte("5")), del: true, slot: 255})
	type step struct {
		ticks uint64 // below the batch's
		rows  []row
	}
	var steps []step // as apply does them
	whole := 0       // after so many it is kept
	for crash := 0; crash <= max(len(steps), 1); crash++ {
		crashed := copyDir(t, dir)
		o, err := Options{Dir: crashed, EncryptionKey: testKey(), memTable: 1 << 20}.complete(true)
		must(t, err)
		eng, err := openEngine(o)
		must(t, err)
		b := *full
		b.tick = eng.newest() + tickStep
		if crash == 0 {
			redo := redoRows(encodeBatch(&b), int(eng.large/2))
			whole = len(redo)
			for _, r := range redo {
				steps = append(steps, step{1, []row{r}})
			}
			for part := range slices.Chunk(b.rows, 2) {
				steps = append(steps, step{0, part})
			}
			steps = append(steps, step{0, []row{{key: keyRedo, del: true}}})
			if whole < 3 {
				t.Fatalf("%d redo rows: too few for this test", whole)
			}
		}
		for _, s := range steps[:crash] {
			must(t, eng.commit(b.tick-s.ticks, s.rows))
		}
		must(t, eng.close())
		s := openTest(t, crashed, opt)
		tx := begin(t, s, ReadOnly)
		n, err := tx.Count(nil)
		must(t, err)
		if crash < whole {
			same(t, "keys", n, 2)
			same(t, "not deleted", getIn(t, tx, "5"), "old")
		} else {
			same(t, "keys", n, 9)
			same(t, "a value", len(getIn(t, tx, "9")), 50<<10)
			same(t, "deleted", getIn(t, tx, "5"), "-")
		}
		must(t, tx.Abort())
		err = s.engine.view(s.engine.newest()).scan(span{lo: keyRedo, hi: successor(keyRedo), prefix: keyRedo}, walk{},
			func(key, _ []byte, _ uint64) bool {
				t.Fatalf("after %d steps redo row %q is still there", crash, key)
				return false
			})
		must(t, err)
		before := s.Revision()
		if rev := put(t, s, "0", "newer"); rev <= before {
			t.Fatalf("revision %d after %d", rev, before)
		}
		same(t, "newer", get(t, s, "0"), "newer")
		must(t, s.Close())
		s = openTest(t, crashed, opt)
		same(t, "newer, reopened", get(t, s, "0"), "newer")
		must(t, s.Close())
	}
}
