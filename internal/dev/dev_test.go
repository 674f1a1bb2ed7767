package dev_test

import (
	"context"
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
	text, err := os.ReadFile(c.Layout().OperatorToken())
	if err != nil {
		t.Fatal(err)
	}
	co := c.Node(id).Coordinator()
	s, err := co.Authenticate(t.Context(), dsv.SecretOf(trim(text)))
	if err != nil {
		t.Fatal(err)
	}
	return co, s
}

func trim(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
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
	_ = context.Background
}
