package commitlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	replicas      = 3       // with three brokers or more
	minISR        = 2       // likewise
	maxBatchBytes = 1000012 // of one produced batch; Kafka's default limit is a little above
	retryPause    = 250 * time.Millisecond
)

// wanted is how one setting of a topic must be.
type wanted struct {
	name  string
	value string
	ok    func(found string) bool // nil: equal to value
	words string                  // how an error tells it; "" is value
	probe string                  // a broker setting that tells whether brokers know this one; "" is known to all
}

func atLeast(n int64) func(string) bool {
	return func(s string) bool {
		v, err := strconv.ParseInt(s, 10, 64)
		return err == nil && v >= n
	}
}

// wantedSettings are the settings of both topics. replicated is whether the
// cluster has more than one broker, or the topic more than one replica.
func wantedSettings(replicated bool) []wanted {
	ws := []wanted{
		{name: "message.timestamp.type", value: "LogAppendTime"},
		{name: "cleanup.policy", value: "delete"},
		{name: "retention.ms", value: "-1"},
		{name: "retention.bytes", value: "-1"},
		{name: "max.message.bytes", value: "1048588", ok: atLeast(maxBatchBytes), words: "at least " + strconv.Itoa(maxBatchBytes)},
	}
	if replicated {
		return append(ws,
			wanted{name: "min.insync.replicas", value: strconv.Itoa(minISR), ok: atLeast(minISR), words: "at least 2"},
			wanted{name: "unclean.leader.election.enable", value: "false", probe: "unclean.leader.election.enable"})
	}
	return append(ws, wanted{name: "flush.messages", value: "1", probe: "log.flush.interval.messages"})
}

// topicState is what the brokers say of the two topics.
type topicState struct {
	brokers kadm.BrokerDetails
	ids     map[string][16]byte
	wrong   []Setting
	fixable map[string][]wanted // wrong settings that Init can set, by topic
	missing []string
	leaders map[string]map[int32]int32 // as metadata tells
}

// inspect asks the brokers about both topics and judges the answer. An error is
// one of asking; what is wrong with the topics is in the state.
func inspect(ctx context.Context, adm *kadm.Client, cfg Config) (*topicState, error) {
	names := []string{cfg.logTopic(), cfg.controlTopic()}
	md, err := adm.Metadata(ctx, names...)
	if err != nil {
		return nil, err
	}
	st := &topicState{brokers: md.Brokers, ids: map[string][16]byte{}, fixable: map[string][]wanted{}, leaders: map[string]map[int32]int32{}}
	var found []string
	for _, name := range names {
		t, ok := md.Topics[name]
		if !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			st.missing = append(st.missing, name)
			st.wrong = append(st.wrong, Setting{name, "the topic", "missing", "made by init"})
			continue
		}
		if t.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, t.Err)
		}
		found = append(found, name)
		st.judgeShape(cfg, t)
	}
	if len(found) == 0 {
		return st, nil
	}
	rcs, err := adm.DescribeTopicConfigs(ctx, found...)
	if err != nil {
		return nil, err
	}
	for _, name := range found {
		rc, err := rcs.On(name, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return nil, fmt.Errorf("settings of topic %s: %w", name, err)
		}
		st.judgeSettings(name, rc.Configs, len(st.brokers) > 1 || replication(md.Topics[name]) > 1)
	}
	return st, nil
}

// replication is the smallest number of replicas of any partition.
func replication(t kadm.TopicDetail) int {
	n := 0
	for _, p := range t.Partitions {
		if n == 0 || len(p.Replicas) < n {
			n = len(p.Replicas)
		}
	}
	return n
}

// judgeShape judges the number of partitions and replicas.
func (st *topicState) judgeShape(cfg Config, t kadm.TopicDetail) {
	st.ids[t.Topic] = t.ID
	st.leaders[t.Topic] = map[int32]int32{}
	for _, p := range t.Partitions {
		st.leaders[t.Topic][p.Partition] = p.Leader
	}
	want := cfg.Partitions
	if t.Topic == cfg.controlTopic() {
		want = 1
	}
	if n := len(t.Partitions); n != want {
		st.wrong = append(st.wrong, Setting{t.Topic, "the number of partitions", strconv.Itoa(n), strconv.Itoa(want)})
	}
	if n := replication(t); len(st.brokers) > 1 && n < replicas {
		st.wrong = append(st.wrong, Setting{t.Topic, "the replication factor", strconv.Itoa(n), "at least " + strconv.Itoa(replicas)})
	}
}

// judgeSettings judges the reported settings of one topic.
func (st *topicState) judgeSettings(topic string, have []kadm.Config, replicated bool) {
	for _, w := range wantedSettings(replicated) {
		i := slices.IndexFunc(have, func(c kadm.Config) bool { return c.Key == w.name })
		if i < 0 || have[i].Value == nil {
			continue // not reported
		}
		found := *have[i].Value
		if w.ok != nil && w.ok(found) || w.ok == nil && found == w.value {
			continue
		}
		words := w.words
		if words == "" {
			words = w.value
		}
		st.wrong = append(st.wrong, Setting{topic, w.name, found, words})
		st.fixable[topic] = append(st.fixable[topic], w)
	}
}

// err is nil if nothing is wrong.
func (st *topicState) err() error {
	if len(st.wrong) == 0 {
		return nil
	}
	return &SettingsError{st.wrong}
}

// inspectUntil repeats inspect while the brokers cannot be asked, or until done
// is content with their answer.
func inspectUntil(ctx context.Context, adm *kadm.Client, cfg Config, done func(*topicState) bool) (*topicState, error) {
	for {
		st, err := inspect(ctx, adm, cfg)
		if err == nil && done(st) {
			return st, nil
		}
		if errors.Is(err, kgo.ErrClientClosed) {
			return nil, ErrClosed
		}
		select {
		case <-ctx.Done():
			if st != nil {
				return st, nil
			}
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, errors.Join(ctx.Err(), err))
		case <-time.After(retryPause):
		}
	}
}
