package meta

import (
	"encoding/binary"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// opState is one operation of a COMMIT with the rows that it was judged by.
type opState struct {
	op     *metapb.Op
	path   dsv.Path
	secret secretState
	target *versionState   // UNDELETE: the last version; REPAIR: the one repaired
	doomed []*versionState // DESTROY: the versions that it destroys
}

type secretState struct {
	key, old []byte // old is nil when the secret does not exist
	row      *metapb.SecretRow
}

type versionState struct {
	n        uint64
	key, old []byte
	row      *metapb.VersionRow
}

// preconditions reads what the operations need and returns the code of the
// first one whose precondition is false, with its 1-based number.
func (m *machine) preconditions(t *pending) ([]*opState, dsv.Code, int, error) {
	ops := t.row.GetPrepare().GetOps()
	states := make([]*opState, len(ops))
	room := MaxDestroyed
	for i, op := range ops {
		s, err := m.loadOp(t, op)
		if err != nil {
			return nil, "", 0, err
		}
		states[i] = s
		code, err := m.precondition(s, room)
		if err != nil {
			return nil, "", 0, err
		}
		if code == "" && !ifVersion(s) {
			code = dsv.CodeVersionMismatch
		}
		if code != "" {
			return nil, code, i + 1, nil
		}
		room -= len(s.doomed)
	}
	return states, "", 0, nil
}

func (m *machine) loadOp(t *pending, op *metapb.Op) (*opState, error) {
	k, err := dsv.ParseKey(op.GetKey())
	if err != nil {
		return nil, corrupt(t.key, err)
	}
	s := &opState{op: op, path: dsv.Path{NS: t.ns, Key: k}}
	s.secret.key = secretKey(m.p, s.path)
	s.secret.row = new(metapb.SecretRow)
	s.secret.old, err = get(m.tx, s.secret.key, s.secret.row)
	return s, err
}

// precondition judges an operation by its kind; room is how many versions it
// may still destroy.
func (m *machine) precondition(s *opState, room int) (dsv.Code, error) {
	exists, live := s.secret.old != nil, s.secret.row.GetLive()
	switch s.op.GetKind() {
	case metapb.OpKind_CREATE:
		if live {
			return dsv.CodeExists, nil
		}
	case metapb.OpKind_UPDATE, metapb.OpKind_DELETE:
		if !live {
			return dsv.CodeNotFound, nil
		}
	case metapb.OpKind_UNDELETE:
		return m.mayUndelete(s, exists, live)
	case metapb.OpKind_DESTROY:
		return m.mayDestroy(s, exists, room)
	case metapb.OpKind_REPAIR:
		return m.mayRepair(s, exists)
	}
	return "", nil
}

func (m *machine) mayUndelete(s *opState, exists, live bool) (dsv.Code, error) {
	if !exists {
		return dsv.CodeNotFound, nil
	}
	if live {
		return dsv.CodeExists, nil
	}
	var err error
	if s.target, err = m.version(s.path, s.secret.row.GetLastVersion()); err != nil {
		return "", err
	}
	if s.target.row.GetDestroyed() {
		return dsv.CodeDestroyed, nil
	}
	return "", nil
}

func (m *machine) mayRepair(s *opState, exists bool) (dsv.Code, error) {
	n := s.op.GetRepairVersion()
	if !exists || n < 1 || n > s.secret.row.GetLastVersion() {
		return dsv.CodeVersionMismatch, nil
	}
	var err error
	if s.target, err = m.version(s.path, n); err != nil {
		return "", err
	}
	if s.target.row.GetDestroyed() || string(s.target.row.GetShareSet()) != string(s.op.GetFromShareSet()) {
		return dsv.CodeVersionMismatch, nil
	}
	return "", nil
}

// mayDestroy also collects the versions that are not destroyed yet. More than
// room of them are refused, so that no record does unbounded work.
func (m *machine) mayDestroy(s *opState, exists bool, room int) (dsv.Code, error) {
	if !exists {
		return dsv.CodeNotFound, nil
	}
	if !s.op.GetAll() {
		for _, n := range s.op.GetVersions() {
			if n < 1 || n > s.secret.row.GetLastVersion() {
				return dsv.CodeNotFound, nil
			}
			v, err := m.version(s.path, n)
			if err != nil {
				return "", err
			}
			s.doom(v)
		}
	} else if err := m.doomAll(s, room); err != nil {
		return "", err
	}
	if len(s.doomed) > room {
		return dsv.CodeTooLarge, nil
	}
	return "", nil
}

func (s *opState) doom(v *versionState) {
	if !v.row.GetDestroyed() {
		s.doomed = append(s.doomed, v)
	}
}

func (m *machine) doomAll(s *opState, room int) error {
	prefix := versionPrefix(m.p, s.path)
	return scan(m.tx, prefix, store.Page{Limit: scanPage}, func(it store.Item) (bool, error) {
		v := &versionState{key: it.Key, old: it.Value, row: new(metapb.VersionRow)}
		if err := unmarshal(it, v.row); err != nil {
			return false, err
		}
		v.n = binary.BigEndian.Uint64(it.Key[len(it.Key)-8:])
		s.doom(v)
		return len(s.doomed) <= room, nil
	})
}

// ifVersion judges if_version: the live version must be that one; 0 = none.
func ifVersion(s *opState) bool {
	if s.op.IfVersion == nil {
		return true
	}
	var live uint64
	if s.secret.row.GetLive() {
		live = s.secret.row.GetLastVersion()
	}
	return live == s.op.GetIfVersion()
}

// version reads a version that must exist.
func (m *machine) version(path dsv.Path, n uint64) (*versionState, error) {
	v := &versionState{n: n, key: versionKey(m.p, path, n), row: new(metapb.VersionRow)}
	var err error
	v.old, err = get(m.tx, v.key, v.row)
	if err == nil && v.old == nil {
		err = corrupt(v.key, "missing")
	}
	return v, err
}
