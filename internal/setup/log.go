package setup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/identity"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// log makes the topics right and appends what is missing of the first records.
func (r *run) log(ctx context.Context) error {
	cfg, err := r.logConfig()
	if err != nil {
		return err
	}
	defer cfg.Key.Wipe()
	if err := commitlog.Init(ctx, cfg); err != nil {
		return logError("topics", err)
	}
	l, err := commitlog.Open(ctx, cfg)
	if err != nil {
		return logError("topics", err)
	}
	defer func() { _ = l.Close() }()
	r.say("log   topics %s.log (%d partitions) and %s.control are right", r.t.Cluster, r.t.Partitions, r.t.Cluster)
	found, err := survey(ctx, l, r.config())
	if err != nil {
		return err
	}
	if err := r.configure(ctx, l, found); err != nil {
		return err
	}
	return r.token(ctx, l, found)
}

// config is the CONFIG record of the topology.
func (r *run) config() *metapb.Config {
	return meta.Config{ClusterID: r.t.ID, Members: r.t.members(), Q: r.t.Quorum.Quorum(), Partitions: r.t.Partitions}.Record()
}

func (r *run) logConfig() (commitlog.Config, error) {
	key, err := identity.ReadKeyFile(r.lay.LogKey())
	if err != nil {
		return commitlog.Config{}, err
	}
	cfg := commitlog.Config{
		Brokers: r.t.Brokers, Dial: r.Dial, Cluster: r.t.Cluster, ClusterID: r.t.ID, Partitions: r.t.Partitions,
		Key: key, Incarnation: dsv.NewIncarnation(), Logger: r.Logger,
	}
	if !r.t.BrokerTLS {
		return cfg, nil
	}
	id, err := identity.Load(identity.Files(Identity(r.lay.Operator())))
	if err != nil {
		return commitlog.Config{}, err
	}
	cfg.TLS = id.BrokerTLS()
	return cfg, nil
}

// configure appends CONFIG to the partitions that have none.
func (r *run) configure(ctx context.Context, l *commitlog.Log, found *surveyed) error {
	body, err := meta.Encode(&metapb.Record{Body: &metapb.Record_Config{Config: r.config()}})
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
		q := r.t.Quorum
		r.say("log   CONFIG of cluster %s (n %d, k %d, w %d, %d members) in %d partitions", r.t.ID, q.N, q.K, q.W, len(r.t.Nodes), len(missing))
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
