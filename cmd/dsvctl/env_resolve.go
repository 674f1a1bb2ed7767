package main

import (
	"context"
	"sync"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/dotenv"
)

// parallel bounds the requests under way at a time.
const parallel = 8

// each runs f for 0 to n-1, a few at a time, waits for all of them and returns
// the first error; after an error no more are begun.
func each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next := 0
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil || next >= n {
			return -1
		}
		next++
		return next - 1
	}
	for range min(n, parallel) {
		wg.Go(func() {
			for i := take(); i >= 0; i = take() {
				if err := f(i); err != nil {
					mu.Lock()
					if failed == nil {
						failed = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// want is one secret that references name, once per version or instant.
type want struct {
	ref   dotenv.Ref // the first that names it
	path  dsv.Path
	found client.Found
	err   error // why there is no such, as the server says it
}

func (w *want) id() string { return wantID(w.path, w.ref) }

func wantID(p dsv.Path, r dotenv.Ref) string {
	r.NS = p.NS
	return r.ID()
}

// wants are the secrets that e refers to, but for those it stores itself.
func (e *envFile) wants(stored map[string]dsv.Secret) []*want {
	seen := map[string]bool{}
	var out []*want
	for _, r := range e.file.References() {
		p := e.path(r)
		id := wantID(p, r)
		if _, own := stored[id]; r.Kind != dotenv.Secret || own || seen[id] {
			continue
		}
		seen[id] = true
		out = append(out, &want{ref: r, path: p})
	}
	return out
}

// settled reports whether err is an answer about one secret and not about the
// server, the network or the whole request.
func settled(err error) bool {
	switch dsv.KindOf(err) {
	case dsv.KindNotFound, dsv.KindGone, dsv.KindDenied:
		return dsv.CodeOf(err) != client.CodeUnreachable
	}
	return false
}

// look asks for the existence of all wants.
func look(ctx context.Context, c *client.Client, list []*want) error {
	return each(len(list), func(i int) error {
		w := list[i]
		var err error
		w.found, err = c.Head(ctx, w.path, &client.ReadOptions{Version: w.ref.Version, At: w.ref.At})
		return w.settle(err)
	})
}

func (w *want) settle(err error) error {
	if err != nil && settled(err) {
		w.err, err = err, nil
	}
	return err
}

// fetch reads the values of all wants: one strict batch per namespace (more
// where one name is asked for in several versions, or where there are more
// than 256), and a read for each that is asked for by time.
func fetch(ctx context.Context, c *client.Client, list []*want) error {
	batches, single := batchesOf(list)
	for _, b := range batches {
		ops := make([]client.Op, len(b))
		for i, w := range b {
			ops[i] = client.Op{Kind: client.OpGet, Key: w.path.Key, Version: w.ref.Version}
		}
		r, err := c.Batch(ctx, b[0].path.NS, ops, nil)
		switch {
		case err == nil && len(r.Found) == len(b):
			for i, w := range b {
				w.found = r.Found[i]
			}
		case err == nil:
			return dsv.E(dsv.KindInternal, dsv.CodeInternal, "the answer to a batch has another length")
		case settled(err): // it names the first fault only: ask for each
			single = append(single, b...)
		default:
			return err
		}
	}
	return each(len(single), func(i int) error {
		w := single[i]
		var err error
		w.found, err = c.Get(ctx, w.path, &client.ReadOptions{Version: w.ref.Version, At: w.ref.At})
		return w.settle(err)
	})
}

// batchesOf splits wants into batches of one namespace each, without a name
// twice, and those that no batch takes.
func batchesOf(list []*want) (batches [][]*want, single []*want) {
	open := map[dsv.Namespace][]int{} // batches of a namespace
	held := map[int]map[dsv.Key]bool{}
	for _, w := range list {
		if !w.ref.At.IsZero() {
			single = append(single, w)
			continue
		}
		at := -1
		for _, i := range open[w.path.NS] {
			if len(batches[i]) < dsv.MaxBatchOps && !held[i][w.path.Key] {
				at = i
				break
			}
		}
		if at < 0 {
			at = len(batches)
			batches = append(batches, nil)
			open[w.path.NS] = append(open[w.path.NS], at)
			held[at] = map[dsv.Key]bool{}
		}
		batches[at] = append(batches[at], w)
		held[at][w.path.Key] = true
	}
	return batches, single
}

// faultsOf lists a fault for every reference that has no value.
func (e *envFile) faultsOf(list []*want) []dsv.Fault {
	bad := map[string]error{}
	for _, w := range list {
		if w.err != nil {
			bad[w.id()] = w.err
		}
	}
	var out []dsv.Fault
	for _, r := range e.file.References() {
		if err := bad[wantID(e.path(r), r)]; err != nil && r.Kind == dotenv.Secret {
			out = append(out, dsv.Fault{Line: r.Line, Name: r.String(), Code: dsv.CodeOf(err), Detail: trouble(err)})
		}
	}
	return out
}

func trouble(err error) string {
	switch dsv.KindOf(err) {
	case dsv.KindNotFound:
		return "does not exist"
	case dsv.KindGone:
		return "was destroyed"
	}
	return "may not be read by this caller"
}
