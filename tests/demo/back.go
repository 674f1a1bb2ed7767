package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// holeAfter is when a shard that is missing counts as a hole: before, it may
// still be on its way to a late holder.
const holeAfter = 10 * time.Second

func (d *demo) restart(ctx context.Context) error {
	if err := wait(ctx, time.Until(d.v3At.Add(holeAfter+time.Second))); err != nil {
		return err
	}
	for _, i := range d.down {
		if err := d.c.Node(i).Start(); err != nil {
			return err
		}
	}
	for _, i := range d.down {
		if err := d.c.WaitReady(ctx, i); err != nil {
			return err
		}
	}
	return until(ctx, 10*time.Second, func() error {
		s, err := d.cl.Status(ctx)
		if err == nil && s.Reachable != d.c.Nodes() {
			err = fmt.Errorf("%d nodes answer: %s", s.Reachable, strings.Join(s.Why, "; "))
		}
		return err
	})
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// shardLine tells who holds what of the newest version.
func (d *demo) shardLine(ctx context.Context) (line string, good int, err error) {
	s, err := d.cl.Shards(ctx, d.path)
	if err != nil {
		return "", 0, err
	}
	v := s.Versions[len(s.Versions)-1]
	var parts []string
	for _, h := range v.Holders {
		parts = append(parts, string(h.Node)+" "+h.State)
		if h.State == "good" {
			good++
		}
	}
	return strings.Join(parts, ", "), good, nil
}

func (d *demo) repair(ctx context.Context) error {
	before, good, err := d.shardLine(ctx)
	if err != nil {
		return err
	}
	if good != 4 {
		return fmt.Errorf("%d good shards before the read: %s", good, before)
	}
	f, err := d.cl.Get(ctx, d.path, nil)
	if err != nil {
		return err
	}
	var after string
	err = until(ctx, 10*time.Second, func() error {
		after, good, err = d.shardLine(ctx)
		if err == nil && good != 5 {
			err = fmt.Errorf("%d good shards: %s", good, after)
		}
		return err
	})
	if err != nil {
		return err
	}
	g, err := d.cl.Get(ctx, d.path, nil)
	if err != nil {
		return err
	}
	if f.Version != 3 || g.Version != 3 || !g.ValidFrom.Equal(f.ValidFrom.Time) || g.Author != f.Author || !g.Value.Equal(f.Value) {
		return fmt.Errorf("the repair changed more than shards: %d %v %s", g.Version, g.ValidFrom, g.Author)
	}
	d.note("\n             before: %s\n             after:  %s\n             version 3 before and after", before, after)
	return nil
}

// until asks again and again until f has nothing to say.
func until(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if wait(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("after %v: %w", limit, err)
		}
	}
}

func (d *demo) member(ctx context.Context, id dsv.NodeID) (client.Member, error) {
	s, err := d.cl.Status(ctx)
	if err != nil {
		return client.Member{}, err
	}
	for _, m := range s.Members {
		if dsv.NodeID(m.Node) == id {
			return m, nil
		}
	}
	return client.Member{}, fmt.Errorf("status names no %s", id)
}

// steady is a member with nothing under way: a repair that has just switched a
// version may still hold the shard before it.
func (d *demo) steady(ctx context.Context, id dsv.NodeID) (m client.Member, err error) {
	var last int64 = -1
	err = until(ctx, 20*time.Second, func() error {
		if m, err = d.member(ctx, id); err != nil {
			return err
		}
		same := m.Shards == last
		last = m.Shards
		if !same || m.Holes != 0 || m.Staged != 0 {
			return fmt.Errorf("%d shards, %d holes, %d staged", m.Shards, m.Holes, m.Staged)
		}
		return nil
	})
	return m, err
}

func (d *demo) wipe(ctx context.Context) error {
	i := d.down[0]
	had, err := d.steady(ctx, d.c.NodeID(i))
	if err != nil {
		return err
	}
	if err := d.c.Node(i).Kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(d.c.DataDir(i)); err != nil {
		return err
	}
	if err := d.c.Node(i).Start(); err != nil {
		return err
	}
	if err := d.c.WaitReady(ctx, i); err != nil {
		return err
	}
	var empty client.Member
	err = until(ctx, 10*time.Second, func() (err error) {
		if empty, err = d.member(ctx, d.c.NodeID(i)); err == nil && empty.Holes < 0 {
			err = fmt.Errorf("%s is not connected yet", d.c.NodeID(i))
		}
		return err
	})
	if err != nil {
		return err
	}
	if empty.Holes == 0 && empty.Shards == had.Shards {
		return fmt.Errorf("%s lost nothing", d.c.NodeID(i))
	}
	var full client.Member
	err = until(ctx, 30*time.Second, func() (err error) {
		full, err = d.member(ctx, d.c.NodeID(i))
		if err == nil && (full.Holes != 0 || full.Shards != had.Shards) {
			err = fmt.Errorf("%d shards and %d holes", full.Shards, full.Holes)
		}
		return err
	})
	d.note("%s had %d shards; it came back with %d holes; now %d shards and %d holes", d.c.NodeID(i), had.Shards, empty.Holes, full.Shards, full.Holes)
	return err
}

func (d *demo) keeper(ctx context.Context) error {
	if err := d.c.Keeper(0).Kill(); err != nil {
		return err
	}
	if err := d.c.Keeper(0).Start(); err != nil {
		return err
	}
	n := 0
	for i := range d.c.Nodes() {
		cl, err := d.c.Client(i)
		if err != nil {
			return err
		}
		err = until(ctx, 20*time.Second, func() error {
			s, err := cl.Status(ctx)
			if err != nil {
				return err
			}
			for _, k := range s.Keepers {
				if !k.Reachable || !k.Holds {
					return fmt.Errorf("%s sees keeper %s: reachable %v, holds %v", d.c.NodeID(i), k.Keeper, k.Reachable, k.Holds)
				}
				n++
			}
			return nil
		})
		cl.Close()
		if err != nil {
			return err
		}
	}
	d.note("%d shares are held", n)
	return nil
}
