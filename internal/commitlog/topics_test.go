package commitlog_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
)

func (w *world) tryOpen() error {
	l, err := commitlog.Open(ctx(w.t), w.cfg)
	if err == nil {
		_ = l.Close()
	}
	return err
}

// names tells which settings err complains of, as topic suffix:name=found.
func names(t *testing.T, err error) (ns []string) {
	t.Helper()
	se, ok := errors.AsType[*commitlog.SettingsError](err)
	if !ok {
		t.Fatalf("got %v, want a SettingsError", err)
	}
	for _, s := range se.Settings {
		ns = append(ns, s.Topic[strings.LastIndexByte(s.Topic, '.')+1:]+":"+s.Name+"="+s.Found)
		if !strings.Contains(err.Error(), s.String()) || s.Wanted == "" {
			t.Errorf("the text does not tell %q: %s", s, err)
		}
	}
	slices.Sort(ns)
	return ns
}

func (w *world) alter(topic, name, value string) {
	w.t.Helper()
	rs, err := w.admin().AlterTopicConfigs(ctx(w.t), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: kadm.StringPtr(value)}}, w.cfg.Cluster+topic)
	if err == nil {
		err = rs[0].Err
	}
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
}

// Open names every wrong setting, Init mends what can be mended and can be
// repeated.
func TestSettings(t *testing.T) {
	w := bareWorld(t)
	if diff := cmp.Diff([]string{"control:the topic=missing", "log:the topic=missing"}, names(t, w.tryOpen())); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := commitlog.Init(ctx(t), w.cfg); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.tryOpen(); err != nil {
		t.Fatal(err)
	}
	wrong := []string{"cleanup.policy=compact", "max.message.bytes=1000", "message.timestamp.type=CreateTime", "retention.bytes=1000000", "retention.ms=1000000"}
	if w.broker == nil && !w.replicated() {
		wrong = append(wrong, "flush.messages=2")
	} else if w.broker == nil {
		wrong = append(wrong, "min.insync.replicas=1", "unclean.leader.election.enable=true")
	}
	var want []string
	for _, topic := range []string{".log", ".control"} {
		for _, s := range wrong {
			name, value, _ := strings.Cut(s, "=")
			w.alter(topic, name, value)
			want = append(want, topic[1:]+":"+s)
		}
	}
	slices.Sort(want)
	eventually(t, "the broker shows the settings", 10*time.Second, func() bool { return w.tryOpen() != nil && len(names(t, w.tryOpen())) == len(want) })
	if diff := cmp.Diff(want, names(t, w.tryOpen())); diff != "" {
		t.Error(diff)
	}
	if err := commitlog.Init(ctx(t), w.cfg); err != nil {
		t.Fatal(err)
	}
	if err := w.tryOpen(); err != nil {
		t.Error(err)
	}
}

func (w *world) replicated() bool {
	bs, err := w.admin().ListBrokers(ctx(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(bs) > 1
}

// Another number of partitions cannot be mended, and is not.
func TestPartitionCount(t *testing.T) {
	w := newWorld(t)
	more := w.cfg
	more.Partitions = partitions + 1
	want := []string{"log:the number of partitions=4"}
	if diff := cmp.Diff(want, names(t, commitlog.Init(ctx(t), more))); diff != "" {
		t.Error(diff)
	}
	more.Incarnation = dsv.NewIncarnation()
	_, err := commitlog.Open(ctx(t), more)
	if diff := cmp.Diff(want, names(t, err)); diff != "" {
		t.Error(diff)
	}
	// A running Log goes on with the partitions it knows, and Check tells.
	a := w.start()
	if rs, err := w.admin().CreatePartitions(ctx(t), 1, w.cfg.Cluster+".log"); err != nil || rs.Error() != nil {
		t.Fatal(err, rs.Error())
	}
	eventually(t, "check tells", 10*time.Second, func() bool { return a.Check(ctx(t)) != nil })
	if diff := cmp.Diff([]string{"log:the number of partitions=5"}, names(t, a.Check(ctx(t)))); diff != "" {
		t.Error(diff)
	}
	a.append(3, "still here")
	a.waitCount(3, 1)
}

// Two brokers cannot hold a log; three get a replicated one.
func TestBrokerCount(t *testing.T) {
	t.Parallel()
	two := embedded(t, commitlog.BrokerConfig{Memory: true, Brokers: 2})
	if err := commitlog.Init(ctx(t), two.cfg); err == nil || !strings.Contains(err.Error(), "2 brokers") {
		t.Errorf("got %v", err)
	}
	three := embedded(t, commitlog.BrokerConfig{Memory: true, Brokers: 3})
	adm := three.admin()
	for topic, parts := range map[string]int32{".log": partitions, ".control": 1} {
		if _, err := adm.CreateTopic(ctx(t), parts, 2, nil, three.cfg.Cluster+topic); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"control:the replication factor=2", "control:message.timestamp.type=CreateTime", "control:min.insync.replicas=1", "control:retention.ms=604800000",
		"log:the replication factor=2", "log:message.timestamp.type=CreateTime", "log:min.insync.replicas=1", "log:retention.ms=604800000",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, names(t, three.tryOpen())); diff != "" {
		t.Error(diff)
	}
	fresh := &world{t: t, cfg: newConfig(three.cfg.Brokers), broker: three.broker}
	if err := commitlog.Init(ctx(t), fresh.cfg); err != nil {
		t.Fatal(err)
	}
	fresh.start().append(0, "x")
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	w := embedded(t, commitlog.BrokerConfig{Memory: true})
	_ = w.broker.Close()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := commitlog.Open(short, w.cfg); !errors.Is(err, commitlog.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Every fault of a Config is told at once.
func TestConfig(t *testing.T) {
	_, err := commitlog.Open(t.Context(), commitlog.Config{Brokers: []string{"nowhere"}, Cluster: "a b"})
	for _, field := range []string{"log.brokers", "log.cluster ", "log.cluster_id", "log.partitions", "log.key", "log.incarnation"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named in: %v", field, err)
		}
	}
	if k := dsv.KindOf(err); k != dsv.KindInvalid {
		t.Errorf("kind %v", k)
	}
}
