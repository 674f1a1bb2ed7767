package keeper

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/dsvault/dsv"
)

// firstDelay is the pause after the first round; it doubles up to PollEvery.
const firstDelay = 100 * time.Millisecond

// ObtainOptions say what the node has on disk.
type ObtainOptions struct {
	// NewDirectory: nothing is sealed under any root key yet. Only then, and
	// with Known nil, may a new key be made.
	NewDirectory bool
	// Known is the check of the key the directory is under, nil if the node
	// does not remember one.
	Known *Check
}

// Collected says what Obtain found.
type Collected struct {
	Check Check // to remember beside the directory
	Fresh bool  // the key was made just now; all keepers have confirmed
	Have  int   // keepers whose right share was seen so far
	Count int   // shares of the generation; the Custodian has them all
}

// Obtain asks all keepers until it has the root key or ctx ends. The node owns
// the Root and wipes it.
//
// It takes the key from any threshold of shares that fit the key check value;
// wrong, swapped or damaged ones are left out and named in Status. A new key
// is made only for a new directory without Known, and only if every keeper
// answers, none holds anything unsound and no generation has a threshold; then
// it returns after ALL keepers have confirmed their shares. (A key found for a
// new directory may be one whose making was cut short: keepers without a share
// get theirs before it is returned, but a silent one does not hold it up, as
// the node may have lost its disk.) In any other case it keeps trying, and Reason says why. If another process of this node makes
// a key at the same time, both return the same one.
//
// The error, when ctx ends, is KindUnavailable with CodeSealed and the reason.
func (c *Custodian) Obtain(ctx context.Context, opt ObtainOptions) (*Root, Collected, error) {
	ctx, done, ok := c.enter(ctx)
	if !ok {
		return nil, Collected{}, errClosed
	}
	defer done()
	select {
	case c.obtaining <- struct{}{}:
		defer func() { <-c.obtaining }()
	case <-ctx.Done():
		return nil, Collected{}, c.sealed(ctx)
	}
	o := &obtain{Custodian: c, opt: opt, delay: firstDelay}
	defer o.drop()
	for {
		out, err := o.round(ctx)
		if err != nil {
			return nil, Collected{}, err
		}
		if out.set != nil {
			if opt.NewDirectory && !out.fresh {
				o.fill(ctx, out)
			}
			root, got := c.adopt(out)
			return root, got, nil
		}
		if !pause(ctx, jitter(o.delay)) {
			return nil, Collected{}, c.sealed(ctx)
		}
		o.delay = min(2*o.delay, c.cfg.PollEvery)
	}
}

func (c *Custodian) sealed(ctx context.Context) error {
	e := dsv.E(dsv.KindUnavailable, dsv.CodeSealed, c.Reason())
	e.Op, e.Err = "root key", context.Cause(ctx)
	return e
}

// obtain is one call of Obtain.
type obtain struct {
	*Custodian
	opt   ObtainOptions
	delay time.Duration

	mint  *mint       // a key this call has made, not confirmed yet
	quiet fingerprint // the partial state seen last, see patient
	since time.Time
}

// outcome is a root key with its shares and who holds them.
type outcome struct {
	set   *set
	own   []int
	fresh bool
}

// round asks every keeper once, in parallel, and returns as soon as a
// threshold fits. An outcome without a set means: again.
func (o *obtain) round(ctx context.Context) (outcome, error) {
	views := make([]view, len(o.links))
	defer wipeViews(views)
	if out := o.ask(ctx, views, (*link).get); out.set != nil {
		return out, nil
	}
	if ctx.Err() != nil {
		return outcome{}, nil
	}
	if o.mint == nil && !o.mayMint(views) {
		return outcome{}, nil
	}
	if o.mint == nil {
		if out, err := o.reserve(ctx, views); out.set != nil || err != nil || o.mint == nil {
			return out, err
		}
	}
	return o.advance(ctx, views), nil
}

// ask sends one request to every keeper and fills views. It stops early when
// a threshold of a generation that is not our own mint fits.
func (o *obtain) ask(parent context.Context, views []view, request func(*link, context.Context) (answer, error)) outcome {
	type reply struct {
		i   int
		a   answer
		err error
	}
	ctx, cancel := context.WithCancel(parent)
	var asking sync.WaitGroup
	replies := make(chan reply, len(o.links))
	for i, l := range o.links {
		asking.Go(func() {
			a, err := request(l, ctx)
			replies <- reply{i, a, err}
		})
	}
	var v verdict
	for range o.links {
		r := <-replies
		if r.err != nil && parent.Err() != nil {
			continue // it was us who ended it
		}
		views[r.i] = look(r.a, r.err, &o.cfg, o.opt.Known)
		if v = o.judge(views); v.set != nil {
			break
		}
	}
	cancel()
	asking.Wait()
	for len(replies) > 0 {
		(<-replies).a.wipe()
	}
	o.setReason(o.explain(views, v))
	o.report(views)
	return outcome{set: v.set, own: v.own}
}

// judge leaves our own unconfirmed mint out.
func (o *obtain) judge(views []view) verdict {
	v := judge(views, o.cfg.Keepers)
	if v.set != nil && o.mint != nil && v.set.head == o.mint.set.head {
		v.set.wipe()
		v.set = nil
	}
	return v
}

// report puts what was seen into Status.
func (o *obtain) report(views []view) {
	for i, v := range views {
		if v.asked {
			o.note(i, KeeperStatus{Reachable: v.err == nil, Holds: v.held, Generation: v.generation, Problem: v.problem})
		}
	}
}

// explain is the sentence of Reason.
func (o *obtain) explain(views []view, v verdict) string {
	if v.set != nil {
		return ""
	}
	need := max(v.need, o.cfg.Threshold)
	text := fmt.Sprintf("sealed: %d of %d shares of the root key", v.best, need)
	switch {
	case o.mint != nil:
		text = "sealed: a new root key waits until every keeper has confirmed its share"
	case o.opt.NewDirectory && o.opt.Known == nil:
		text += "; a new one is made only when every keeper answers and holds nothing unsound"
	}
	var b strings.Builder
	before := o.Status()
	for i, w := range views {
		what := w.problem
		switch {
		case !w.asked: // the round was cut short: what was known before
			what = before[i].Problem
		case what == "" && !w.held:
			what = "holds no share"
		}
		if what == "" {
			continue
		}
		fmt.Fprintf(&b, "; keeper %s %s", o.cfg.Keepers[i].ID, what)
	}
	return text + b.String()
}

// adopt keeps the shares for Run and hands out the key.
func (c *Custodian) adopt(out outcome) (*Root, Collected) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set.wipe()
	c.set, c.reason = out.set, ""
	c.assign = assignShares(out.own, nil, out.set.count)
	c.sure = make([]bool, len(out.own))
	have := map[int]bool{}
	for i, index := range out.own {
		c.sure[i] = index >= 0 && c.assign[i] == index
		if index >= 0 {
			have[index] = true
		}
	}
	got := Collected{Check: out.set.checkFile(), Fresh: out.fresh, Have: len(have), Count: out.set.count}
	return out.set.root(), got
}

// assignShares gives each keeper a share of its own: the one it holds (if two
// hold one, the keeper that had it), else the one it had, else the one of its
// place, else any that is left; -1 if there are more keepers than shares. nil
// for had stands for the places.
func assignShares(own, had []int, count int) []int {
	out := make([]int, len(own))
	place := make([]int, len(own))
	for i := range out {
		out[i], place[i] = -1, i
	}
	if had == nil {
		had = place
	}
	taken := make([]bool, count)
	take := func(i, index int) {
		if out[i] < 0 && index >= 0 && index < count && !taken[index] {
			out[i], taken[index] = index, true
		}
	}
	for i, index := range own {
		if index == had[i] {
			take(i, index)
		}
	}
	for _, wish := range [][]int{own, had, place} {
		for i, index := range wish {
			take(i, index)
		}
	}
	for i := range out {
		for index := range count {
			take(i, index)
		}
	}
	return out
}

func wipeViews(views []view) {
	for _, v := range views {
		v.wipe()
	}
}

// pause waits, or returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// jitter is d shortened by up to a half.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2+1) }
