package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

// One goroutine commits. It takes what is queued, judges each transaction
// against the commits since its snapshot and those before it in the same
// round, writes all that stand as one batch, publishes it and answers. While
// it writes, the next ones queue: so commits share an fsync when they come
// faster than the disk, and somewhat before (see rest).
//
// Invariant: judging, recording in the history and giving revisions happen in
// one order, the order of the rounds and of the requests in them, and so does
// what a crash of the machine leaves of rounds that were not synced. A
// transaction that stands therefore read what it would have read had it run
// alone at that place in the order: serializable.

// round is one batch in the making.
type round struct {
	tick     uint64
	accepted []*request
	lost     []*request // answered when revisions are known
	rows     int
	cost     int64
	sync     bool // one of them asks for it
}

func (c *core) commitLoop() {
	for {
		reqs, ok := c.queue.take(c.syncBy)
		switch {
		case reqs == nil && !ok:
			return
		case reqs == nil:
			if err := c.sync(); err != nil {
				c.fail(err)
			}
			continue
		}
		began, n, syncs := time.Now(), len(reqs), c.syncs
		for len(reqs) > 0 {
			reqs = reqs[c.round(reqs):]
		}
		if n >= company && c.syncs > syncs {
			c.rest(min(restFor*time.Since(began), maxRest))
		}
	}
}

// Where commits come in company the committer rests after a round that it
// synced, so that more of them share the next one: it costs a sync of the disk
// and more than that of processor time, and who commits in company waits for
// others anyway. One writer alone never waits.
const (
	company = 2 // commits of one round
	restFor = 2 // times what the round took
	maxRest = 8 * time.Millisecond
)

func (c *core) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.stop:
	}
}

// round commits a first part of the requests and returns its length.
func (c *core) round(reqs []*request) int {
	c.makeRoom()
	rd := round{tick: c.oracle.newest() + tickStep}
	used := 0
	for _, r := range reqs {
		if len(rd.accepted) > 0 && !c.fits(&rd, r) {
			break
		}
		used++
		if !r.take() {
			continue
		}
		err := c.judge(r, &rd)
		switch {
		case err != nil:
			r.answer(0, err)
		case r.lost != nil:
			rd.lost = append(rd.lost, r)
		default:
			rd.add(r)
			c.hist.record(rd.tick, r.rows)
		}
	}
	if len(rd.accepted) > 0 {
		c.write(&rd)
	}
	return used
}

// makeRoom lets go of what no open transaction needs.
func (c *core) makeRoom() {
	oldest, oldestWriter := c.oracle.sweep(time.Now())
	if tick, over := c.hist.excess(); over && tick > oldestWriter {
		c.oracle.killWriters(tick)
		oldestWriter = tick
	}
	c.hist.trim(oldestWriter)
	c.eng.discard(oldest)
}

// fits tells whether a request can be in a batch with those accepted.
func (c *core) fits(rd *round, r *request) bool {
	rows, cost := c.eng.limits()
	return !c.opt.OneByOne && len(rd.accepted) < maxRoundTxns &&
		rd.rows+len(r.rows)+1+trimRows < rows && rd.cost+r.cost+trimCost < cost
}

func (rd *round) add(r *request) {
	rd.accepted = append(rd.accepted, r)
	rd.rows += len(r.rows) + 1
	rd.cost += r.cost
	rd.sync = rd.sync || r.sync
}

// judge tells why a request cannot commit, if it cannot. A condition that
// fails against a write of the same round sets r.lost instead: the revision to
// report is not known yet.
func (c *core) judge(r *request, rd *round) error {
	if err := c.failed.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *err)
	}
	if r.epoch.dead[writer].Load() {
		return ErrExpired
	}
	since := r.epoch.tick
	for _, cd := range r.conds {
		row := &r.rows[cd.row]
		if !c.hist.changed(row.hash, since) {
			continue // it held in the snapshot
		}
		if by := rd.writer(row.key); by != nil {
			if !by.deletes(row.key) || !cd.holds(0) {
				r.lost, r.key = by, row.key
				return nil
			}
			continue
		}
		item, err := c.eng.view(rd.tick - tickStep).get(row.key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if !cd.holds(item.Revision) {
			return &RevisionError{Key: bytes.Clone(row.key[1:]), Current: item.Revision}
		}
	}
	for _, hash := range r.reads {
		if c.hist.changed(hash, since) {
			return ErrConflict
		}
	}
	if c.hist.touched(r.ranges, since) {
		return ErrConflict
	}
	return nil
}

// writer is the last request of the round that writes a key.
func (rd *round) writer(key []byte) *request {
	for _, r := range slices.Backward(rd.accepted) {
		if r.find(key) != nil {
			return r
		}
	}
	return nil
}

func (r *request) find(key []byte) *row {
	i := sort.Search(len(r.rows), func(i int) bool { return bytes.Compare(r.rows[i].key, key) >= 0 })
	if i < len(r.rows) && bytes.Equal(r.rows[i].key, key) {
		return &r.rows[i]
	}
	return nil
}

func (r *request) deletes(key []byte) bool {
	w := r.find(key)
	return w == nil || w.del
}

// write makes the round durable and answers it.
func (c *core) write(rd *round) {
	b := batch{tick: rd.tick, cost: rd.cost}
	if len(rd.accepted) == 1 {
		b.rows = rd.accepted[0].rows
	}
	puts := false
	for i, r := range rd.accepted {
		slot := byte(maxRoundTxns - len(rd.accepted) + i)
		r.rev = revision(rd.tick, slot)
		for j := range r.rows {
			r.rows[j].slot = slot
		}
		if len(rd.accepted) > 1 {
			b.rows = append(b.rows, r.rows...)
		}
		puts = puts || r.puts
	}
	if !c.log.append(&b, rd.accepted) && !puts {
		b.rows = append(b.rows, row{key: keyTick, slot: lastSlot})
	}
	err := c.eng.apply(&b)
	switch {
	case err != nil:
	case rd.sync || !c.syncBy.IsZero() && time.Now().After(c.syncBy):
		err = c.sync()
	case c.syncBy.IsZero():
		c.syncBy = time.Now().Add(SyncWithin)
	}
	if err != nil {
		c.fail(err)
		err = fmt.Errorf("%w: %w", ErrFailed, err)
		for _, r := range slices.Concat(rd.accepted, rd.lost) {
			r.answer(0, err)
		}
		return
	}
	c.oracle.publish(rd.tick, c.log.newest, c.log.trimmed)
	for _, r := range rd.accepted {
		r.answer(r.rev, nil)
	}
	for _, r := range rd.lost {
		r.answer(0, r.lost.refusal(r.key))
	}
}

// sync makes durable what was applied.
func (c *core) sync() error {
	c.syncBy = time.Time{}
	c.syncs++
	return c.eng.sync()
}

// refusal is the error of another's condition on a key this one wrote.
func (r *request) refusal(key []byte) error {
	e := &RevisionError{Key: bytes.Clone(key[1:])}
	if !r.deletes(key) {
		e.Current = r.rev
	}
	return e
}
