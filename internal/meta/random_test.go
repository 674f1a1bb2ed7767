package meta

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/store"
)

var names = cmp.Options{cmp.AllowUnexported(dsv.Namespace{}, dsv.Key{}), cmpopts.EquateEmpty()}

var seeds = flag.Uint64("seeds", 40, "random logs to run through machine and twin")

// TestMachineAgainstItsTwin runs random logs through the machine and the twin:
// same verdicts at every record, same answers to every lookup, invariants after
// every record (I2, I3, I10, digest), and the same rows however the records
// are split over transactions (I1). A log that fails is cut down first.
func TestMachineAgainstItsTwin(t *testing.T) {
	reached := map[string]int{}
	for seed := range *seeds {
		log := generate(seed)
		err := check(log, reached)
		if err == nil {
			continue
		}
		log, err = shrink(log, err)
		for _, in := range log {
			t.Logf("%d at %+d by %d: %v", in.Offset, in.AppendTime-start, in.Incarnation[0], in.Record)
		}
		t.Fatalf("seed %d: %v", seed, err)
	}
	// The logs are worth nothing if they never get anywhere.
	for _, want := range []string{
		"CREATE", "UPDATE", "PUT", "DELETE", "UNDELETE", "DESTROY", "REPAIR", "aborted", "expired", "unchanged", "forgotten",
		string(dsv.CodeExists), string(dsv.CodeNotFound), string(dsv.CodeVersionMismatch), string(dsv.CodeDestroyed),
		string(dsv.CodeWriteQuorum), string(dsv.CodeIdempotencyReuse), string(CodeDuplicate),
		VoidUnreadable, VoidKind, VoidUnconfigured, VoidConfigured, VoidMalformed, VoidPartition, VoidSeen, VoidT0, VoidTTL, VoidQuorum,
		VoidNotPending, VoidCoordinator, VoidMember, VoidStoreSeen, VoidReplaces, VoidDoubleKey, VoidDigests,
	} {
		if reached[want] < 2 {
			t.Errorf("%q happened %d times: %v", want, reached[want], reached)
		}
	}
}

// shrink drops records as long as the rest still fails, in 300 tries at most.
func shrink(log []Input, err error) ([]Input, error) {
	tries := 0
	for n := len(log) / 2; n > 0; n /= 2 {
		for i := 0; i+n <= len(log) && tries < 300; tries++ {
			less := slices.Delete(slices.Clone(log), i, i+n)
			for j := range less {
				less[j].Offset = int64(j)
			}
			if err2 := check(less, map[string]int{}); err2 != nil {
				log, err = less, err2
			} else {
				i += n
			}
		}
	}
	return log, err
}

// check is nil if machine and twin agree on a log; reached counts what came to
// pass in it.
func check(log []Input, reached map[string]int) (err error) {
	if len(log) == 0 {
		return nil
	}
	st := store.OpenMemory(store.Options{})
	defer st.Close()
	r := &run{st: st, w: newTwin(log[0].Partition), decided: map[dsv.TxID]bool{}, reached: reached}
	defer func() {
		if f, ok := recover().(failure); ok {
			err = f
		}
	}()
	for _, in := range log {
		r.step(in)
	}
	r.compareAll()
	r.replay(log)
	return nil
}

// failure is how run stops.
type failure struct{ error }

type run struct {
	st      store.Store
	w       *twin
	decided map[dsv.TxID]bool
	reached map[string]int
}

func (r *run) fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (r *run) write(st store.Store, f func(store.Txn)) {
	tx, err := st.Begin(store.ReadWrite)
	if err != nil {
		r.fatalf("%w", err)
	}
	f(tx)
	if _, err := tx.Commit(context.Background()); err != nil {
		r.fatalf("%w", err)
	}
}

func (r *run) step(in Input) {
	void, decided := r.w.apply(in)
	r.write(r.st, func(tx store.Txn) {
		eff, err := Apply(tx, in)
		if err != nil {
			r.fatalf("Apply: %w", err)
		}
		r.compare(in, eff, void, decided)
		if in.Record.GetTick() != nil { // spares a day of them
			return
		}
		if err := AssertInvariants(tx, in.Partition); err != nil {
			r.fatalf("at %d: %w", in.Offset, err)
		}
	})
}

func (r *run) compare(in Input, eff Effects, void bool, decided []*twinTx) {
	w, h := r.w, eff.Head
	r.reached[eff.Void]++
	if (eff.Void != "") != void {
		r.fatalf("%v: void %q, twin %v", in.Record, eff.Void, void)
	}
	if h.T != w.t || h.E != w.e || h.Offset != in.Offset || h.Applied != w.applied || h.Void != w.void || h.Configured != (w.cfg != nil) {
		r.fatalf("head %+v, twin T %d E %d void %d", h, w.t, w.e, w.void)
	}
	if (eff.Prepared != nil) != (!void && in.Record.GetPrepare() != nil) || (eff.Join != nil) != (!void && in.Record.GetJoin() != nil) {
		r.fatalf("effects %+v", eff)
	}
	if len(eff.Decisions) != len(decided) {
		r.fatalf("decisions %+v, twin %d", eff.Decisions, len(decided))
	}
	for i, x := range decided {
		dec := eff.Decisions[i]
		if r.decided[dec.Tx] {
			r.fatalf("I2: %s decided twice", dec.Tx)
		}
		r.decided[dec.Tx] = true
		if x.same {
			r.reached["unchanged"]++
		}
		if dec.Tx != x.id || dec.Incarnation != x.who || len(dec.Ops) != len(x.p.GetOps()) {
			r.fatalf("decision %+v, twin %+v", dec, x)
		}
		r.sameStatus(dec.Status, x)
		r.reached[x.state.String()]++
		r.reached[string(x.code)]++
		for j, o := range dec.Ops {
			var gone []dsv.ShareSet
			for _, g := range o.Gone {
				gone = append(gone, g.ShareSet)
			}
			if x.state == TxCommitted {
				if !slices.Equal(gone, x.gone[j]) || o.Version != x.results[j].Version {
					r.fatalf("op %+v, twin gone %v", o, x.gone[j])
				}
				r.reached[o.Kind.String()]++
			} else if gone != nil || o.Version != 0 {
				r.fatalf("op %+v of a refused one", o)
			}
		}
	}
}

func (r *run) sameStatus(s TxStatus, x *twinTx) {
	if s.State != x.state || s.Code != x.code || s.FailedOp != x.failed || s.DuplicateOf != x.dup || s.Unchanged != x.same ||
		!cmp.Equal(s.Results, x.results, names) {
		r.fatalf("status %+v\ntwin   %+v", s, x)
	}
}

// compareAll asks every lookup.
func (r *run) compareAll() {
	tx, err := r.st.Begin(store.ReadOnly)
	if err != nil {
		r.fatalf("%w", err)
	}
	defer func() { _ = tx.Abort() }()
	w := r.w
	for id := range w.seen {
		if id.Partition != w.p {
			continue
		}
		s, err := LookupTx(tx, id)
		if err != nil {
			r.fatalf("%w", err)
		}
		switch x := w.txs[id]; {
		case w.e > id.T0+24*hour:
			r.reached["forgotten"]++
			if s.State != TxForgotten {
				r.fatalf("%v, want forgotten", s.State)
			}
		case x != nil:
			r.sameStatus(s, x)
		case (s.State == TxExpired) != (w.e > id.T0+10*second) || (s.State != TxExpired && s.State != TxNone):
			r.fatalf("never prepared: %v", s.State)
		}
	}
	pending := 0
	for _, x := range w.txs {
		if x.state == TxPending {
			pending++
		}
	}
	if ps, err := Pending(tx, w.p); err != nil || len(ps) != pending {
		r.fatalf("pending %v %v, twin %d", ps, err, pending)
	}
	ids, err := StoreIDs(tx, w.p)
	for node, all := range w.stores {
		for i, id := range all {
			if got, err2 := Replaced(tx, w.p, id); err != nil || err2 != nil || got != (i < len(all)-1) || ids[node] != all[len(all)-1] {
				r.fatalf("stores of %s: %v %v", node, ids[node], got)
			}
		}
	}
	if w.cfg != nil {
		undestroyed := 0
		for _, space := range spaces {
			undestroyed += r.compareNamespace(tx, ns(space))
		}
		r.compareWalk(tx, undestroyed)
	}
}

// compareNamespace returns how many versions are not destroyed.
func (r *run) compareNamespace(tx store.Txn, n dsv.Namespace) (undestroyed int) {
	w := r.w
	var listed []Listed
	for _, k := range []string{"A", "A.B", "B"} {
		at, _ := dsv.ParsePath(n.String(), k)
		s := w.secrets[at]
		got, ok, err := LookupSecret(tx, at)
		if err != nil || ok != (s != nil) {
			r.fatalf("%s: %v %v", at, ok, err)
		}
		if s == nil {
			continue
		}
		live := s.live() > 0
		if got.Live != live || got.ChangedOffset != s.changed || got.LastVersion != uint64(len(s.versions)) {
			r.fatalf("%s: %+v, twin %+v", at, got, s)
		}
		listed = append(listed, Listed{at.Key, got.LastVersion, live})
		vs, err := History(tx, at)
		var want []Version
		for _, v := range s.versions {
			want = append(want, *v)
			if !v.Destroyed {
				undestroyed++
			}
		}
		if diff := cmp.Diff(want, vs, names); err != nil || diff != "" {
			r.fatalf("%s: %v %s", at, err, diff)
		}
		for _, v := range want {
			for _, iv := range v.Intervals {
				for _, instant := range []int64{iv.From - 1, iv.From, iv.To - 1, iv.To} {
					r.compareAsOf(tx, at, want, instant)
				}
			}
		}
	}
	r.compareList(tx, n, listed)
	for _, caller := range []string{"alice", "bob"} {
		for _, key := range []string{"k1", "k2", "k3"} {
			id, s, ok, err := IdempotencyOutcome(tx, n, caller, key)
			x := w.answer(n.String(), caller, key)
			if err != nil || ok != (x != nil) || (ok && id != x.id) {
				r.fatalf("outcome of %s %s: %v %v %v", caller, key, id, ok, err)
			}
			if ok {
				r.sameStatus(s, x)
			}
		}
	}
	return undestroyed
}

func (r *run) compareAsOf(tx store.Txn, at dsv.Path, vs []Version, instant int64) {
	var want uint64
	for _, v := range vs {
		for _, iv := range v.Intervals {
			if iv.From <= instant && (iv.To == 0 || instant < iv.To) {
				if want != 0 {
					r.fatalf("I10: %s has two versions at %d", at, instant)
				}
				want = v.Number
			}
		}
	}
	v, ok, err := AsOf(tx, at, instant)
	if err != nil || ok != (want > 0) || v.Number != want {
		r.fatalf("%s as of %d: %d %v, want %d", at, instant, v.Number, err, want)
	}
}

func (r *run) compareList(tx store.Txn, n dsv.Namespace, want []Listed) {
	for _, deleted := range []bool{true, false} {
		var opts []ListOption
		if deleted {
			opts = append(opts, WithDeleted)
		} else {
			want = slices.DeleteFunc(slices.Clone(want), func(l Listed) bool { return !l.Live })
		}
		var got []Listed
		for after, more := "", true; more; {
			var page []Listed
			var err error
			page, more, err = List(tx, n, "", after, 1, opts...)
			if err != nil || len(page) > 1 || (more && len(page) == 0) {
				r.fatalf("page %v %v %v", page, more, err)
			}
			if got = append(got, page...); more {
				after = page[0].Key.String()
			}
		}
		if !slices.Equal(got, want) {
			r.fatalf("list %v, want %v", got, want)
		}
	}
}

func (r *run) compareWalk(tx store.Txn, want int) {
	got := 0
	var at Cursor
	for {
		vs, next, err := Versions(tx, r.w.p, at, 2)
		if err != nil || len(vs) > 2 {
			r.fatalf("%w", err)
		}
		if got += len(vs); next == nil {
			break
		}
		at = next
	}
	if got != want {
		r.fatalf("walked %d versions, want %d", got, want)
	}
}

// replay applies the log again, encoded and decoded, split otherwise.
func (r *run) replay(log []Input) {
	again := store.OpenMemory(store.Options{})
	defer again.Close()
	rest := rand.New(rand.NewPCG(uint64(len(log)), 1))
	for len(log) > 0 {
		n := min(1+rest.IntN(40), len(log))
		r.write(again, func(tx store.Txn) {
			for _, in := range log[:n] {
				if in.Record != nil {
					b, err := Encode(in.Record)
					if err != nil {
						r.fatalf("%w", err)
					}
					if in.Record, err = Decode(b); err != nil {
						r.fatalf("%w", err)
					}
				}
				if _, err := Apply(tx, in); err != nil {
					r.fatalf("%w", err)
				}
			}
		})
		log = log[n:]
	}
	if err := sameRows(r.st, again); err != nil {
		r.fatalf("%w", err)
	}
}

func sameRows(a, b store.Store) error {
	var rows [2][]store.Item
	for i, st := range []store.Store{a, b} {
		tx, err := st.Begin(store.ReadOnly)
		if err != nil {
			return err
		}
		rows[i], _, err = tx.Scan(nil, store.Page{})
		if err := errors.Join(err, tx.Abort()); err != nil {
			return err
		}
	}
	if len(rows[0]) != len(rows[1]) {
		return fmt.Errorf("%d rows and %d", len(rows[0]), len(rows[1]))
	}
	for i, it := range rows[0] {
		if !bytes.Equal(it.Key, rows[1][i].Key) || !bytes.Equal(it.Value, rows[1][i].Value) {
			return fmt.Errorf("row %q is %x and %q %x", it.Key, it.Value, rows[1][i].Key, rows[1][i].Value)
		}
	}
	return nil
}
