package meta

import (
	"fmt"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// change carries a committed transaction out: one result per operation into
// out, and per operation the share sets that are gone by it.
func (m *machine) change(t *pending, states []*opState, out *metapb.TxRow) ([][]GoneSet, error) {
	out.State = metapb.TxState_COMMITTED
	gone := make([][]GoneSet, len(states))
	for i, s := range states {
		res := &metapb.OpResult{Key: s.op.GetKey(), Kind: s.op.GetKind()}
		var err error
		switch s.op.GetKind() {
		case metapb.OpKind_CREATE, metapb.OpKind_UPDATE, metapb.OpKind_PUT:
			err = m.addVersion(t, s, i, res)
		case metapb.OpKind_DELETE:
			err = m.closeLive(s, nil, res)
		case metapb.OpKind_UNDELETE:
			err = m.reopen(s, res)
		case metapb.OpKind_DESTROY:
			gone[i], err = m.destroy(s, res)
		case metapb.OpKind_REPAIR:
			gone[i], err = m.repair(t, s, i, res)
		default:
			err = fmt.Errorf("%w: operation kind %d", ErrBroken, s.op.GetKind())
		}
		if err != nil {
			return nil, err
		}
		s.secret.row.ChangedOffset = m.in.Offset
		if err := m.put(s.secret.key, s.secret.old, s.secret.row); err != nil {
			return nil, err
		}
		out.Results = append(out.Results, res)
	}
	return gone, nil
}

// opens is valid_from of an interval that opens now.
func (m *machine) opens(s *opState) int64 {
	return max(s.secret.row.GetBoundaryUs()+1, m.head.GetTUs())
}

// addVersion commits last + 1; the interval before it ends where it begins.
func (m *machine) addVersion(t *pending, s *opState, i int, res *metapb.OpResult) error {
	from, p, row := m.opens(s), t.row.GetPrepare(), s.secret.row
	if row.GetLive() {
		if err := m.closeAt(s, nil, from); err != nil {
			return err
		}
	}
	row.LastVersion++
	row.Live, row.BoundaryUs = true, from
	res.Version, res.ValidFromUs = row.GetLastVersion(), from
	return m.put(versionKey(m.p, s.path, row.GetLastVersion()), nil, &metapb.VersionRow{
		ShareSet:        dsv.ShareSet{Tx: t.id, Op: uint16(i)}.Bytes(),
		Intervals:       []*metapb.Interval{{FromUs: from}},
		RequestedAtUs:   p.GetRequestedAtUs(),
		Author:          p.GetCaller(),
		PaddedSize:      s.op.GetPaddedSize(),
		Digests:         s.op.GetDigests(),
		CommittedOffset: m.in.Offset,
		ShareSetEUs:     m.head.GetEUs(),
		Acks:            t.acks,
		CommittedAtUs:   m.head.GetTUs(),
	})
}

// closeLive ends the open interval now: DELETE, and DESTROY of that version.
// v is the live version where it is at hand.
func (m *machine) closeLive(s *opState, v *versionState, res *metapb.OpResult) error {
	row := s.secret.row
	// While live, the boundary is the open interval's valid_from.
	to := m.opens(s)
	if err := m.closeAt(s, v, to); err != nil {
		return err
	}
	row.Live, row.BoundaryUs = false, to
	res.Version, res.ValidToUs = row.GetLastVersion(), to
	return nil
}

// closeAt ends the open interval of the live version.
func (m *machine) closeAt(s *opState, v *versionState, to int64) error {
	if v == nil {
		var err error
		if v, err = m.version(s.path, s.secret.row.GetLastVersion()); err != nil {
			return err
		}
	}
	last := openInterval(v.row)
	if last == nil {
		return corrupt(v.key, "a live version without an open interval")
	}
	last.ToUs = to
	return m.put(v.key, v.old, v.row)
}

func openInterval(row *metapb.VersionRow) *metapb.Interval {
	ivs := row.GetIntervals()
	if len(ivs) == 0 || ivs[len(ivs)-1].GetToUs() != 0 {
		return nil
	}
	return ivs[len(ivs)-1]
}

// reopen gives the last version another interval.
func (m *machine) reopen(s *opState, res *metapb.OpResult) error {
	from, v := m.opens(s), s.target
	v.row.Intervals = append(v.row.Intervals, &metapb.Interval{FromUs: from})
	s.secret.row.Live, s.secret.row.BoundaryUs = true, from
	res.Version, res.ValidFromUs = v.n, from
	return m.put(v.key, v.old, v.row)
}

// destroy marks versions; the open interval ends only if its version is named.
// A destroyed version keeps its intervals but no digests and acknowledgements.
func (m *machine) destroy(s *opState, res *metapb.OpResult) ([]GoneSet, error) {
	last := s.secret.row.GetLastVersion()
	res.Version = last
	if named := s.op.GetVersions(); len(named) > 0 {
		res.Version = named[len(named)-1]
	}
	gone := make([]GoneSet, 0, len(s.doomed))
	for _, v := range s.doomed {
		set, err := dsv.ShareSetFromBytes(v.row.GetShareSet())
		if err != nil {
			return nil, corrupt(v.key, err)
		}
		gone = append(gone, GoneSet{s.path, v.n, set})
		v.row.Destroyed, v.row.Digests, v.row.Acks = true, nil, nil
		if v.n == last && s.secret.row.GetLive() {
			if err := m.closeLive(s, v, res); err != nil {
				return nil, err
			}
		} else if err := m.put(v.key, v.old, v.row); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// repair switches a version to the share set of this transaction. Version,
// intervals, author and sizes stay.
func (m *machine) repair(t *pending, s *opState, i int, res *metapb.OpResult) ([]GoneSet, error) {
	v := s.target
	from, err := dsv.ShareSetFromBytes(v.row.GetShareSet())
	if err != nil {
		return nil, corrupt(v.key, err)
	}
	v.row.ShareSet = dsv.ShareSet{Tx: t.id, Op: uint16(i)}.Bytes()
	v.row.Digests, v.row.Acks, v.row.ShareSetEUs = s.op.GetDigests(), t.acks, m.head.GetEUs()
	res.Version = v.n
	return []GoneSet{{s.path, v.n, from}}, m.put(v.key, v.old, v.row)
}
