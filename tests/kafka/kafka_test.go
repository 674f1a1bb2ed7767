package kafka

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func written(t *testing.T, st state) *Cluster {
	t.Helper()
	c := &Cluster{dir: t.TempDir(), state: st}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoad(t *testing.T) {
	c := written(t, state{ID: "x", Options: Options{Brokers: 2, TLSDir: "/tls"}, Brokers: []broker{{Plain: 1, TLS: 2, Control: 3}, {Plain: 4, TLS: 5, Control: 6}}})
	got, err := Load(c.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"127.0.0.1:1", "127.0.0.1:4"}, got.Brokers()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"127.0.0.1:2", "127.0.0.1:5"}, got.TLSBrokers()); diff != "" {
		t.Error(diff)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("loaded nothing")
	}
	if got.Running(1) || got.Running(3) || got.Pause(1) == nil || got.Kill(3) == nil {
		t.Error("commands to brokers that are not there")
	}
}

// A pid that has gone to another process is left alone: here, to this test.
func TestForeignPID(t *testing.T) {
	c := written(t, state{Brokers: []broker{{PID: os.Getpid(), Started: "1"}}})
	if c.Running(1) {
		t.Error("takes us for a broker")
	}
	if err := c.Kill(1); err != nil {
		t.Error(err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	me, err := startTime(os.Getpid())
	if err != nil || !(broker{PID: os.Getpid(), Started: me}).alive() {
		t.Errorf("does not know its own process: %q, %v", me, err)
	}
}

// Only a folder that holds a cluster is emptied.
func TestClearDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := clearDir(dir); err == nil {
		t.Error("emptied a folder that is not ours")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	c := written(t, state{})
	if err := clearDir(c.Dir()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(c.Dir()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestProperties(t *testing.T) {
	c := written(t, state{Options: Options{Brokers: 3}})
	c.state.Options.Brokers = 3
	if err := c.ports(); err != nil {
		t.Fatal(err)
	}
	text, err := c.properties(2)
	if err != nil {
		t.Fatal(err)
	}
	b := c.state.Brokers
	for _, want := range []string{
		"node.id=2\n", "auto.create.topics.enable=false\n", "transaction.state.log.min.isr=2\n",
		"controller.quorum.voters=1@" + loopback(b[0].Control) + ",2@" + loopback(b[1].Control) + ",3@" + loopback(b[2].Control) + "\n",
		"listeners=PLAINTEXT://" + loopback(b[1].Plain) + ",CONTROLLER://" + loopback(b[1].Control) + "\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	c.state.Options.TLSDir = t.TempDir()
	if _, err := c.properties(1); err == nil {
		t.Error("TLS without certificates")
	}
}

func TestWithin(t *testing.T) {
	n := 0
	if err := within(5*time.Second, func() bool { n++; return n == 3 }, "x"); err != nil || n != 3 {
		t.Error(n, err)
	}
	if err := within(0, func() bool { return false }, "never"); err == nil || !strings.Contains(err.Error(), "never") {
		t.Error(err)
	}
}
