package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

const lostNode, wipedKeys = 3, 8

// wiped is what goes on around a node that loses its directory: version v of
// key k is always wipedValue(k, v), written by one writer, and acked[k] is the
// newest version that was acknowledged.
type wiped struct {
	w     *world
	paths [wipedKeys]dsv.Path
	acked [wipedKeys]atomic.Uint64

	reads, refused, writes atomic.Int64
}

func wipedValue(k int, v uint64) string { return fmt.Sprintf("key %d version %d", k, v) }

// TestDirectoryDeleted: a node loses its whole directory. It must come back by
// itself and be refilled, and no strict read, through it or others, may ever be
// wrong meanwhile.
func TestDirectoryDeleted(t *testing.T) {
	d := &wiped{w: quiet(t)}
	w := d.w
	for k := range d.paths {
		d.paths[k] = pathOf(t, fmt.Sprintf("wiped/%d", k%3), fmt.Sprintf("KEY-%d", k))
		if _, err := w.at[0].Create(t.Context(), d.paths[k], secret(wipedValue(k, 1)), nil); err != nil {
			t.Fatal(err)
		}
		d.acked[k].Store(1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range w.Nodes() {
		for half := range 2 {
			wg.Go(func() { d.reader(ctx, t, i, half) })
		}
	}
	wg.Go(func() { d.writer(ctx, t) })
	until(t, "reads", func() error { return atLeast(&d.reads, 200) })
	w.wipe(t, lostNode)
	began := time.Now()
	if err := w.Node(lostNode).Start(); err != nil {
		t.Fatal(err)
	}
	w.ready(t, lostNode)
	back := time.Since(began)
	holes := int64(0)
	until(t, "reads and writes around the refilling", func() error {
		err := d.full(t, &holes)
		if holes > 0 && time.Since(began) > 8*time.Second {
			return nil
		}
		return fmt.Errorf("%d holes, %v", holes, err)
	})
	cancel()
	wg.Wait()
	until(t, "it is refilled", func() error { return d.full(t, &holes) })
	t.Logf("served again %v after its start with nothing; %d holes, refilled %v after the start; %d right reads, %d refused by itself, %d writes meanwhile",
		back.Round(time.Millisecond), holes, time.Since(began).Round(time.Millisecond), d.reads.Load(), d.refused.Load(), d.writes.Load())
	d.counts(t)
}

// reader reads through one node. The node that lost its directory may refuse
// while it is not back; none may be wrong.
func (d *wiped) reader(ctx context.Context, t *testing.T, i, from int) {
	for n := from; ctx.Err() == nil; n++ {
		k := n % wipedKeys
		least := d.acked[k].Load()
		f, err := d.w.at[i].Get(ctx, d.paths[k], nil)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && f.Version >= least && text(f) == wipedValue(k, f.Version):
			d.reads.Add(1)
			continue
		case err != nil && (kindOf(err) == dsv.KindUnavailable || dsv.CodeOf(err) == client.CodeUnreachable):
			d.refused.Add(1)
			if i != lostNode {
				t.Errorf("%s cannot answer: %v", nodeNo(i), err)
			}
		default:
			t.Errorf("%s: %s is version %d %q (%v), at least %d was acknowledged", nodeNo(i), d.paths[k], f.Version, text(f), err, least)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func (d *wiped) writer(ctx context.Context, t *testing.T) {
	for n := 0; ctx.Err() == nil; n++ {
		k := n % wipedKeys
		v := d.acked[k].Load()
		_, err := d.w.at[n%3].Update(ctx, d.paths[k], secret(wipedValue(k, v+1)), &client.WriteOptions{IfVersion: &v})
		switch {
		case err == nil:
			d.acked[k].Store(v + 1)
			d.writes.Add(1)
		case kindOf(err) == dsv.KindPrecondition: // one of unknown outcome was kept
			d.acked[k].Store(v + 1)
		case ctx.Err() == nil:
			fateOf(t, err)
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// full is nil when all nodes have as many shards and none has a hole; holes is
// the most seen at the node that lost its directory.
func (d *wiped) full(t *testing.T, holes *int64) error {
	s, err := d.w.at[lostNode].Status(t.Context())
	if err != nil {
		return err
	}
	for _, m := range s.Members {
		if m.Node == string(d.w.NodeID(lostNode)) {
			*holes = max(*holes, m.Holes)
		}
	}
	for _, m := range s.Members {
		if m.Holes != 0 || m.Shards != s.Members[0].Shards {
			return fmt.Errorf("%s has %d shards and %d holes, %s has %d", m.Node, m.Shards, m.Holes, s.Members[0].Node, s.Members[0].Shards)
		}
	}
	return nil
}

// counts: the refilled node is a holder like any other: with two others gone
// every value is read through it.
func (d *wiped) counts(t *testing.T) {
	t.Helper()
	for _, i := range []int{0, 1} {
		if err := d.w.Node(i).Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for k, p := range d.paths {
		f, err := d.w.at[lostNode].Get(t.Context(), p, nil)
		if err != nil || f.Version < d.acked[k].Load() || text(f) != wipedValue(k, f.Version) {
			t.Errorf("%s through the refilled node: version %d %q, %v", p, f.Version, text(f), err)
		}
	}
}

func atLeast(n *atomic.Int64, want int64) error {
	if got := n.Load(); got < want {
		return fmt.Errorf("%d of %d", got, want)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
