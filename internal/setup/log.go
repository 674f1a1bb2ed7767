package setup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// LogOptions say what InitLog works with.
type LogOptions struct {
	Topology Topology           // with its cluster id
	Identity *identity.Identity // the operator's, shown to the brokers; nil speaks plain TCP
	Key      dsv.Secret         // the log key
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	Logger   *slog.Logger
}

// InitLog does on the log of a new cluster what Run does, without any file:
// topics, CONFIG, the operator's first token. It returns the token's text,
// which is kept nowhere else; the caller wipes it. A log that has had its first
// token is KindConflict, other errors are those of Run.
func InitLog(ctx context.Context, o LogOptions) (dsv.Secret, error) {
	if err := o.Topology.Check(); err != nil {
		return dsv.Secret{}, err
	}
	if o.Topology.ID == "" {
		return dsv.Secret{}, dsv.Invalid("id", "is missing: the cluster needs an id before its log")
	}
	var text dsv.Secret
	w := logWork{LogOptions: o, say: func(string, ...any) {}, first: func(made string) (auth.Token, bool, error) {
		if made != "" {
			return auth.Token{}, false, conflict("the log", "has had its first token, "+made)
		}
		t := auth.NewToken()
		text = t.Text()
		return t, true, nil
	}}
	if err := w.do(ctx); err != nil {
		text.Wipe()
		return dsv.Secret{}, err
	}
	return text, nil
}

// log is InitLog for a directory.
func (r *run) log(ctx context.Context) error {
	o, err := r.logOptions()
	if err != nil {
		return err
	}
	defer o.Key.Wipe()
	w := logWork{LogOptions: o, say: r.say, first: r.firstToken, tokenAt: r.lay.OperatorToken()}
	return w.do(ctx)
}

// logOptions reads what the directory has of them. The caller wipes the key.
func (r *run) logOptions() (LogOptions, error) {
	key, err := identity.ReadKeyFile(r.lay.LogKey())
	if err != nil {
		return LogOptions{}, err
	}
	o := LogOptions{Topology: r.t, Key: key, Dial: r.Dial, Logger: r.Logger}
	if !r.t.BrokerTLS {
		return o, nil
	}
	if o.Identity, err = identity.Load(identity.Files(Identity(r.lay.Operator()))); err != nil {
		key.Wipe()
	}
	return o, err
}

// logWork makes the topics right and appends what is missing of the first
// records.
type logWork struct {
	LogOptions
	say func(format string, a ...any)
	// first gives the first token, where the log has had the token of that id,
	// or none; not ok leaves things as they are. The caller wipes its secret.
	first   func(made string) (t auth.Token, ok bool, err error)
	tokenAt string // where its text is, for people
}

func (w *logWork) do(ctx context.Context) error {
	t, cfg := &w.Topology, w.logConfig()
	if err := commitlog.Init(ctx, cfg); err != nil {
		return logError("topics", err)
	}
	l, err := commitlog.Open(ctx, cfg)
	if err != nil {
		return logError("topics", err)
	}
	defer func() { _ = l.Close() }()
	w.say("log   topics %s.log (%d partitions) and %s.control are right", t.Cluster, t.Partitions, t.Cluster)
	found, err := survey(ctx, l, w.config())
	if err != nil {
		return err
	}
	if err := w.configure(ctx, l, found); err != nil {
		return err
	}
	return w.token(ctx, l, found)
}

// config is the CONFIG record of the topology.
func (w *logWork) config() *metapb.Config {
	t := &w.Topology
	return meta.Config{ClusterID: t.ID, Members: t.members(), Q: t.Quorum.Quorum(), Partitions: t.Partitions}.Record()
}

func (w *logWork) logConfig() commitlog.Config {
	t := &w.Topology
	cfg := commitlog.Config{
		Brokers: t.Brokers, Dial: w.Dial, Cluster: t.Cluster, ClusterID: t.ID, Partitions: t.Partitions,
		Key: w.Key, Incarnation: dsv.NewIncarnation(), Logger: w.Logger,
	}
	if w.Identity != nil {
		cfg.TLS = w.Identity.BrokerTLS()
	}
	return cfg
}

// configure appends CONFIG to the partitions that have none.
func (w *logWork) configure(ctx context.Context, l *commitlog.Log, found *surveyed) error {
	body, err := meta.Encode(&metapb.Record{Body: &metapb.Record_Config{Config: w.config()}})
	if err != nil {
		return err
	}
	var missing []dsv.Partition
	for _, p := range l.Partitions() {
		if p != commitlog.Control && !found.configured[p] {
			missing = append(missing, p)
		}
	}
	if err := appendAll(ctx, l, body, missing...); err != nil {
		return logError("CONFIG", err)
	}
	if len(missing) > 0 {
		t, q := &w.Topology, w.Topology.Quorum
		w.say("log   CONFIG of cluster %s (n %d, k %d, w %d, %d members) in %d partitions", t.ID, q.N, q.K, q.W, len(t.Nodes), len(missing))
	}
	return nil
}

// appendAll appends body to each partition and waits for all of them.
func appendAll(ctx context.Context, l *commitlog.Log, body []byte, ps ...dsv.Partition) error {
	var wg sync.WaitGroup
	errs := make([]error, len(ps))
	for i, p := range ps {
		wg.Go(func() { errs[i] = appendOne(ctx, l, body, p) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// appendOne waits for the record to be in the log; while the log is silent it
// tries again until ctx ends.
func appendOne(ctx context.Context, l *commitlog.Log, body []byte, p dsv.Partition) error {
	done := make(chan error, 1)
	for {
		err := l.Append(p, body, func(_ int64, err error) { done <- err })
		if err == nil {
			break
		}
		if !errors.Is(err, commitlog.ErrSilent) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("partition %d did not acknowledge: %w", p, ctx.Err())
	}
}

// surveyed is what the log holds already.
type surveyed struct {
	configured map[dsv.Partition]bool
	tokens     map[string]*metapb.Token // by id, removed ones left out
	initToken  string                   // id of the token that an init made, also if it was removed since
}

// survey reads each partition up to its CONFIG, and the control partition up
// to its end. It refuses a log that says something else.
func survey(ctx context.Context, l *commitlog.Log, want *metapb.Config) (*surveyed, error) {
	s := &surveyed{configured: map[dsv.Partition]bool{}, tokens: map[string]*metapb.Token{}}
	left := map[dsv.Partition]int64{} // partitions to read on, and their ends
	for _, p := range l.Partitions() {
		end, err := l.EndOffset(ctx, p)
		if err != nil {
			return nil, logError("read", err)
		}
		if end > 0 {
			left[p] = end
		}
	}
	if len(left) == 0 {
		return s, nil
	}
	if err := l.Start(nil); err != nil {
		return nil, logError("read", err)
	}
	for len(left) > 0 {
		b, err := l.Poll(ctx)
		if err != nil {
			return nil, logError("read", err)
		}
		for _, d := range b.Diverged {
			return nil, &dsv.Error{Kind: dsv.KindConflict, Code: dsv.CodeLogDiverged, Op: "init", Detail: fmt.Sprintf("partition %d of the log cannot be read: %s", d.Partition, d.Reason)}
		}
		for _, rec := range b.Records {
			end, reading := left[rec.Partition]
			if !reading {
				continue
			}
			if err := s.take(rec, want); err != nil {
				return nil, err
			}
			if s.configured[rec.Partition] || rec.Offset+1 >= end {
				delete(left, rec.Partition)
			}
		}
	}
	return s, nil
}

// take judges one record on the way.
func (s *surveyed) take(rec commitlog.Record, want *metapb.Config) error {
	if rec.Void != "" {
		return conflict("the log", fmt.Sprintf("partition %d, offset %d: a record that this cluster's key does not open (%s): the topics are another cluster's; "+
			"use another cluster name, or the directory that the cluster was made in", rec.Partition, rec.Offset, rec.Void))
	}
	m, err := meta.Decode(rec.Body)
	if err != nil {
		return nil // void to every node as well
	}
	if rec.Partition == commitlog.Control {
		s.takeSetting(m.GetSetting())
		return nil
	}
	c := m.GetConfig()
	if c == nil {
		return nil // before CONFIG everything is void
	}
	if !proto.Equal(c, want) {
		return conflict("the log", fmt.Sprintf("partition %d has another CONFIG: it says %s, the topology %s", rec.Partition, words(c), words(want)))
	}
	s.configured[rec.Partition] = true
	return nil
}

func words(c *metapb.Config) string {
	return fmt.Sprintf("cluster %s, members %v, n %d, k %d, w %d, %d partitions", c.GetClusterId(), c.GetMembers(), c.GetN(), c.GetK(), c.GetW(), c.GetPartitions())
}

func logError(what string, err error) error {
	e := &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeLogUnavailable, Op: "init", Path: what, Err: err,
		Detail: "the log did not do its part; run init again once it does"}
	if _, wrong := errors.AsType[*commitlog.SettingsError](err); wrong {
		e.Kind, e.Code, e.Detail = dsv.KindConflict, dsv.CodeExists, "the topics are not as they must be and cannot be made so"
	}
	return e
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
