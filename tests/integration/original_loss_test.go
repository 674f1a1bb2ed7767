package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// testNoZombie: a node is down during a delete. Never may the secret be seen
// again, through that node or through others.
func testNoZombie(t *testing.T) {
	w := shared(t)
	p, q := pathOf(t, "original/6", "KEY"), pathOf(t, "original/6", "OTHER")
	for _, path := range []dsv.Path{p, q} {
		if _, err := w.at[0].Create(t.Context(), path, secret("v1"), nil); err != nil {
			t.Fatal(err)
		}
	}
	const down = 2
	if err := w.Node(down).Kill(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []dsv.Path{p, q} {
		if _, err := w.at[0].Delete(t.Context(), path, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Node(down).Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the first strict answer of the node that was down", func() error {
		_, err := w.at[down].Get(t.Context(), p, nil)
		switch kindOf(err) {
		case dsv.KindNotFound:
			return nil
		case dsv.KindUnavailable: // it is not open yet
			return err
		}
		t.Fatalf("it says %v", err)
		return nil
	})
	for i, cl := range w.at {
		if _, err := cl.Get(t.Context(), p, nil); kindOf(err) != dsv.KindNotFound {
			t.Errorf("%s says %v of a deleted secret", nodeNo(i), err)
		}
	}
	got, err := w.at[down].Create(t.Context(), p, secret("v2"), nil)
	if err != nil || got.Version != 2 {
		t.Fatalf("create through the node that was down: version %d, %v", got.Version, err)
	}
	w.allAnswer(t, p, 2, "v2")
	for i, cl := range w.at {
		if _, err := cl.Get(t.Context(), q, nil); kindOf(err) != dsv.KindNotFound {
			t.Errorf("%s says %v of the other deleted secret", nodeNo(i), err)
		}
	}
}

// testDeleteNeedsQuorum: with two of five nodes gone a delete is refused, and
// the secret stays.
func testDeleteNeedsQuorum(t *testing.T) {
	w := shared(t)
	p := pathOf(t, "original/7", "KEY")
	if _, err := w.at[0].Create(t.Context(), p, secret("v1"), nil); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{3, 4} {
		if err := w.Node(i).Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		_, err := w.at[i].Delete(t.Context(), p, nil)
		if e := dsv.AsError(err); e == nil || e.Code != dsv.CodeWriteQuorum || e.Phase != dsv.PhaseWriting {
			t.Errorf("a delete on %s that three nodes know of got %v", nodeNo(i), err)
		}
	}
	for i := range 3 {
		if f, err := w.at[i].Get(t.Context(), p, nil); err != nil || text(f) != "v1" {
			t.Errorf("%s: %q, %v", nodeNo(i), text(f), err)
		}
	}
	w.mend(t)
	w.allAnswer(t, p, 1, "v1")
}

// testReadYourWrite: at once after the answer, without any pause, every node
// must tell the new version, by a strict read and by the position.
func testReadYourWrite(t *testing.T) {
	w := shared(t)
	p := pathOf(t, "original/8", "KEY")
	for n := range 40 {
		value := fmt.Sprint("v", n+1)
		got, err := w.at[n%5].Put(t.Context(), p, secret(value), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.atOnce(func(i int) {
			var o *client.ReadOptions
			if (n+i)%2 == 0 {
				o = &client.ReadOptions{MinPosition: &got.Position}
			}
			if n < 12 {
				if s, err := w.at[i].Shards(t.Context(), p); err != nil || len(s.Versions) != n+1 {
					t.Errorf("%s, right after version %d: shards of %d versions, %v", nodeNo(i), got.Version, len(s.Versions), err)
				}
			}
			f, err := w.at[i].Get(t.Context(), p, o)
			if err != nil || f.Version != got.Version || text(f) != value {
				t.Errorf("%s, right after version %d: version %d, %v", nodeNo(i), got.Version, f.Version, err)
			}
			h, err := w.at[i].History(t.Context(), p, o)
			if err != nil || len(h.Versions) != n+1 {
				t.Errorf("%s, right after version %d: %d entries, %v", nodeNo(i), got.Version, len(h.Versions), err)
			}
		})
	}
}

// testHungPeers: nodes that hang and do not die. A read may not wait for them,
// with two of them neither; a write not for one.
func testHungPeers(t *testing.T) {
	w := shared(t)
	p := pathOf(t, "original/9", "KEY")
	if _, err := w.at[0].Create(t.Context(), p, secret("v1"), nil); err != nil {
		t.Fatal(err)
	}
	timed := func(what string, f func() error) time.Duration {
		t.Helper()
		began := time.Now()
		err := f()
		took := time.Since(began)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if took > 1500*time.Millisecond { // the original waited 5 s for each
			t.Errorf("%s took %v", what, took)
		}
		return took
	}
	if err := w.Node(4).Pause(); err != nil {
		t.Fatal(err)
	}
	var longest, longestWrite time.Duration
	for n := range 10 {
		longestWrite = max(longestWrite, timed("a write with one node hung", func() error {
			_, err := w.at[n%3].Update(t.Context(), p, secret(fmt.Sprint("w", n)), nil)
			return err
		}))
	}
	if err := w.Node(3).Pause(); err != nil {
		t.Fatal(err)
	}
	for n := range 60 {
		longest = max(longest, timed("a read with two nodes hung", func() error {
			f, err := w.at[n%3].Get(t.Context(), p, nil)
			if err == nil && text(f) != "w9" {
				err = errors.New("it is " + text(f))
			}
			return err
		}))
	}
	t.Logf("longest write with one of five hung %v, longest read with two hung %v", longestWrite.Round(time.Millisecond), longest.Round(time.Millisecond))
}

// testBatchIsAtomic: never may one operation of a batch be seen without the
// others.
func testBatchIsAtomic(t *testing.T) {
	w := shared(t)
	ns := pathOf(t, "original/10", "A").NS
	keys := []string{"A", "B", "C", "D"}
	batch := func(kind client.OpKind, value string) (ops []client.Op) {
		for _, k := range keys {
			ops = append(ops, client.Op{Kind: kind, Key: pathOf(t, "original/10", k).Key, Value: secret(value)})
		}
		return ops
	}
	if _, err := w.at[0].Batch(t.Context(), ns, batch(client.OpCreate, "start"), nil); err != nil {
		t.Fatal(err)
	}
	// One that fails at its last operation leaves nothing.
	bad := batch(client.OpUpdate, "never")
	bad = append(bad, client.Op{Kind: client.OpCreate, Key: pathOf(t, "original/10", "NEW").Key, Value: secret("never")},
		client.Op{Kind: client.OpUpdate, Key: pathOf(t, "original/10", "MISSING").Key, Value: secret("never")})
	_, err := w.at[1].Batch(t.Context(), ns, bad, nil)
	if e := dsv.AsError(err); e == nil || e.Kind != dsv.KindNotFound || e.Index != len(bad) {
		t.Errorf("a batch with one bad operation got %v", err)
	}
	if _, err := w.at[2].Get(t.Context(), pathOf(t, "original/10", "NEW"), nil); kindOf(err) != dsv.KindNotFound {
		t.Errorf("an operation of a failed batch was done: %v", err)
	}
	gets := make([]client.Op, len(keys))
	for i, k := range keys {
		gets[i] = client.Op{Kind: client.OpGet, Key: pathOf(t, "original/10", k).Key}
	}
	w.atOnce(func(i int) {
		for n := range 8 {
			if i%2 == 0 {
				if _, err := w.at[i].Batch(t.Context(), ns, batch(client.OpPut, fmt.Sprintf("%d-%d", i, n)), nil); err != nil {
					t.Errorf("batch: %v", err)
				}
			}
			got, err := w.at[i].Batch(t.Context(), ns, gets, nil)
			if err != nil {
				t.Errorf("batch of reads: %v", err)
				continue
			}
			for _, f := range got.Found[1:] {
				if f.Version != got.Found[0].Version || text(f) != text(got.Found[0]) || text(f) == "never" {
					t.Errorf("one batch, two states: %s is version %d %q, %s version %d %q", keys[0], got.Found[0].Version, text(got.Found[0]), f.Key, f.Version, text(f))
				}
			}
		}
	})
}
