package meta

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

func TestPrepareBecomesPending(t *testing.T) {
	w := newWorld(t)
	ops := []*metapb.Op{w.op(metapb.OpKind_CREATE, "A"), w.op(metapb.OpKind_DELETE, "B")}
	id := w.begin(ops)
	s := w.status(id)
	if s.State != TxPending || s.Coordinator != "n1" || s.Incarnation != w.who || s.Caller != "alice" ||
		s.Deadline != w.head().E+dsv.DefaultTTLMicros || len(s.Holders) != 5 || len(s.Prepare.GetOps()) != 2 ||
		s.PreparedOffset != w.off || s.Namespace.String() != testNS || s.State.Final() {
		t.Fatalf("status %+v", s)
	}
	if w.secret("A") != (Secret{}) {
		t.Fatal("an intent has an effect")
	}
}

func TestPrepareIsVoidForItsT0(t *testing.T) {
	for _, c := range []struct {
		off  int64 // T0 - E at the record
		void string
	}{{10 * second, ""}, {10*second + 1, VoidT0}, {-10 * second, ""}, {-10*second - 1, VoidT0}, {-1 << 62, VoidT0}, {1 << 62, VoidT0}} {
		w := newWorld(t)
		w.passE(15 * second)
		id := w.txid()
		w.pass(3 * second) // E includes the record itself
		id.T0 += 3*second + c.off
		if eff := w.do(w.prepare(id, []*metapb.Op{w.op(metapb.OpKind_PUT, "A")})); eff.Void != c.void {
			t.Errorf("T0 - E = %d: %q, want %q", c.off, eff.Void, c.void)
		}
	}
}

func TestPrepareOfASeenTxidIsVoid(t *testing.T) {
	w := newWorld(t)
	again := func(id dsv.TxID) *metapb.Prepare { return w.prepare(id, []*metapb.Op{w.op(metapb.OpKind_PUT, "Z")}) }
	short := func(p *metapb.Prepare) { p.TtlUs = 1000 }
	put := func() []*metapb.Op { return []*metapb.Op{w.op(metapb.OpKind_PUT, "A")} }
	pend := w.begin(put())
	w.voided(VoidSeen, again(pend))
	w.end(pend)
	w.voided(VoidSeen, again(pend))
	aborted := w.begin(put())
	w.do(&metapb.Abort{Txid: aborted.Bytes()})
	w.voided(VoidSeen, again(aborted))
	rejected := w.begin([]*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
	w.end(rejected)
	w.voided(VoidSeen, again(rejected))
	expired := w.begin(put(), short)
	w.pass(1001)
	w.do(nil)
	w.voided(VoidSeen, again(expired))
	// A void PREPARE leaves no trace: its txid may still come.
	id := w.txid()
	w.voided(VoidTTL, w.prepare(id, put(), func(p *metapb.Prepare) { p.TtlUs = 0 }))
	if eff := w.do(again(id)); eff.Void != "" {
		t.Fatalf("after a void one: %s", eff.Void)
	}
}

func TestPrepareIsVoidForItsContent(t *testing.T) {
	type edit = func(w *world, p *metapb.Prepare)
	ops := func(n int) edit {
		return func(w *world, p *metapb.Prepare) {
			p.Ops = nil
			for i := range n {
				p.Ops = append(p.Ops, w.op(metapb.OpKind_DELETE, fmt.Sprintf("K%d", i)))
			}
		}
	}
	op := func(kind metapb.OpKind, change ...func(*metapb.Op)) edit {
		return func(w *world, p *metapb.Prepare) { p.Ops = []*metapb.Op{w.op(kind, "A", change...)} }
	}
	digests := func(n, size int) func(*metapb.Op) {
		return func(o *metapb.Op) {
			o.Digests = nil
			for range n {
				o.Digests = append(o.Digests, make([]byte, size))
			}
		}
	}
	const create, del, destroy, repair = metapb.OpKind_CREATE, metapb.OpKind_DELETE, metapb.OpKind_DESTROY, metapb.OpKind_REPAIR
	from := func(n int) func(*metapb.Op) { return func(o *metapb.Op) { o.FromShareSet = make([]byte, n) } }
	many := make([]uint64, MaxDestroyed+1)
	for i := range many {
		many[i] = uint64(i + 1)
	}
	for name, c := range map[string]struct {
		void string
		edit edit
	}{
		"ttl 0":           {VoidTTL, func(_ *world, p *metapb.Prepare) { p.TtlUs = 0 }},
		"ttl below 0":     {VoidTTL, func(_ *world, p *metapb.Prepare) { p.TtlUs = -1 }},
		"ttl 60 s":        {"", func(_ *world, p *metapb.Prepare) { p.TtlUs = 60 * second }},
		"ttl above 60 s":  {VoidTTL, func(_ *world, p *metapb.Prepare) { p.TtlUs = 60*second + 1 }},
		"n":               {VoidQuorum, func(_ *world, p *metapb.Prepare) { p.N = 4 }},
		"k":               {VoidQuorum, func(_ *world, p *metapb.Prepare) { p.K = 2 }},
		"w":               {VoidQuorum, func(_ *world, p *metapb.Prepare) { p.W = 5 }},
		"holders swapped": {VoidQuorum, func(_ *world, p *metapb.Prepare) { p.Holders[0], p.Holders[1] = p.Holders[1], p.Holders[0] }},
		"holder missing":  {VoidQuorum, func(_ *world, p *metapb.Prepare) { p.Holders = p.Holders[:4] }},
		"holder too many": {VoidQuorum, func(_ *world, p *metapb.Prepare) { p.Holders = append(p.Holders, "n6") }},
		"holder other": {VoidQuorum, func(w *world, p *metapb.Prepare) {
			for _, m := range w.cfg.Members {
				if !strings.Contains(strings.Join(p.Holders, " "), string(m)) {
					p.Holders[2] = string(m)
					return
				}
			}
		}},
		"no op":             {VoidOps, ops(0)},
		"256 ops":           {"", ops(256)},
		"257 ops":           {VoidOps, ops(257)},
		"double key":        {VoidDoubleKey, func(w *world, p *metapb.Prepare) { ops(3)(w, p); p.Ops[2].Key = p.Ops[0].Key }},
		"txid short":        {VoidMalformed, func(_ *world, p *metapb.Prepare) { p.Txid = p.Txid[:25] }},
		"txid elsewhere":    {VoidPartition, func(_ *world, p *metapb.Prepare) { p.Txid[1] = 1 }},
		"namespace":         {VoidMalformed, func(_ *world, p *metapb.Prepare) { p.Namespace = "team//app" }},
		"no namespace":      {VoidMalformed, func(_ *world, p *metapb.Prepare) { p.Namespace = "" }},
		"coordinator":       {VoidMalformed, func(_ *world, p *metapb.Prepare) { p.Coordinator = "N1" }},
		"caller too long":   {VoidMalformed, func(_ *world, p *metapb.Prepare) { p.Caller = strings.Repeat("x", MaxCaller+1) }},
		"request too long":  {VoidMalformed, func(_ *world, p *metapb.Prepare) { p.RequestId = strings.Repeat("x", MaxRequestID+1) }},
		"idem key 128":      {"", func(_ *world, p *metapb.Prepare) { p.IdempotencyKey = strings.Repeat("x", 128) }},
		"idem key too long": {VoidMalformed, func(_ *world, p *metapb.Prepare) { p.IdempotencyKey = strings.Repeat("x", 129) }},
		"key":               {VoidMalformed, op(create, func(o *metapb.Op) { o.Key = ".A" })},
		"key with a NUL":    {VoidMalformed, op(create, func(o *metapb.Op) { o.Key = "A\x00B" })},
		"no kind":           {VoidMalformed, op(0)},
		"unknown kind":      {VoidMalformed, op(8)},
		"digest missing":    {VoidDigests, op(create, digests(4, 32))},
		"digest too many":   {VoidDigests, op(create, digests(6, 32))},
		"digest short":      {VoidDigests, op(create, digests(5, 31))},
		"no digests":        {VoidDigests, op(repair, digests(0, 0), from(28))},
		"mark with digests": {VoidDigests, op(del, digests(5, 32))},
		"destroy nothing":   {VoidMalformed, op(destroy)},
		"destroy both":      {VoidMalformed, op(destroy, all, named(1))},
		"destroy unsorted":  {VoidMalformed, op(destroy, named(2, 1))},
		"destroy doubled":   {VoidMalformed, op(destroy, named(2, 2))},
		"destroy too many":  {VoidMalformed, op(destroy, named(many...))},
		"destroy most":      {"", op(destroy, named(many[1:]...))},
		"create all":        {VoidMalformed, op(create, all)},
		"delete versions":   {VoidMalformed, op(del, named(1))},
		"repair from":       {VoidMalformed, op(repair, from(27))},
		"create from":       {VoidMalformed, op(create, from(28))},
		"fine":              {"", op(repair, from(28))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.prepare(w.txid(), []*metapb.Op{w.op(metapb.OpKind_CREATE, "A")})
			if c.edit(w, p); c.void != "" {
				w.voided(c.void, p)
			} else if eff := w.do(p); eff.Void != "" || eff.Prepared == nil {
				t.Fatalf("void: %q", eff.Void)
			}
		})
	}
}

func TestPrepareOfANamespaceElsewhereIsVoid(t *testing.T) {
	w := bareWorld(t)
	w.cfg.Partitions, w.p = 8, PartitionOf(ns(testNS), 8)
	w.do(w.cfg.Record())
	ops := []*metapb.Op{w.op(metapb.OpKind_CREATE, "A")}
	other := ""
	for i := 0; other == ""; i++ {
		if s := fmt.Sprintf("ns%d", i); PartitionOf(ns(s), 8) != w.p {
			other = s
		}
	}
	w.voided(VoidPartition, w.prepare(w.txid(), ops, func(p *metapb.Prepare) {
		p.Namespace, p.Holders = other, nodeStrings(w.cfg.Holders(ns(other)))
	}))
	if id := w.begin(ops); id.Partition != w.p {
		t.Fatal("test is wrong")
	}
}
