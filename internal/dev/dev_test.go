package dev_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/coordinator"
	"github.com/dsvault/dsv/internal/dev"
)

// cluster starts five nodes in one process and gives an operator's session on
// the first.
func cluster(t *testing.T, opt dev.Options) *dev.Cluster {
	t.Helper()
	if opt.Dir == "" && !opt.Memory {
		opt.Dir = t.TempDir()
	}
	c, err := dev.Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func session(t *testing.T, c *dev.Cluster, id dsv.NodeID) (*coordinator.Coordinator, *coordinator.Session) {
	t.Helper()
	text, err := c.Token()
	if err != nil {
		t.Fatal(err)
	}
	co := c.Node(id).Coordinator()
	s, err := co.Authenticate(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return co, s
}

func path(t *testing.T, ns, key string) dsv.Path {
	t.Helper()
	p, err := dsv.ParsePath(ns, key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCreateIsReadOnEveryNode(t *testing.T) {
	c := cluster(t, dev.Options{})
	co, s := session(t, c, "n1")
	p := path(t, "team-a/app", "DB_PASSWORD")
	w, err := co.Create(t.Context(), s, coordinator.Write{Path: p, Value: dsv.SecretOf([]byte("hunter2"))})
	if err != nil {
		t.Fatal(err)
	}
	if w.Version != 1 {
		t.Fatalf("version %d, want 1", w.Version)
	}
	for i := 1; i <= 5; i++ {
		co, s := session(t, c, dsv.NodeID(fmt.Sprintf("n%d", i)))
		start := time.Now()
		f, err := co.Get(t.Context(), s, coordinator.Read{Path: p})
		if err != nil {
			t.Fatalf("n%d: %v", i, err)
		}
		if got := string(f.Value.Reveal()); got != "hunter2" || f.Version.Version != 1 {
			t.Fatalf("n%d: %q version %d", i, got, f.Version.Version)
		}
		t.Logf("n%d: %v", i, time.Since(start))
	}
}

// TestMemory: a cluster that writes no file keeps its secrets while nodes and
// keepers stop and start, and nothing longer than itself.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	c := cluster(t, dev.Options{Memory: true})
	co, s := session(t, c, "n1")
	p := path(t, "team-a/app", "DB_PASSWORD")
	if _, err := co.Create(t.Context(), s, coordinator.Write{Path: p, Value: dsv.SecretOf([]byte("hunter2"))}); err != nil {
		t.Fatal(err)
	}
	if err := c.StopKeeper("k2"); err != nil {
		t.Fatal(err)
	}
	if err := c.StartKeeper("k2"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []dsv.NodeID{"n1", "n2", "n3"} {
		if err := c.StopNode(id); err != nil {
			t.Fatal(err)
		}
		if err := c.StartNode(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitReady(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		co, s := session(t, c, id)
		f, err := co.Get(t.Context(), s, coordinator.Read{Path: p})
		if err != nil || string(f.Value.Reveal()) != "hunter2" {
			t.Fatalf("%s after its restart: %v, %v", id, f.Version, err)
		}
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}
