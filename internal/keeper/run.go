package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dsvault/dsv"
)

// errSealed is Run before Obtain.
var errSealed = errors.New("keeper: Run without a root key: Obtain comes first")

// Run keeps the keepers filled until ctx ends: it gives each keeper its own
// share, in parallel, asks how they are at once and then every PollEvery with
// jitter, and at once when a connection breaks, and gives the very same bytes
// to one that came back empty. It keeps all shares in vault, trying until they
// are there. Obtain must have succeeded, and is not called again meanwhile. It
// returns nil when ctx ends or Close is called, after everything it started has
// ended.
func (c *Custodian) Run(ctx context.Context, vault Vault) error {
	ctx, done, ok := c.enter(ctx)
	if !ok {
		return errClosed
	}
	defer done()
	if c.generation() == 0 {
		return errSealed
	}
	stale := c.recall(ctx, vault)
	var work sync.WaitGroup
	work.Go(func() { c.remember(ctx, vault, stale) })
	for i := range c.links {
		work.Go(func() { c.tend(ctx, i) })
	}
	work.Wait()
	return nil
}

// recall takes from the vault which keeper has which share. It reports whether
// the vault must be written anew.
func (c *Custodian) recall(ctx context.Context, vault Vault) (stale bool) {
	b, found, err := vault.LoadShares(ctx)
	defer clear(b)
	if err != nil {
		c.log.Warn("the kept shares of the root key could not be read", "err", err)
	}
	if err != nil || !found {
		return true
	}
	list, err := decodeKept(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || slices.ContainsFunc(list, func(k kept) bool { return !c.set.right(k.share) }) {
		c.log.Warn("the kept shares are not those of the root key; they are written anew")
		return true
	}
	had := make([]int, len(c.links))
	for i, t := range c.cfg.Keepers {
		had[i] = slices.IndexFunc(list, func(k kept) bool { return k.keeper == t.ID })
	}
	c.assign = assignShares(c.owned(), had, c.set.count)
	return !slices.Equal(c.assign, had)
}

// owned is which share each keeper holds for certain, -1 = not known. Under mu.
func (c *Custodian) owned() []int {
	own := make([]int, len(c.assign))
	for i := range own {
		own[i] = -1
		if c.sure[i] {
			own[i] = c.assign[i]
		}
	}
	return own
}

// remember writes the shares to the vault whenever they or their keepers
// changed.
func (c *Custodian) remember(ctx context.Context, vault Vault, stale bool) {
	for {
		if stale {
			c.mu.Lock()
			b := encodeKept(c.set, c.cfg.Keepers, c.assign)
			c.mu.Unlock()
			err := vault.SaveShares(ctx, b)
			clear(b)
			stale = err != nil && ctx.Err() == nil
			if stale {
				c.log.Warn("the shares of the root key could not be kept; will try again", "err", err)
				if !pause(ctx, jitter(c.cfg.PollEvery)) {
					return
				}
				continue
			}
		}
		select {
		case <-c.dirty:
			stale = true
		case <-ctx.Done():
			return
		}
	}
}

// tend looks after one keeper.
func (c *Custodian) tend(ctx context.Context, i int) {
	l := c.links[i]
	defer l.close()
	var proven dsv.Incarnation // the process that was seen to hold the right share
	delay := firstDelay
	for {
		l.calm()
		start := time.Now()
		err := c.visit(ctx, i, &proven)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if !pause(ctx, jitter(delay)) {
				return
			}
			delay = min(2*delay, c.cfg.PollEvery)
			continue
		}
		delay = firstDelay
		if !c.rest(ctx, l, start) {
			return
		}
	}
}

// rest waits for the next poll or for the connection to break; the least pause
// between two visits is a twentieth of PollEvery.
func (c *Custodian) rest(ctx context.Context, l *link, start time.Time) bool {
	t := time.NewTimer(jitter(c.cfg.PollEvery))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	case <-l.broken:
		return pause(ctx, max(0, c.cfg.PollEvery/20-time.Since(start)))
	}
}

// visit asks a keeper how it is, and gives it its share unless this process of
// it is proven to hold it. An error means that it did not answer.
func (c *Custodian) visit(ctx context.Context, i int, proven *dsv.Incarnation) error {
	a, err := c.links[i].status(ctx)
	if err == nil && a.held && a.generation == c.generation() && a.incarnation == *proven {
		c.seen(i, a.generation)
		return nil
	}
	if err == nil {
		*proven = dsv.Incarnation{}
		*proven, err = c.give(ctx, i)
	}
	if err != nil && ctx.Err() == nil {
		c.note(i, KeeperStatus{Problem: "does not answer: " + err.Error()})
	}
	return err
}

func (c *Custodian) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.set == nil {
		return 0
	}
	return c.set.generation
}

// give hands a keeper its share. It returns the keeper's incarnation if it
// holds a right one now, and none, with the problem in Status, if it does not
// take it.
func (c *Custodian) give(ctx context.Context, i int) (dsv.Incarnation, error) {
	c.mu.Lock()
	index, generation := c.assign[i], c.set.generation
	var b []byte
	if index >= 0 {
		b = c.set.encoded(index)
	}
	c.mu.Unlock()
	defer clear(b)
	if index < 0 {
		c.wrong(i, answer{}, "has no share: there are more keepers than shares of this generation")
		return dsv.Incarnation{}, nil
	}
	a, stored, err := c.links[i].put(ctx, generation, nil, b)
	switch {
	case errors.Is(err, errConflict):
		return c.inspect(ctx, i)
	case err != nil:
		return dsv.Incarnation{}, err
	case stored:
		c.log.Info("keeper held no share and was given its own again", "keeper", c.cfg.Keepers[i].ID, "generation", generation)
	}
	if !c.settle(i, index) {
		return dsv.Incarnation{}, nil
	}
	return a.incarnation, nil
}

// inspect looks at what a keeper holds that did not take its share: another
// share of the same generation is as good, anything else is named.
func (c *Custodian) inspect(ctx context.Context, i int) (dsv.Incarnation, error) {
	a, err := c.links[i].get(ctx)
	if err != nil {
		return dsv.Incarnation{}, err
	}
	defer a.wipe()
	c.mu.Lock()
	check := c.set.checkFile()
	v := look(a, nil, &c.cfg, &check)
	problem := v.problem
	switch {
	case problem != "" || !a.held: // lost it again: the next visit tells
	case !c.set.right(v.share):
		problem = fmt.Sprintf("holds a share of another split, generation %d", a.generation)
	default:
		problem = c.reassign(i, v.share.index)
	}
	c.mu.Unlock()
	if problem != "" || !a.held {
		c.wrong(i, a, problem)
		return dsv.Incarnation{}, nil
	}
	c.settle(i, v.share.index)
	return a.incarnation, nil
}

// reassign records that a keeper holds the share of another index than it was
// to have. Under mu.
func (c *Custodian) reassign(i, index int) (problem string) {
	own := c.owned()
	for other, has := range own {
		if other != i && has == index {
			return fmt.Sprintf("holds the same share as keeper %s", c.cfg.Keepers[other].ID)
		}
	}
	own[i] = index
	c.assign = assignShares(own, c.assign, c.set.count)
	select {
	case c.dirty <- struct{}{}:
	default:
	}
	return ""
}

// settle records that a keeper holds the share of index for certain; false if
// it is to have another one by now.
func (c *Custodian) settle(i, index int) bool {
	c.mu.Lock()
	ok := c.assign[i] == index
	c.sure[i] = ok
	generation := c.set.generation
	c.mu.Unlock()
	c.seen(i, generation)
	return ok
}

func (c *Custodian) seen(i int, generation uint64) {
	c.note(i, KeeperStatus{Reachable: true, Holds: true, Generation: generation})
}

func (c *Custodian) wrong(i int, a answer, problem string) {
	c.mu.Lock()
	c.sure[i] = false
	c.mu.Unlock()
	c.note(i, KeeperStatus{Reachable: true, Holds: a.held, Generation: a.generation, Problem: problem})
}
