package commitlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Init makes the two topics of a cluster right: it creates what is missing, and
// corrects the settings of what is there, except the number of partitions and
// the replication factor, which no one may change. It can be repeated. It uses
// Brokers, TLS, Dial, Cluster, Partitions and Logger of cfg only, and tries until
// ctx ends.
//
// With three brokers or more a topic gets replication 3, min.insync.replicas 2
// and unclean elections off; with one it gets replication 1 and flush.messages
// 1. With two brokers Init refuses: two cannot hold a log that survives one.
//
// Errors: those of Validate that concern Init, ErrUnreachable, a *SettingsError
// for what could not be made right, or what the brokers answered.
func Init(ctx context.Context, cfg Config) error {
	if errs := cfg.validateTopics(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	cl, err := newClient(cfg, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	st, err := inspectUntil(ctx, adm, cfg, func(*topicState) bool { return true })
	if err != nil {
		return err
	}
	if len(st.brokers) == 2 {
		return fmt.Errorf("commitlog: the Kafka cluster has 2 brokers in reach: a log needs one, or at least %d", replicas)
	}
	known, err := knownSettings(ctx, adm)
	if err != nil {
		return err
	}
	for _, topic := range st.missing {
		if err := create(ctx, adm, cfg, topic, len(st.brokers) > 1, known); err != nil {
			return err
		}
	}
	for topic, ws := range st.fixable {
		if err := correct(ctx, adm, topic, ws); err != nil {
			return err
		}
	}
	return settle(ctx, cl, cfg)
}

// settle waits until the brokers report what Init asked for, each of them: a Log
// may ask any. What Init cannot set is told at once.
func settle(ctx context.Context, cl *kgo.Client, cfg Config) error {
	st, err := inspectUntil(ctx, kadm.NewClient(cl), cfg, func(st *topicState) bool {
		return len(st.missing) == 0 && len(st.fixable) == 0 && knownToAll(ctx, cl, cfg, st)
	})
	if err != nil {
		return err
	}
	return st.err()
}

// knownToAll reports whether every broker that answers knows both topics and a
// leader of each of their partitions.
func knownToAll(ctx context.Context, cl *kgo.Client, cfg Config, st *topicState) bool {
	for _, b := range st.brokers {
		req := kmsg.NewPtrMetadataRequest()
		for _, name := range []string{cfg.logTopic(), cfg.controlTopic()} {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(name)
			req.Topics = append(req.Topics, t)
		}
		resp, err := cl.Broker(int(b.NodeID)).Request(ctx, req)
		if err != nil {
			continue
		}
		for _, t := range resp.(*kmsg.MetadataResponse).Topics {
			if t.ErrorCode != 0 || slices.ContainsFunc(t.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader < 0 }) {
				return false
			}
		}
	}
	return true
}

// knownSettings tells which broker settings the brokers report at all.
func knownSettings(ctx context.Context, adm *kadm.Client) (map[string]bool, error) {
	brokers, err := adm.ListBrokers(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	ids := brokers.NodeIDs()
	if len(ids) == 0 {
		return known, nil
	}
	rcs, err := adm.DescribeBrokerConfigs(ctx, ids[0]) // one speaks for all
	if err != nil {
		return nil, err
	}
	for _, rc := range rcs {
		for _, c := range rc.Configs {
			known[c.Key] = true
		}
	}
	return known, nil
}

func create(ctx context.Context, adm *kadm.Client, cfg Config, topic string, replicated bool, known map[string]bool) error {
	settings := map[string]*string{}
	for _, w := range wantedSettings(replicated) {
		if w.probe == "" || known[w.probe] {
			settings[w.name] = kadm.StringPtr(w.value)
		}
	}
	parts, reps := int32(cfg.Partitions), int16(1)
	if topic == cfg.controlTopic() {
		parts = 1
	}
	if replicated {
		reps = replicas
	}
	resp, err := adm.CreateTopic(ctx, parts, reps, settings, topic)
	if err == nil {
		err = resp.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("commitlog: create topic %s with %s partitions: %w %s", topic, strconv.Itoa(int(parts)), err, resp.ErrMessage)
	}
	return nil
}

func correct(ctx context.Context, adm *kadm.Client, topic string, ws []wanted) error {
	var alter []kadm.AlterConfig
	for _, w := range ws {
		alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: w.name, Value: kadm.StringPtr(w.value)})
	}
	resps, err := adm.AlterTopicConfigs(ctx, alter, topic)
	if err != nil {
		return fmt.Errorf("commitlog: correct topic %s: %w", topic, err)
	}
	for _, r := range resps {
		if r.Err != nil {
			return fmt.Errorf("commitlog: correct topic %s: %w %s", topic, r.Err, r.ErrMessage)
		}
	}
	return nil
}
