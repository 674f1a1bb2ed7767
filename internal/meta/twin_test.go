package meta

import (
	"cmp"
	"slices"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// twin is the machine once more, written from protocol.md's prose with maps
// and slices and no thought of cost: nothing is ever forgotten, everything is
// searched. It shares no code with the machine but names, PartitionOf and
// Config.Holders.
type twin struct {
	p             dsv.Partition
	cfg           *Config
	t, e, last    int64
	applied, void uint64
	txs           map[dsv.TxID]*twinTx
	seen          map[dsv.TxID]bool // of any PREPARE, void ones too
	order         []dsv.TxID        // in order of PREPARE, valid ones
	secrets       map[dsv.Path]*twinSecret
	stores        map[dsv.NodeID][]dsv.StoreID // the last one is in force
}

type twinTx struct {
	id       dsv.TxID
	p        *metapb.Prepare
	who      dsv.Incarnation
	deadline int64
	state    TxState
	code     dsv.Code
	failed   int
	dup      dsv.TxID
	same     bool // aborted as unchanged
	results  []OpResult
	gone     [][]dsv.ShareSet // per op, committed
}

type twinSecret struct {
	versions []*Version
	changed  int64
}

func newTwin(p dsv.Partition) *twin {
	return &twin{p: p, txs: map[dsv.TxID]*twinTx{}, seen: map[dsv.TxID]bool{}, secrets: map[dsv.Path]*twinSecret{}, stores: map[dsv.NodeID][]dsv.StoreID{}}
}

// apply returns whether the record is void and what it decided, in order.
func (w *twin) apply(in Input) (void bool, decided []*twinTx) {
	if w.applied > 0 && in.AppendTime > w.last {
		w.e += min(in.AppendTime-w.last, 120*second)
	}
	w.last, w.t = in.AppendTime, max(w.t, in.AppendTime)
	w.applied++
	for _, id := range w.order {
		if x := w.txs[id]; x.state == TxPending && w.e > x.deadline {
			x.state = TxExpired
			decided = append(decided, x)
		}
	}
	slices.SortFunc(decided, func(a, b *twinTx) int {
		return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.id.T0, b.id.T0), slices.Compare(a.id.Nonce[:], b.id.Nonce[:]))
	})
	ok, x := w.judge(in)
	if !ok {
		w.void++
	}
	if x != nil {
		decided = append(decided, x)
	}
	return !ok, decided
}

func (w *twin) judge(in Input) (ok bool, decided *twinTx) {
	rec := in.Record
	switch {
	case rec == nil || rec.GetSetting() != nil:
		return false, nil
	case rec.GetConfig() != nil:
		return w.config(rec.GetConfig()), nil
	case w.cfg == nil:
		return false, nil
	case rec.GetTick() != nil || rec.GetCheckpoint() != nil:
		return true, nil
	case rec.GetJoin() != nil:
		return w.join(rec.GetJoin()), nil
	case rec.GetPrepare() != nil:
		return w.prepare(rec.GetPrepare(), in), nil
	case rec.GetCommit() != nil:
		x := w.mine(rec.GetCommit().GetTxid(), in)
		if x == nil {
			return false, nil
		}
		w.commit(x, rec.GetCommit(), in.Offset)
		return true, x
	case rec.GetAbort() != nil:
		return w.abort(rec.GetAbort(), in)
	}
	return false, nil
}

func (w *twin) config(c *metapb.Config) bool {
	if w.cfg != nil || len(c.GetMembers()) < 2 { // the driver's bad ones have too few
		return false
	}
	w.cfg = &Config{c.GetClusterId(), nodeIDs(c.GetMembers()), dsv.Quorum{K: int(c.GetK()), N: int(c.GetN()), W: int(c.GetW())}, int(c.GetPartitions())}
	return true
}

func (w *twin) join(j *metapb.Join) bool {
	node, id := dsv.NodeID(j.GetNode()), dsv.StoreID(j.GetStoreId())
	for _, ids := range w.stores {
		if slices.Contains(ids, id) {
			return false
		}
	}
	var now []byte
	if ids := w.stores[node]; len(ids) > 0 {
		now = ids[len(ids)-1][:]
	}
	if !slices.Contains(w.cfg.Members, node) || !slices.Equal(now, j.GetReplaces()) {
		return false
	}
	w.stores[node] = append(w.stores[node], id)
	return true
}

func (w *twin) prepare(p *metapb.Prepare, in Input) bool {
	id, _ := dsv.TxIDFromBytes(p.GetTxid())
	w.seen[id] = true
	n, err := dsv.ParseNamespace(p.GetNamespace())
	far := w.e - id.T0
	if _, seen := w.txs[id]; seen || id.Partition != w.p || far > 10*second || far < -10*second || err != nil || PartitionOf(n, w.cfg.Partitions) != w.p {
		return false
	}
	if !slices.Equal(nodeIDs(p.GetHolders()), w.cfg.Holders(n)) || int(p.GetK()) != w.cfg.Q.K || int(p.GetN()) != w.cfg.Q.N || int(p.GetW()) != w.cfg.Q.W {
		return false
	}
	if p.GetTtlUs() <= 0 || p.GetTtlUs() > 60*second || len(p.GetOps()) == 0 || len(p.GetOps()) > 256 {
		return false
	}
	for i, op := range p.GetOps() {
		for _, other := range p.GetOps()[:i] {
			if op.GetKey() == other.GetKey() {
				return false
			}
		}
		if _, err := dsv.ParseKey(op.GetKey()); err != nil {
			return false
		}
		want := 0
		if k := op.GetKind(); k == create || k == update || k == put || k == repair {
			want = w.cfg.Q.N
		}
		if len(op.GetDigests()) != want {
			return false
		}
	}
	w.txs[id] = &twinTx{id: id, p: p, who: in.Incarnation, deadline: w.e + p.GetTtlUs(), state: TxPending}
	w.order = append(w.order, id)
	return true
}

func (w *twin) mine(txid []byte, in Input) *twinTx {
	id, _ := dsv.TxIDFromBytes(txid)
	if x := w.txs[id]; x != nil && x.state == TxPending && x.who == in.Incarnation {
		return x
	}
	return nil
}

// answer is the transaction whose kept outcome has this one's idempotency key.
func (w *twin) answer(ns, caller, key string) *twinTx {
	for _, id := range w.order {
		x := w.txs[id]
		if x.results != nil && key != "" && x.p.GetIdempotencyKey() == key && x.p.GetCaller() == caller && x.p.GetNamespace() == ns &&
			w.e <= x.id.T0+24*3600*second {
			return x
		}
	}
	return nil
}

func (w *twin) duplicate(x *twinTx) bool {
	first := w.answer(x.p.GetNamespace(), x.p.GetCaller(), x.p.GetIdempotencyKey())
	if first == nil {
		return false
	}
	x.state, x.code, x.dup = TxRejected, CodeDuplicate, first.id
	a, b := first.p.GetOps(), x.p.GetOps()
	same := len(a) == len(b)
	for i := 0; same && i < len(a); i++ {
		same = a[i].GetKey() == b[i].GetKey() && a[i].GetKind() == b[i].GetKind() && a[i].GetAll() == b[i].GetAll() &&
			slices.Equal(a[i].GetVersions(), b[i].GetVersions()) &&
			(a[i].IfVersion == nil && b[i].IfVersion == nil || a[i].IfVersion != nil && b[i].IfVersion != nil && *a[i].IfVersion == *b[i].IfVersion)
	}
	if !same {
		x.code = dsv.CodeIdempotencyReuse
	}
	return true
}

func (w *twin) abort(a *metapb.Abort, in Input) (bool, *twinTx) {
	x := w.mine(a.GetTxid(), in)
	if x == nil {
		return false, nil
	}
	if a.GetReason() != metapb.AbortReason_UNCHANGED {
		x.state = TxAborted
		return true, x
	}
	op := x.p.GetOps()[0]
	if len(x.p.GetOps()) > 1 || (op.GetKind() != update && op.GetKind() != put) {
		return false, nil
	}
	if !w.duplicate(x) {
		x.state, x.same = TxAborted, true
		k, _ := dsv.ParseKey(op.GetKey())
		x.results = []OpResult{{Key: k, Kind: op.GetKind(), Version: a.GetUnchangedVersion(), Unchanged: true}}
	}
	return true, x
}

func (w *twin) commit(x *twinTx, c *metapb.Commit, off int64) {
	if w.duplicate(x) {
		return
	}
	n, _ := dsv.ParseNamespace(x.p.GetNamespace())
	var acks []Ack
	for r, h := range w.cfg.Holders(n) {
		ids := w.stores[h]
		for _, a := range c.GetAcks() {
			if int(a.GetHolder()) == r && len(ids) > 0 && string(a.GetStoreId()) == string(ids[len(ids)-1][:]) {
				acks = append(acks, Ack{r, ids[len(ids)-1]})
				break
			}
		}
	}
	x.state = TxRejected
	if len(acks) < w.cfg.Q.W {
		x.code = dsv.CodeWriteQuorum
		return
	}
	for i, op := range x.p.GetOps() {
		k, _ := dsv.ParseKey(op.GetKey())
		if x.code = w.refuses(op, w.secrets[dsv.Path{NS: n, Key: k}]); x.code != "" {
			x.failed = i + 1
			return
		}
	}
	x.state = TxCommitted
	for i, op := range x.p.GetOps() {
		k, _ := dsv.ParseKey(op.GetKey())
		w.carryOut(x, i, op, dsv.Path{NS: n, Key: k}, acks, off)
	}
}

// live is the live version's number, 0 for none.
func (s *twinSecret) live() uint64 {
	if s == nil {
		return 0
	}
	for _, v := range s.versions {
		if v.Intervals[len(v.Intervals)-1].To == 0 {
			return v.Number
		}
	}
	return 0
}

func (w *twin) refuses(op *metapb.Op, s *twinSecret) dsv.Code {
	live := s.live()
	switch op.GetKind() {
	case create:
		if live > 0 {
			return dsv.CodeExists
		}
	case update, del:
		if live == 0 {
			return dsv.CodeNotFound
		}
	case undelete:
		if s == nil {
			return dsv.CodeNotFound
		}
		if live > 0 {
			return dsv.CodeExists
		}
		if s.versions[len(s.versions)-1].Destroyed {
			return dsv.CodeDestroyed
		}
	case destroy:
		if s == nil {
			return dsv.CodeNotFound
		}
		for _, n := range op.GetVersions() {
			if n == 0 || n > uint64(len(s.versions)) {
				return dsv.CodeNotFound
			}
		}
	case repair:
		n := op.GetRepairVersion()
		if s == nil || n == 0 || n > uint64(len(s.versions)) {
			return dsv.CodeVersionMismatch
		}
		if v := s.versions[n-1]; v.Destroyed || string(v.ShareSet.Bytes()) != string(op.GetFromShareSet()) {
			return dsv.CodeVersionMismatch
		}
	}
	if op.IfVersion != nil && *op.IfVersion != live {
		return dsv.CodeVersionMismatch
	}
	return ""
}

func (w *twin) carryOut(x *twinTx, i int, op *metapb.Op, at dsv.Path, acks []Ack, off int64) {
	s := w.secrets[at]
	if s == nil {
		s = &twinSecret{}
		w.secrets[at] = s
	}
	s.changed = off
	boundary := int64(0)
	for _, v := range s.versions {
		for _, iv := range v.Intervals {
			boundary = max(boundary, iv.From, iv.To)
		}
	}
	now := max(boundary+1, w.t)
	res := OpResult{Key: at.Key, Kind: op.GetKind(), Version: uint64(len(s.versions))}
	set := dsv.ShareSet{Tx: x.id, Op: uint16(i)}
	var gone []dsv.ShareSet
	end := func() {
		v := s.versions[s.live()-1]
		v.Intervals[len(v.Intervals)-1].To = now
	}
	switch op.GetKind() {
	case create, update, put:
		if s.live() > 0 {
			end()
		}
		res.Version, res.ValidFrom = res.Version+1, now
		s.versions = append(s.versions, &Version{
			Path: at, Number: res.Version, ShareSet: set, Intervals: []Interval{{now, 0}}, RequestedAt: x.p.GetRequestedAtUs(),
			Author: x.p.GetCaller(), PaddedSize: int(op.GetPaddedSize()), Digests: op.GetDigests(), CommittedOffset: off,
			CommittedAt: w.t, ShareSetE: w.e, Acks: acks,
		})
	case del:
		end()
		res.ValidTo = now
	case undelete:
		v := s.versions[len(s.versions)-1]
		v.Intervals = append(v.Intervals, Interval{now, 0})
		res.ValidFrom = now
	case destroy:
		if !op.GetAll() {
			res.Version = op.GetVersions()[len(op.GetVersions())-1]
		}
		for _, v := range s.versions {
			if !op.GetAll() && !slices.Contains(op.GetVersions(), v.Number) {
				continue
			}
			if !v.Destroyed {
				gone = append(gone, v.ShareSet)
				v.Destroyed, v.Digests, v.Acks = true, nil, nil
			}
			if s.live() == v.Number {
				end()
				res.ValidTo, res.Version = now, v.Number
			}
		}
	case repair:
		v := s.versions[op.GetRepairVersion()-1]
		gone = append(gone, v.ShareSet)
		v.ShareSet, v.Digests, v.Acks, v.ShareSetE = set, op.GetDigests(), acks, w.e
		res.Version = v.Number
	}
	x.results = append(x.results, res)
	x.gone = append(x.gone, gone)
}
