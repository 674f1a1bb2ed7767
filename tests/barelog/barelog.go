// Package barelog measures what the log alone can do, as the measure for
// everything that is built on it: the two records of a create, appended one
// right after the other, until the appender's own reader has seen the second.
package barelog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/commitlog"
)

// Sizes of the two records of an operation, in bytes, before sealing.
const (
	PrepareSize = 600
	CommitSize  = 120
)

// Result is one measurement.
type Result struct {
	Clients   int
	Ops       int
	OpsPerSec float64
	P50, P99  time.Duration   // of one operation
	Appends   uint64          // records acknowledged to the Logs meanwhile
	Times     []time.Duration // of every operation, sorted
}

func (r Result) String() string {
	return fmt.Sprintf("%3d clients: %7.0f op/s, p50 %6.2f ms, p99 %6.2f ms", r.Clients, r.OpsPerSec,
		float64(r.P50.Microseconds())/1000, float64(r.P99.Microseconds())/1000)
}

// Load is a set of Logs that all read all partitions.
type Load struct {
	users []*user
	stop  context.CancelFunc
	work  sync.WaitGroup
	fault atomic.Pointer[error]
}

// user is one Log and who waits for its records.
type user struct {
	log   *commitlog.Log
	parts []dsv.Partition
	mark  uint64 // tells its operations from those of others

	mu    sync.Mutex
	waits map[uint64]chan struct{}
	next  uint64
}

// Open opens a Log for each of cfgs, which differ in Incarnation only, and lets
// it read everything that is appended from now on.
func Open(ctx context.Context, cfgs []commitlog.Config) (*Load, error) {
	life, stop := context.WithCancel(context.Background())
	l := &Load{stop: stop}
	for _, cfg := range cfgs {
		u, err := open(ctx, cfg)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.users = append(l.users, u)
		l.work.Go(func() { l.read(life, u) })
	}
	return l, nil
}

func open(ctx context.Context, cfg commitlog.Config) (*user, error) {
	log, err := commitlog.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	u := &user{log: log, mark: rand.Uint64(), waits: map[uint64]chan struct{}{}}
	from := map[dsv.Partition]commitlog.Cursor{}
	for _, p := range log.Partitions() {
		end, err := log.EndOffset(ctx, p)
		if err != nil {
			return nil, errors.Join(err, log.Close())
		}
		from[p] = commitlog.Cursor{Next: end, Epoch: -1, TopicID: log.TopicID(p)}
		if p != commitlog.Control {
			u.parts = append(u.parts, p)
		}
	}
	if err := log.Start(from); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return u, nil
}

// Close closes all Logs.
func (l *Load) Close() error {
	l.stop()
	var errs []error
	for _, u := range l.users {
		errs = append(errs, u.log.Close())
	}
	l.work.Wait()
	return errors.Join(errs...)
}

func (l *Load) read(ctx context.Context, u *user) {
	for {
		b, err := u.log.Poll(ctx)
		if err == nil && len(b.Diverged) > 0 {
			err = fmt.Errorf("partition %d diverged: %s", b.Diverged[0].Partition, b.Diverged[0].Reason)
		}
		if err != nil {
			l.fault.CompareAndSwap(nil, &err)
			return
		}
		for _, r := range b.Records {
			u.seen(r.Body)
		}
	}
}

// seen wakes who waits for a commit of ours.
func (u *user) seen(body []byte) {
	if len(body) != CommitSize || binary.BigEndian.Uint64(body) != u.mark {
		return
	}
	id := binary.BigEndian.Uint64(body[8:])
	u.mu.Lock()
	ch := u.waits[id]
	delete(u.waits, id)
	u.mu.Unlock()
	if ch != nil {
		close(ch)
	}
}

// operate does one operation.
func (u *user) operate(ctx context.Context) error {
	p := u.parts[rand.N(len(u.parts))]
	ch := make(chan struct{})
	u.mu.Lock()
	u.next++
	id := u.next
	u.waits[id] = ch
	u.mu.Unlock()
	failed := make(chan error, 2)
	done := func(_ int64, err error) {
		if err != nil {
			failed <- err
		}
	}
	for _, size := range []int{PrepareSize, CommitSize} {
		body := make([]byte, size)
		binary.BigEndian.PutUint64(body, u.mark)
		binary.BigEndian.PutUint64(body[8:], id)
		if err := u.log.Append(p, body, done); err != nil {
			return err
		}
	}
	select {
	case <-ch:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run lets clients, spread over the Logs, do operations one after the other for
// a time.
func (l *Load) Run(ctx context.Context, clients int, d time.Duration) (Result, error) {
	begin, before := time.Now(), l.acked()
	took := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			u := l.users[i%len(l.users)]
			for time.Since(begin) < d && errs[i] == nil {
				t := time.Now()
				errs[i] = u.operate(ctx)
				took[i] = append(took[i], time.Since(t))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begin)
	if f := l.fault.Load(); f != nil {
		errs = append(errs, *f)
	}
	if err := errors.Join(errs...); err != nil {
		return Result{}, err
	}
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	return Result{
		Clients: clients, Ops: len(all), OpsPerSec: float64(len(all)) / elapsed.Seconds(),
		P50: all[len(all)/2], P99: all[len(all)*99/100], Appends: l.acked() - before, Times: all,
	}, nil
}

func (l *Load) acked() (n uint64) {
	for _, u := range l.users {
		n += u.log.Stats().Acked
	}
	return n
}

// Run opens Logs, lets them warm up and measures once.
func Run(ctx context.Context, cfgs []commitlog.Config, clients int, d time.Duration) (Result, error) {
	l, err := Open(ctx, cfgs)
	if err != nil {
		return Result{}, err
	}
	_, err = l.Run(ctx, clients, d/4)
	var r Result
	if err == nil {
		r, err = l.Run(ctx, clients, d)
	}
	return r, errors.Join(err, l.Close())
}
