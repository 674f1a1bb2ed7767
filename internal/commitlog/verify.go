package commitlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dsvault/dsv"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListOffsets asks for these instead of a time.
const (
	latest   = -1 // the high watermark
	earliest = -2 // the first offset kept
)

// assign checks the place in each partition against its leader and begins to
// read there. The client library would check part of this by itself, but it
// moves a place that is beyond the end, and takes an epoch that no broker knows
// for a good sign.
func (l *Log) assign(from map[dsv.Partition]Cursor) {
	for {
		good := map[string]map[int32]kgo.Offset{}
		for p, cur := range from {
			reason, err := l.verify(p, cur)
			if err != nil {
				continue // asked again below
			}
			delete(from, p)
			topic, part, _ := l.cfg.topic(p)
			if reason != "" {
				l.consumer.mu.Lock()
				l.consumer.diverge(p, reason)
				l.consumer.mu.Unlock()
				continue
			}
			if good[topic] == nil {
				good[topic] = map[int32]kgo.Offset{}
			}
			good[topic][part] = kgo.NewOffset().At(cur.Next).WithEpoch(cur.Epoch)
		}
		l.cl.AddConsumePartitions(good)
		if len(from) == 0 {
			return
		}
		select {
		case <-l.life.Done():
			return
		case <-time.After(retryPause):
		}
	}
}

// verify returns why the place cur is not in p any more, "" if it is.
func (l *Log) verify(p dsv.Partition, cur Cursor) (string, error) {
	ctx, cancel := context.WithTimeout(l.life, requestTimeout)
	defer cancel()
	if cur.Next > 0 && cur.Epoch >= 0 {
		if reason, err := l.verifyEpoch(ctx, p, cur); reason != "" || err != nil {
			return reason, err
		}
	}
	start, err := l.listOffset(ctx, p, earliest)
	if err != nil {
		return "", err
	}
	end, err := l.listOffset(ctx, p, latest)
	switch {
	case err != nil:
		return "", err
	case cur.Next < start:
		return fmt.Sprintf("records lost: the log begins at offset %d, behind %d, where to go on", start, cur.Next), nil
	case cur.Next > end:
		return fmt.Sprintf("records lost: the log ends at offset %d, before %d, where to go on", end, cur.Next), nil
	}
	return "", nil
}

// verifyEpoch asks the leader where the epoch of the last record read ended.
func (l *Log) verifyEpoch(ctx context.Context, p dsv.Partition, cur Cursor) (string, error) {
	topic, part, _ := l.cfg.topic(p)
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	rp.Partition, rp.CurrentLeaderEpoch, rp.LeaderEpoch = part, -1, cur.Epoch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, l.cl)
	if err != nil {
		return "", err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return "", errors.New("commitlog: no answer for the partition")
	}
	end := resp.Topics[0].Partitions[0]
	switch err := kerr.ErrorForCode(end.ErrorCode); {
	case err != nil:
		return "", err
	case end.EndOffset < 0:
		return fmt.Sprintf("records lost: the leader does not know leader epoch %d, in which offset %d was read", cur.Epoch, cur.Next-1), nil
	case end.EndOffset < cur.Next:
		return fmt.Sprintf("records lost: leader epoch %d ends at offset %d, before %d, where to go on", cur.Epoch, end.EndOffset, cur.Next), nil
	}
	return "", nil
}

// listOffset asks the leader of p for one of its offsets.
func (l *Log) listOffset(ctx context.Context, p dsv.Partition, what int64) (int64, error) {
	topic, part, _ := l.cfg.topic(p)
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp = part, what
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, l.cl)
	if err != nil {
		return 0, err
	}
	for _, t := range resp.Topics {
		for _, rp := range t.Partitions {
			return rp.Offset, kerr.ErrorForCode(rp.ErrorCode)
		}
	}
	return 0, errors.New("commitlog: no answer for the partition")
}

// EndOffset asks the leader of p for its end: every record acknowledged before
// the call has a lower offset, unless the leader has been deposed and does not
// know yet. It tries until ctx ends.
//
// Errors: ErrPartition, ErrSilent at once, ErrClosed, or that of ctx with the
// last refusal.
func (l *Log) EndOffset(ctx context.Context, p dsv.Partition) (int64, error) {
	if _, _, ok := l.cfg.topic(p); !ok {
		return 0, ErrPartition
	}
	for {
		if l.closed.Load() {
			return 0, ErrClosed
		}
		if l.Silent(p) {
			return 0, ErrSilent
		}
		end, err := l.listOffset(ctx, p, latest)
		if err == nil {
			return end, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("commitlog: end offset: %w", errors.Join(ctx.Err(), err))
		case <-l.life.Done():
			return 0, ErrClosed
		case <-time.After(retryPause / 5):
		}
	}
}
