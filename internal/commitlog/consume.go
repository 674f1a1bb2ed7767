package commitlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dsvault/dsv"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Cursor is where to go on in one partition. The zero Cursor is the beginning.
type Cursor struct {
	Next    int64    // offset of the next record
	Epoch   int32    // leader epoch of the record before it; of no meaning if Next is 0
	TopicID [16]byte // of the topic it was read from; zero: not known yet
}

// Record is one record of a partition. Records of a partition are delivered in
// order, without a gap, the void ones too.
type Record struct {
	Partition   dsv.Partition
	Offset      int64
	Epoch       int32 // leader epoch, for Cursor
	AppendTime  int64 // the broker's, in microseconds since 1970; its resolution is a millisecond
	Incarnation dsv.Incarnation
	Body        []byte // nil if void; the receiver's
	Void        string // why it is void, one of the Void constants; "" if it is not
}

// Divergence says that a partition is not the one that was read before, or does
// not keep its promises. The partition has stopped and does not go on by itself,
// nor does it take appends.
type Divergence struct {
	Partition dsv.Partition
	Reason    string
}

// Batch is what one fetch brought: records in order within each partition.
type Batch struct {
	Records  []Record
	Diverged []Divergence
}

const (
	// maxFailing is how long one partition may answer with an error that
	// retrying should not mend before it counts as diverged.
	maxFailing = 3 * time.Second
	// errorPause is between two polls when the first brought errors only.
	errorPause = 50 * time.Millisecond
)

// consumer is the reading half of a Log.
type consumer struct {
	mu       sync.Mutex
	started  bool
	diverged map[dsv.Partition]string
	fresh    []Divergence // of them, not yet returned by Poll
	wake     func()       // ends the wait of the Poll under way
	read     uint64
	void     map[string]uint64

	// Used by Poll only.
	parts map[dsv.Partition]*reading
}

// reading is the place of Poll in one partition.
type reading struct {
	next    int64
	epoch   int32
	stopped bool
	failing time.Time // since when every read has failed; zero if the last did not
}

func (c *consumer) init(cfg Config) {
	c.diverged = map[dsv.Partition]string{}
	c.void = map[string]uint64{}
	c.parts = make(map[dsv.Partition]*reading, cfg.Partitions+1)
}

// Start begins to read every partition, each from its place in from, or from
// its beginning if it has none there. It does not block: the places are checked
// against the brokers in the background, and a partition whose place is not in
// the log any more, or is in another topic, comes out of Poll as diverged.
// Start can be called once.
func (l *Log) Start(from map[dsv.Partition]Cursor) error {
	for p, cur := range from {
		if _, _, ok := l.cfg.topic(p); !ok {
			return fmt.Errorf("%w: %d", ErrPartition, p)
		}
		if cur.Next < 0 {
			return fmt.Errorf("commitlog: start of partition %d at offset %d", p, cur.Next)
		}
	}
	c := &l.consumer
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case l.closed.Load():
		return ErrClosed
	case c.started:
		return errors.New("commitlog: started before")
	}
	c.started = true
	check := map[dsv.Partition]Cursor{}
	for _, p := range l.cfg.all() {
		cur := from[p]
		if cur.Next == 0 {
			cur.Epoch = -1
		}
		c.parts[p] = &reading{next: cur.Next, epoch: cur.Epoch}
		if id := l.TopicID(p); cur.TopicID != id && cur.TopicID != [16]byte{} {
			c.diverge(p, fmt.Sprintf("the topic was made anew: its id is %s, was %s", idString(id), idString(cur.TopicID)))
			continue
		}
		check[p] = cur
	}
	l.work.Go(func() { l.assign(check) })
	return nil
}

// diverge stops p for good. Called locked.
func (c *consumer) diverge(p dsv.Partition, reason string) {
	if _, ok := c.diverged[p]; ok {
		return
	}
	c.diverged[p] = reason
	c.fresh = append(c.fresh, Divergence{p, reason})
	if c.wake != nil {
		c.wake()
	}
}

func (c *consumer) stopped(p dsv.Partition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.diverged[p]
	return ok
}

// Poll returns what the next fetch brings, and blocks until it brings anything.
// A Batch has at least one record or divergence, of partitions in any order.
// Only one goroutine may be in Poll.
//
// Errors: ErrClosed, or that of ctx.
func (l *Log) Poll(ctx context.Context) (Batch, error) {
	for {
		if l.closed.Load() {
			return Batch{}, ErrClosed
		}
		wait, cancel := context.WithCancel(ctx)
		b := l.consumer.take(cancel)
		if len(b.Diverged) > 0 {
			cancel()
			return b, nil
		}
		fetches := l.cl.PollFetches(wait)
		cancel()
		l.digest(fetches, &b)
		l.consumer.count(&b)
		if len(b.Records) > 0 || len(b.Diverged) > 0 {
			return b, nil
		}
		if err := ctx.Err(); err != nil {
			return Batch{}, err
		}
		if fetches.IsClientClosed() {
			return Batch{}, ErrClosed
		}
		select {
		case <-ctx.Done():
		case <-l.life.Done():
		case <-time.After(errorPause):
		}
	}
}

// take returns the divergences not yet returned, and otherwise arranges for a
// later one to end the wait.
func (c *consumer) take(wake func()) Batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := Batch{Diverged: c.fresh}
	c.fresh = nil
	c.wake = wake
	return b
}

// count adds the batch to the statistics and takes its fresh divergences.
func (c *consumer) count(b *Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.Diverged = append(b.Diverged, c.fresh...)
	c.fresh, c.wake = nil, nil
	c.read += uint64(len(b.Records))
	for i := range b.Records {
		if v := b.Records[i].Void; v != "" {
			c.void[v]++
		}
	}
}

// digest turns fetches into records, partition by partition.
func (l *Log) digest(fetches kgo.Fetches, b *Batch) {
	b.Records = make([]Record, 0, fetches.NumRecords())
	for i := range fetches {
		for _, t := range fetches[i].Topics {
			for _, fp := range t.Partitions {
				p, ok := l.cfg.partition(t.Topic, fp.Partition)
				if !ok {
					continue // an error of the whole poll
				}
				if reason := l.partition(p, t, fp, b); reason != "" {
					l.stop(p, t.Topic, fp.Partition, reason)
				}
			}
		}
	}
}

// partition digests what a fetch brought of one partition and returns why it
// has to stop, if it has to.
func (l *Log) partition(p dsv.Partition, t kgo.FetchTopic, fp kgo.FetchPartition, b *Batch) string {
	at := l.consumer.parts[p]
	if at.stopped {
		return ""
	}
	if id := l.ids[t.Topic]; t.TopicID != id && t.TopicID != [16]byte{} {
		return fmt.Sprintf("the topic was made anew: its id is %s, was %s", idString(t.TopicID), idString(id))
	}
	for _, r := range fp.Records {
		if reason := at.admit(r); reason != "" {
			return reason
		}
		b.Records = append(b.Records, l.record(p, r))
	}
	if fp.Err == nil {
		at.failing = time.Time{}
		return ""
	}
	return at.fail(fp.Err)
}

// admit moves on by one record, or tells why it cannot be the next one.
func (at *reading) admit(r *kgo.Record) string {
	switch {
	case r.Offset > at.next:
		return fmt.Sprintf("a gap: offset %d follows where %d was expected", r.Offset, at.next)
	case r.Offset < at.next:
		return fmt.Sprintf("a regression: offset %d follows where %d was expected", r.Offset, at.next)
	case r.LeaderEpoch < at.epoch:
		return fmt.Sprintf("a regression: leader epoch %d at offset %d after epoch %d", r.LeaderEpoch, r.Offset, at.epoch)
	case r.Attrs.TimestampType() != 1:
		return fmt.Sprintf("the record at offset %d has no append time of the broker: message.timestamp.type is not LogAppendTime", r.Offset)
	}
	at.next, at.epoch, at.failing = r.Offset+1, r.LeaderEpoch, time.Time{}
	return ""
}

// fail judges an error of a fetch: one that tells of loss stops the partition
// at once, any other when it persists. That an authorisation was taken away is
// mended from outside and stops nothing; the partition is merely not read.
func (at *reading) fail(err error) string {
	if at.failing.IsZero() {
		at.failing = now()
	}
	_, lost := errors.AsType[*kgo.ErrDataLoss](err)
	switch {
	case lost:
		return "records lost: " + err.Error()
	case errors.Is(err, kerr.OffsetOutOfRange):
		return fmt.Sprintf("records lost: offset %d, where to go on, is not in the log", at.next)
	case errors.Is(err, kerr.TopicAuthorizationFailed) || now().Sub(at.failing) < maxFailing:
		return ""
	case errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition):
		return "the topic was deleted or made anew"
	}
	return fmt.Sprintf("offset %d cannot be read: %s", at.next, err)
}

// stop stops a partition on the client's side too.
func (l *Log) stop(p dsv.Partition, topic string, part int32, reason string) {
	l.consumer.parts[p].stopped = true
	l.cl.RemoveConsumePartitions(map[string][]int32{topic: {part}})
	l.consumer.mu.Lock()
	defer l.consumer.mu.Unlock()
	l.consumer.diverge(p, reason)
}

// record opens one record.
func (l *Log) record(p dsv.Partition, r *kgo.Record) Record {
	rec := Record{Partition: p, Offset: r.Offset, Epoch: r.LeaderEpoch, AppendTime: r.Timestamp.UnixMicro()}
	switch {
	case r.Attrs.IsControl():
		rec.Void = VoidMarker
	case len(r.Key) > 0 || len(r.Headers) > 0:
		rec.Void = VoidKey
	default:
		rec.Incarnation, rec.Body, rec.Void = l.seal.open(r.Topic, r.Partition, r.Value)
	}
	return rec
}
