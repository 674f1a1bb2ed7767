package integration

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// TestLogStopped: every broker is killed under the load of 16 clients. Never
// may a write be acknowledged without the log, hang, or be told 503 and be
// kept; a second after the kill every write is refused at once.
func TestLogStopped(t *testing.T) {
	w := shared(t)
	quiet := pathOf(t, "logstop/quiet", "KEY")
	if _, err := w.at[0].Put(t.Context(), quiet, secret("still here"), nil); err != nil {
		t.Fatal(err)
	}
	w.allAnswer(t, quiet, 1, "still here")
	var l ledger
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := l.load(ctx, t, w, 16, "logstop", 16)
	until(t, "writes", func() error {
		if n := l.count(done); n < 100 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if err := w.StopLog(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	w.answersWithoutLog(t, quiet)
	until(t, "refusals for four seconds", func() error {
		if time.Since(stopped) < 5*time.Second {
			return fmt.Errorf("%v", time.Since(stopped))
		}
		return nil
	})
	returning := time.Now()
	if err := w.StartLog(t.Context()); err != nil {
		t.Fatal(err)
	}
	returned := time.Now()
	until(t, "writes after the brokers' return", func() error {
		if n := l.doneSince(returning); n < 50 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	cancel()
	wait()
	w.whole(t)
	l.checkOutage(t, stopped, returning, returned)
	l.check(t, w)
}

func (l *ledger) doneSince(at time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.fate == done && e.began.After(at) {
			n++
		}
	}
	return n
}

// answersWithoutLog: what a node knows by itself it tells without the log, and
// a strict read of a key that nobody is writing needs none.
func (w *world) answersWithoutLog(t *testing.T, p dsv.Path) {
	t.Helper()
	local := &client.ReadOptions{Consistency: client.Local}
	for i, cl := range w.at {
		if f, err := cl.Head(t.Context(), p, local); err != nil || f.Version != 1 {
			t.Errorf("local HEAD on %s: version %d, %v", nodeNo(i), f.Version, err)
		}
		if h, err := cl.History(t.Context(), p, local); err != nil || len(h.Versions) != 1 {
			t.Errorf("local history on %s: %d entries, %v", nodeNo(i), len(h.Versions), err)
		}
		if n, err := cl.List(t.Context(), p.NS, &client.ListOptions{Consistency: client.Local}); err != nil || len(n.Names) != 1 {
			t.Errorf("local list on %s: %v, %v", nodeNo(i), n.Names, err)
		}
		if f, err := cl.Get(t.Context(), p, nil); err != nil || text(f) != "still here" {
			t.Errorf("strict read on %s: %q, %v", nodeNo(i), text(f), err)
		}
	}
}

// checkOutage judges each write by when it was begun.
func (l *ledger) checkOutage(t *testing.T, stopped, returning, returned time.Time) {
	t.Helper()
	var took []time.Duration
	early, unknowns, late, back := 0, 0, 0, time.Duration(0)
	for _, e := range l.entries {
		end := e.began.Add(e.took)
		switch e.fate {
		case done:
			if e.began.After(stopped) && end.Before(returning) {
				t.Errorf("a write was acknowledged without a log: %+v", e)
			}
			if d := end.Sub(returned); e.began.After(returning) && (back == 0 || d < back) {
				back = d
			}
			continue
		case unknown:
			unknowns++
			if e.began.After(stopped) {
				late++
			}
			if e.began.After(stopped.Add(time.Second)) && end.Before(returning) {
				t.Errorf("a write begun %v after the log was gone got 504", e.began.Sub(stopped))
			}
		}
		if e.began.Before(stopped.Add(time.Second)) {
			early++
			continue
		}
		if !end.Before(returning) {
			continue
		}
		took = append(took, e.took)
		if e.fate != noEffect || e.err.Code != dsv.CodeLogUnavailable || e.err.Phase != dsv.PhaseOrdering {
			t.Errorf("%v after the log was gone a write ended with %v (phase %q)", e.began.Sub(stopped), e.err, e.err.Phase)
		}
	}
	if len(took) < 100 {
		t.Fatalf("only %d writes were refused without the log", len(took))
	}
	slices.Sort(took)
	p := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(100 * time.Microsecond) }
	t.Logf("%d refusals after the first second: p50 %v, p95 %v, p99 %v, longest %v", len(took), p(.5), p(.95), p(.99), p(1))
	t.Logf("%d ended otherwise in the first second or in flight; %d were 504, %d of them begun after the kill; writes again %v after the brokers' return", early, unknowns, late, back.Round(time.Millisecond))
	if p(.95) > 100*time.Millisecond {
		t.Errorf("5 %% of the refusals took longer than 100 ms")
	}
	if p(.99) > 250*time.Millisecond || p(1) > time.Second { // the machine is shared, and these pass through its scheduler
		t.Errorf("refusals took up to %v, 1 %% of them more than %v", p(1), p(.99))
	}
	if back > 15*time.Second {
		t.Errorf("the first write after the brokers' return took %v", back)
	}
}
