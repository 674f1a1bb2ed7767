package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/tests/cluster"
)

//go:embed testdata/nextjs.env
var nextjs []byte

//go:embed testdata/rails.env
var rails []byte

//go:embed testdata/spring.env
var spring []byte

// demo is the cluster and what the steps remember.
type demo struct {
	dir   string
	kafka int
	bin   string
	c     *cluster.Cluster
	cl    *client.Client
	began time.Time
	noted string
	path  dsv.Path // the secret the story is about
	old   string   // its first value
	first client.Found
	down  [2]int // nodes killed, holders of the namespace
	v3At  time.Time
}

type step struct {
	name string
	do   func(context.Context) error
}

func (d *demo) note(format string, a ...any) { d.noted = fmt.Sprintf(format, a...) }

func (d *demo) takeNote() string {
	if d.noted == "" {
		return ""
	}
	s := ": " + d.noted
	d.noted = ""
	return s
}

func (d *demo) build(ctx context.Context) error {
	d.bin = filepath.Join(d.dir, "bin")
	return cluster.Build(ctx, d.bin, "dsvnode", "dsvctl")
}

func (d *demo) close() error {
	if d.cl != nil {
		d.cl.Close()
	}
	if d.c == nil {
		return nil
	}
	return d.c.Close()
}

func (d *demo) steps() []step {
	return []step{
		{"a log, three keepers and five nodes are up, as processes, with TLS everywhere", d.start},
		{"three real .env files are stored: their values are secrets, what is left is safe to commit", d.store},
		{"they are rendered back byte for byte", d.render},
		{"a secret is updated, and its first version is still read by number and by time", d.update},
		{"one holder is killed with kill -9, and the secret is updated by four of five", d.killOne},
		{"a second one is killed: every value is still read", d.killTwo},
		{"status says degraded, and why", d.degraded},
		{"a write is refused, with nothing done", d.refused},
		{"both are started again; their keepers unseal them", d.restart},
		{"the next read repairs the hole, and the version stays what it was", d.repair},
		{"one node's directory is deleted: it comes back by itself and is refilled", d.wipe},
		{"a keeper is killed and started empty: the nodes refill it", d.keeper},
		{"everything is still there, byte for byte", d.render},
	}
}

func (d *demo) start(ctx context.Context) (err error) {
	d.c, err = cluster.Start(ctx, cluster.Options{Dir: filepath.Join(d.dir, "c"), Bin: d.bin, Kafka: d.kafka})
	if err != nil {
		return err
	}
	d.cl, err = d.c.Client()
	return err
}

// ctl runs dsvctl as a user would and returns what it printed.
func (d *demo) ctl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "dsvctl"), args...)
	cmd.Env = append(os.Environ(), "DSV_ADDR="+strings.Join(d.c.Endpoints(), ","), "DSV_CA="+d.c.Layout().CACert(),
		"DSV_TOKEN_FILE="+d.c.Layout().OperatorToken())
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("dsvctl %s: %w: %s%s", strings.Join(args, " "), err, errs.String(), out.String())
	}
	return out.String(), err
}

// files are the .env files by namespace.
func files() map[string][]byte {
	return map[string][]byte{"shop/web": nextjs, "shop/api": rails, "shop/jobs": spring}
}

func (d *demo) template(ns string) string {
	return filepath.Join(d.dir, strings.ReplaceAll(ns, "/", "-")+".env")
}

func (d *demo) store(ctx context.Context) error {
	n := 0
	for ns, text := range files() {
		if err := os.WriteFile(d.template(ns), text, 0o600); err != nil {
			return err
		}
		if _, err := d.ctl(ctx, "", "env", "encrypt", "-n", ns, d.template(ns), "--all", "--in-place"); err != nil {
			return err
		}
		after, err := os.ReadFile(d.template(ns))
		if err != nil {
			return err
		}
		refs := bytes.Count(after, []byte("secret("))
		if refs == 0 || bytes.Equal(after, text) {
			return fmt.Errorf("the template of %s holds no reference", ns)
		}
		n += refs
	}
	d.note("%d secrets in %d namespaces", n, len(files()))
	return nil
}

func (d *demo) render(ctx context.Context) error {
	bytesOut := 0
	for ns, want := range files() {
		got, err := d.ctl(ctx, "", "env", "render", "-n", ns, d.template(ns))
		if err != nil {
			return err
		}
		if ns == d.path.NS.String() { // the story changed one value of this one
			got = strings.Replace(got, "v3-of-four", d.old, 1)
		}
		if got != string(want) {
			return fmt.Errorf("%s is not what went in:\n%s", ns, got)
		}
		bytesOut += len(got)
	}
	d.note("%d bytes", bytesOut)
	return nil
}

func (d *demo) update(ctx context.Context) (err error) {
	if d.path, err = dsv.ParsePath("shop/web", "GITHUB_SECRET"); err != nil {
		return err
	}
	names, err := d.ctl(ctx, "", "secret", "list", "-n", "shop/web")
	if err != nil {
		return err
	}
	if !strings.Contains(names, d.path.Key.String()) {
		return fmt.Errorf("no %s in\n%s", d.path.Key, names)
	}
	if d.first, err = d.cl.Get(ctx, d.path, nil); err != nil {
		return err
	}
	d.old = string(d.first.Value.Reveal())
	if _, err := d.ctl(ctx, "v2", "secret", "update", "-n", "shop/web", d.path.Key.String(), "-"); err != nil {
		return err
	}
	now, err := d.cl.Get(ctx, d.path, nil)
	if err != nil {
		return err
	}
	byNumber, err := d.ctl(ctx, "", "secret", "get", "-n", "shop/web", d.path.Key.String(), "--version", "1")
	if err != nil {
		return err
	}
	at := now.ValidFrom.Add(-time.Microsecond).Format(time.RFC3339Nano)
	byTime, err := d.ctl(ctx, "", "secret", "get", "-n", "shop/web", d.path.Key.String(), "--at", at)
	if err != nil {
		return err
	}
	if now.Version != 2 || string(now.Value.Reveal()) != "v2" || byNumber != d.old || byTime != d.old {
		return fmt.Errorf("version %d; by number %q, by time %q, at first %q", now.Version, byNumber, byTime, d.old)
	}
	d.note("version 2 now; version 1 until %s", now.ValidFrom.Format(time.RFC3339Nano))
	return nil
}

// holders are the nodes of the namespace but the first, by number.
func (d *demo) holders(ctx context.Context) ([]int, error) {
	s, err := d.cl.Shards(ctx, d.path)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, h := range s.Versions[len(s.Versions)-1].Holders {
		out = append(out, d.c.IndexOf(dsv.NodeID(h.Node)))
	}
	return out, nil
}

func (d *demo) killOne(ctx context.Context) error {
	h, err := d.holders(ctx)
	if err != nil {
		return err
	}
	d.down = [2]int{h[3], h[4]}
	if err := d.c.Node(d.down[1]).Kill(); err != nil {
		return err
	}
	w, err := d.cl.Update(ctx, d.path, dsv.SecretOf([]byte("v3-of-four")), nil)
	if err != nil {
		return err
	}
	d.v3At = time.Now()
	if w.Version != 3 {
		return fmt.Errorf("version %d, not 3", w.Version)
	}
	d.note("%s is gone, version 3 is there", d.c.NodeID(d.down[1]))
	return nil
}

func (d *demo) killTwo(ctx context.Context) error {
	if err := d.c.Node(d.down[0]).Kill(); err != nil {
		return err
	}
	for i := range d.c.Nodes() {
		if !d.c.Node(i).Running() {
			continue
		}
		cl, err := d.c.Client(i)
		if err != nil {
			return err
		}
		f, err := cl.Get(ctx, d.path, nil)
		cl.Close()
		if err != nil {
			return err
		}
		if f.Version != 3 || string(f.Value.Reveal()) != "v3-of-four" {
			return fmt.Errorf("%s answers version %d", d.c.NodeID(i), f.Version)
		}
	}
	d.note("%s is gone too; three nodes answer version 3", d.c.NodeID(d.down[0]))
	return nil
}

func (d *demo) degraded(ctx context.Context) error {
	s, err := d.cl.Status(ctx)
	if err != nil {
		return err
	}
	if s.State == client.Healthy || s.Reachable != 3 || s.Margin != 0 {
		return fmt.Errorf("status says %s, %d reachable, margin %d", s.State, s.Reachable, s.Margin)
	}
	d.note("%s, %d nodes answer, margin %d: %s", s.State, s.Reachable, s.Margin, strings.Join(s.Why, "; "))
	return nil
}

func (d *demo) refused(ctx context.Context) error {
	begin := time.Now()
	_, err := d.cl.Update(ctx, d.path, dsv.SecretOf([]byte("never")), &client.WriteOptions{})
	var e *dsv.Error
	if !errors.As(err, &e) || e.Code != dsv.CodeWriteQuorum || e.Kind != dsv.KindUnavailable || e.Phase != dsv.PhaseWriting {
		return fmt.Errorf("the write ended with %w", err)
	}
	took := time.Since(begin)
	f, err := d.cl.Get(ctx, d.path, nil)
	if err != nil {
		return err
	}
	if f.Version != 3 {
		return fmt.Errorf("version %d after a refused write", f.Version)
	}
	d.note("503 %s, phase %s, %d of %d, in %v", e.Code, e.Phase, e.Have, e.Need, took.Round(time.Millisecond))
	return nil
}
