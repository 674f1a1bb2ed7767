package commitlog_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/google/go-cmp/cmp"
)

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

// TestMain is also the process of a broker that can be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("DSV_TEST_BROKER_DIR"); dir != "" {
		b, err := commitlog.StartBroker(commitlog.BrokerConfig{DataDir: dir, Listen: os.Getenv("DSV_TEST_BROKER_ADDR")})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(b.Addrs()[0])
		select {}
	}
	os.Exit(m.Run())
}

// child starts a broker in a process of its own.
func child(t *testing.T, dir, addr string) (string, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DSV_TEST_BROKER_DIR="+dir, "DSV_TEST_BROKER_ADDR="+addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), cmd
}

// A broker killed under load serves everything that it acknowledged, at the same
// offsets, with the same append times and topic ids; and the Log goes on.
func TestKilledBroker(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "log")
	addr, cmd := child(t, dir, "")
	w := &world{t: t, cfg: newConfig([]string{addr})}
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	a := w.start()
	id := a.TopicID(0)
	var mu sync.Mutex
	acked := map[dsv.Partition]map[int64]string{}
	for p := range dsv.Partition(partitions) {
		acked[p] = map[int64]string{}
	}
	const rounds = 3
	for round := range rounds {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for k := range 1000 {
					p, body := dsv.Partition(i%partitions), fmt.Sprintf("%d %d %d", round, i, k)
					off, err := a.try(p, body)
					if err != nil {
						if !errors.Is(err, commitlog.ErrSilent) {
							t.Errorf("append: %v", err)
						}
						return
					}
					mu.Lock()
					acked[p][off] = body
					mu.Unlock()
					if k == 60 && i == 0 {
						_ = cmd.Process.Signal(syscall.SIGKILL)
						_ = cmd.Wait()
						_, cmd = child(t, dir, addr)
					}
					if k >= 100 {
						return
					}
				}
			})
		}
		wg.Wait()
	}
	b := w.start()
	for p, want := range acked {
		end, err := a.EndOffset(ctx(t), p)
		if err != nil {
			t.Fatal(err)
		}
		mine, fresh := a.waitCount(p, int(end)), b.waitCount(p, int(end))
		if diff := cmp.Diff(mine, fresh); diff != "" {
			t.Errorf("partition %d is another one after the kills:\n%s", p, diff)
		}
		for off, body := range want {
			if string(fresh[off].Body) != body {
				t.Errorf("partition %d offset %d is %q, acknowledged %q", p, off, fresh[off].Body, body)
			}
		}
		if len(want) < rounds*100 {
			t.Errorf("partition %d had only %d acknowledgements", p, len(want))
		}
	}
	if len(a.diverged)+len(b.diverged) > 0 || b.TopicID(0) != id {
		t.Errorf("diverged %v, %v; topic id %x, was %x", a.diverged, b.diverged, b.TopicID(0), id)
	}
}

// After a clean close it is the same, and a directory has one broker at a time.
func TestClosedBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := embedded(t, commitlog.BrokerConfig{DataDir: dir})
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := commitlog.StartBroker(commitlog.BrokerConfig{DataDir: dir}); !errors.Is(err, commitlog.ErrLocked) {
		t.Errorf("a second broker on one directory: %v", err)
	}
	a := w.start()
	for k := range 20 {
		a.append(dsv.Partition(k%partitions), fmt.Sprint(k))
	}
	before := a.waitCount(1, 5)
	a.stop()
	for range 2 {
		_ = w.broker.Close()
		var err error
		if w.broker, err = commitlog.StartBroker(commitlog.BrokerConfig{DataDir: dir}); err != nil {
			t.Fatal(err)
		}
		w.cfg.Brokers = w.broker.Addrs()
		b := w.start()
		if diff := cmp.Diff(before, b.waitCount(1, len(before))); diff != "" {
			t.Error(diff)
		}
		b.append(1, "more")
		before = b.waitCount(1, len(before)+1)
		b.stop()
	}
	_ = w.broker.Close()
}
