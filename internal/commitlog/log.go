package commitlog

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Log is one process's view of the log. Its methods are safe for concurrent
// use, except that only one goroutine may be in Poll.
type Log struct {
	cfg  Config
	cl   *kgo.Client
	adm  *kadm.Client
	seal *sealer
	ids  map[string][16]byte // topic ids found by Open
	life context.Context     // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup // goroutines of this Log

	health   health
	producer producer
	consumer consumer
	closed   atomic.Bool
}

// Open connects to the brokers, refuses topics that are not as they must be and
// remembers their ids. While no broker can be asked it keeps trying until ctx
// ends. It reads and writes nothing yet: see Start and Append.
//
// Two open Logs must not have the same Incarnation.
//
// Errors: those of Config.Validate, a *SettingsError with every wrong setting,
// or ErrUnreachable.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Key = dsv.SecretOf(bytes.Clone(cfg.Key.Reveal()))
	l := &Log{cfg: cfg}
	var err error
	if l.seal, err = newSealer(cfg); err != nil {
		return nil, err
	}
	l.health.init()
	if l.cl, err = newClient(cfg, &l.health); err != nil {
		return nil, err
	}
	l.adm = kadm.NewClient(l.cl)
	l.producer.init(l.cl)
	l.life, l.end = context.WithCancel(context.Background())
	st, err := inspectUntil(ctx, l.adm, cfg, func(*topicState) bool { return true })
	if err == nil {
		err = st.err()
	}
	if err != nil {
		l.end()
		l.cl.Close()
		cfg.Key.Wipe()
		return nil, err
	}
	l.ids = st.ids
	l.consumer.init(cfg)
	l.health.start(cfg, st)
	l.work.Go(l.probe)
	return l, nil
}

// Check asks the brokers whether the topics are still as they must be and still
// the ones that Open found. It is cheap enough to be repeated hourly.
// Errors as Open.
func (l *Log) Check(ctx context.Context) error {
	st, err := inspectUntil(ctx, l.adm, l.cfg, func(*topicState) bool { return true })
	if err != nil {
		return err
	}
	for topic, id := range l.ids {
		if now, ok := st.ids[topic]; ok && now != id {
			st.wrong = append(st.wrong, Setting{topic, "the topic id", idString(now), idString(id)})
		}
	}
	return st.err()
}

// TopicID is the id of the Kafka topic that p is in, as Open found it; zero for
// a partition that does not exist. It belongs beside a stored position.
func (l *Log) TopicID(p dsv.Partition) [16]byte {
	topic, _, ok := l.cfg.topic(p)
	if !ok {
		return [16]byte{}
	}
	return l.ids[topic]
}

// Partitions are all partitions of the log, Control last.
func (l *Log) Partitions() []dsv.Partition { return l.cfg.all() }

// Close ends Poll with ErrClosed, calls every outstanding done with ErrClosed
// and waits for all goroutines. Records handed over may or may not have reached
// the log. It can be repeated.
func (l *Log) Close() error {
	l.consumer.mu.Lock() // no Start halfway
	closed := l.closed.Swap(true)
	l.consumer.mu.Unlock()
	if closed {
		return nil
	}
	l.end()
	l.work.Wait()
	l.producer.close()
	l.cfg.Key.Wipe()
	return nil
}

// now is the one clock of this package.
func now() time.Time { return time.Now() }
