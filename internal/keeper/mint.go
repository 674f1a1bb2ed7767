package keeper

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/dsvault/dsv"
)

// A new root key is agreed on like a value in single-decree Paxos, with the
// generation as ballot, the keepers as acceptors and every keeper in both
// quorums:
//
//  1. claim: each keeper promises to take no share of a lower claim and
//     answers what it holds. A threshold of shares of one generation among
//     the answers means that key may be in use: it is taken instead.
//  2. put: each keeper takes its share under that very claim. A keeper that
//     restarted has no claim and refuses.
//
// A key is chosen once a threshold of keepers took its shares; a later claim
// then sees them, whoever makes it, so no second key is ever put. The first
// keeper by id is claimed first: of two processes at once one loses there and
// waits until the state has rested, so that claims do not chase each other.

// mint is a root key made in this Obtain that not every keeper has confirmed.
type mint struct {
	set   *set
	claim claimID
}

func (o *obtain) drop() {
	if o.mint != nil {
		o.mint.set.wipe()
		o.mint = nil
	}
}

// mayMint reports whether a new key may be made after a full round without a
// threshold.
func (o *obtain) mayMint(views []view) bool {
	if !o.opt.NewDirectory || o.opt.Known != nil {
		return false
	}
	for _, v := range views {
		if v.problem != "" { // silent, or holds something unsound
			return false
		}
	}
	return o.patient(views)
}

// fingerprint is the state of all keepers, for comparing two rounds.
type fingerprint string

// patient reports whether no other bootstrap is under way: all keepers are
// untouched, or what an earlier one left has not moved for three attempts.
func (o *obtain) patient(views []view) bool {
	touched := false
	var b strings.Builder
	for _, v := range views {
		touched = touched || v.held || v.claimed > 0
		b.Write(v.incarnation[:])
		for _, n := range [...]uint64{v.generation, v.claimed} {
			for shift := 0; shift < 64; shift += 8 {
				b.WriteByte(byte(n >> shift))
			}
		}
	}
	if !touched {
		return true
	}
	if print := fingerprint(b.String()); print != o.quiet {
		o.quiet, o.since = print, time.Now()
		o.delay = firstDelay
		return false
	}
	return time.Since(o.since) >= 3*o.cfg.AttemptTimeout
}

// reserve claims the next generation on every keeper and, if all promise and
// still no key is in use, makes the key. views become what the keepers held at
// their promise.
func (o *obtain) reserve(ctx context.Context, views []view) (outcome, error) {
	var highest uint64
	for _, v := range views {
		highest = max(highest, v.generation, v.claimed)
	}
	if highest == math.MaxUint64 {
		return outcome{}, dsv.E(dsv.KindInternal, dsv.CodeInternal, "the generations of the root key are used up")
	}
	generation, id := highest+1, newClaimID()
	first, err := o.links[0].claim(ctx, generation, id)
	first.wipe()
	if err != nil {
		return outcome{}, nil // lost to another, or silent: the next round tells
	}
	wipeViews(views)
	clear(views)
	out := o.ask(ctx, views, func(l *link, ctx context.Context) (answer, error) {
		return l.claim(ctx, generation, id) // the first one again: it answers the same
	})
	if out.set != nil {
		return out, nil
	}
	for _, v := range views {
		if v.problem != "" { // silent, or holds something unsound
			return outcome{}, nil
		}
	}
	s, err := newSet(o.cfg.Cluster, o.cfg.Node, generation, o.cfg.Threshold, len(o.links))
	if err != nil {
		return outcome{}, err
	}
	o.mint = &mint{s, id}
	return outcome{}, nil
}

// advance pushes the shares of the mint to all who do not hold theirs yet, and
// returns it when all do. It gives the mint up when a keeper refuses and fewer
// than a threshold hold it: then another process may make, or has made, the
// key.
func (o *obtain) advance(ctx context.Context, views []view) outcome {
	s := o.mint.set
	confirmed := make([]bool, len(views))
	have := 0
	for i, v := range views {
		if v.held && s.holds(i, v.body) {
			confirmed[i] = true
			have++
		}
	}
	claim := &o.mint.claim
	if have >= s.threshold {
		claim = nil // chosen: a keeper that lost its promise may take it all the same
	}
	errs := make([]error, len(views))
	var pushing sync.WaitGroup
	for i, v := range views {
		if confirmed[i] || v.err != nil {
			continue
		}
		pushing.Go(func() {
			b := s.encoded(i)
			defer clear(b)
			_, _, errs[i] = o.links[i].put(ctx, s.generation, claim, b)
			confirmed[i] = errs[i] == nil
		})
	}
	pushing.Wait()
	return o.count(views, confirmed, errs)
}

// count ends a push.
func (o *obtain) count(views []view, confirmed []bool, errs []error) outcome {
	s := o.mint.set
	own := make([]int, len(views))
	have, refused := 0, false
	for i, v := range views {
		own[i] = i
		if confirmed[i] {
			have++
			if !v.held { // it moves on: do not dawdle
				o.delay = firstDelay
			}
			o.note(i, KeeperStatus{Reachable: true, Holds: true, Generation: s.generation})
		}
		refused = refused || errors.Is(errs[i], errConflict)
	}
	switch {
	case have == len(views):
		o.log.Info("new root key: every keeper has confirmed its share", "generation", s.generation, "keepers", have, "threshold", s.threshold)
		o.mint = nil
		return outcome{set: s, own: own, fresh: true}
	case refused && have < s.threshold:
		o.log.Warn("new root key given up: another bootstrap of this node is under way", "generation", s.generation)
		o.drop()
		o.delay = firstDelay
	}
	return outcome{}
}

// fill gives a key that was found to the keepers that were not seen to hold
// their share. It tries once; Run goes on.
func (o *obtain) fill(ctx context.Context, out outcome) {
	assign := assignShares(out.own, nil, out.set.count)
	var pushing sync.WaitGroup
	for i, index := range assign {
		if index < 0 || out.own[i] == index {
			continue
		}
		pushing.Go(func() {
			b := out.set.encoded(index)
			defer clear(b)
			if _, _, err := o.links[i].put(ctx, out.set.generation, nil, b); err == nil {
				out.own[i] = index
				o.note(i, KeeperStatus{Reachable: true, Holds: true, Generation: out.set.generation})
			}
		})
	}
	pushing.Wait()
}
