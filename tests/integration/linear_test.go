package integration

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/tests/history"
)

// TestLinearizable: 32 clients ask all nodes at random for everything on 50
// keys. No answer may contradict the others: there must be one order in which
// all of them are right. A lost or doubled write, a version told twice, a read
// of an older value than somebody already saw: each makes the check fail.
func TestLinearizable(t *testing.T) {
	w := shared(t)
	paths := make([]dsv.Path, 50)
	for i := range paths {
		paths[i] = pathOf(t, fmt.Sprintf("linear/%d", i%12), fmt.Sprintf("KEY-%d", i))
	}
	h := history.New()
	began := time.Now()
	for asked := 0; asked < *opsFlag && !t.Failed(); { // a long run is judged on the way, each time from its beginning
		n := min(*opsFlag-asked, 20_000)
		w.mixed(t, h, paths, asked, n)
		asked += n
		took := time.Since(began)
		checking := time.Now()
		if err := h.Check(5 * time.Minute); err != nil {
			t.Error(err)
		}
		t.Logf("%d operations counted after %v, %.0f/s; %d of unknown outcome; checked in %v", h.Len(), took.Round(time.Millisecond),
			float64(h.Len())/took.Seconds(), h.Count(history.Unknown), time.Since(checking).Round(time.Millisecond))
	}
	if n := h.Len(); n < *opsFlag*98/100 {
		t.Errorf("only %d of %d operations had an answer that says something", n, *opsFlag)
	}
	for _, p := range paths {
		w.sameHistory(t, p)
	}
}

// mixed lets 32 clients do n operations, the first of them number from.
func (w *world) mixed(t *testing.T, h *history.Recorder, paths []dsv.Path, from, n int) {
	const clients = 32
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(c)))
			for i := from + c; i < from+n; i += clients {
				p := paths[r.IntN(len(paths))]
				in := randomInput(r, p.String())
				in.Value = fmt.Sprintf("v-%d-%d", c, i)
				at := r.IntN(w.Nodes())
				h.Do(c, in, func() history.Output { return ask(t, w.at[at], p, in) })
			}
		})
	}
	wg.Wait()
}

func randomInput(r *rand.Rand, key string) history.Input {
	in := history.Input{Key: key}
	switch p := r.IntN(100); {
	case p < 40:
		in.Kind = history.Get
	case p < 50:
		in.Kind, in.Version = history.GetVersion, 1+r.Uint64N(12)
	case p < 60:
		in.Kind = history.Create
	case p < 80:
		in.Kind = history.Update
	case p < 92:
		in.Kind = history.Put
	default:
		in.Kind = history.Delete
	}
	return in
}

// ask does one operation and tells what came of it.
func ask(t *testing.T, cl *client.Client, p dsv.Path, in history.Input) history.Output {
	ctx := t.Context()
	var err error
	var wrote client.Written
	var found client.Found
	switch in.Kind {
	case history.Create:
		wrote, err = cl.Create(ctx, p, secret(in.Value), nil)
	case history.Update:
		wrote, err = cl.Update(ctx, p, secret(in.Value), nil)
	case history.Put:
		wrote, err = cl.Put(ctx, p, secret(in.Value), nil)
	case history.Delete:
		wrote, err = cl.Delete(ctx, p, nil)
	case history.Get:
		found, err = cl.Get(ctx, p, nil)
	case history.GetVersion:
		found, err = cl.Get(ctx, p, &client.ReadOptions{Version: in.Version})
	}
	switch fateOf(t, err) {
	case unknown, broken:
		return history.Output{Outcome: history.Unknown}
	case noEffect:
		return history.Output{Outcome: history.NoEffect}
	case judged:
		if dsv.KindOf(err) == dsv.KindConflict {
			return history.Output{Outcome: history.Exists}
		}
		return history.Output{Outcome: history.NotFound}
	}
	return history.Output{Version: max(wrote.Version, found.Version), Value: text(found)}
}
