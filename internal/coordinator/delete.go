package coordinator

import (
	"context"
	"slices"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/txn"
)

// Delete closes the last interval; history and shards stay. 404 missing.
func (c *Coordinator) Delete(ctx context.Context, s *Session, ch Change) (Written, error) {
	if err := s.Caller.Allow(auth.Delete, ch.Path.NS, ch.Path.Key); err != nil {
		return Written{}, err
	}
	op := txn.Op{Kind: metapb.OpKind_DELETE, Key: ch.Path.Key, IfVersion: ch.IfVersion}
	return c.one(ctx, s, c.request(s, ch.Path.NS, ch.Meta, auth.Delete, op), "delete")
}

// Undelete gives the last version another interval. 404 missing, 409 live, 410
// destroyed.
func (c *Coordinator) Undelete(ctx context.Context, s *Session, ch Change) (Written, error) {
	if err := s.Caller.Allow(auth.Undelete, ch.Path.NS, ch.Path.Key); err != nil {
		return Written{}, err
	}
	op := txn.Op{Kind: metapb.OpKind_UNDELETE, Key: ch.Path.Key, IfVersion: ch.IfVersion}
	return c.one(ctx, s, c.request(s, ch.Path.NS, ch.Meta, auth.Undelete, op), "undelete")
}

// MaxDestroy is the most versions one destroy names.
const MaxDestroy = 1000

// Destroy removes the shards of the named versions, or of all, for good; it
// may be repeated. 404 missing.
func (c *Coordinator) Destroy(ctx context.Context, s *Session, d Destroy) (Written, error) {
	if err := s.Caller.Allow(auth.Destroy, d.Path.NS, d.Path.Key); err != nil {
		return Written{}, err
	}
	op, err := destroyOp(d.Path.Key, d.Versions, d.All)
	if err != nil {
		return Written{}, err
	}
	op.IfVersion = d.IfVersion
	return c.one(ctx, s, c.request(s, d.Path.NS, d.Meta, auth.Destroy, op), "destroy")
}

func destroyOp(key dsv.Key, versions []uint64, all bool) (txn.Op, error) {
	switch {
	case all && len(versions) > 0:
		return txn.Op{}, dsv.Invalid("versions", "excludes all: give one of them")
	case !all && len(versions) == 0:
		return txn.Op{}, dsv.Invalid("versions", "is empty: name versions, or all")
	case len(versions) > MaxDestroy:
		return txn.Op{}, dsv.Invalid("versions", "names more than 1000 versions")
	}
	versions = slices.Clone(versions)
	slices.Sort(versions)
	versions = slices.Compact(versions)
	if len(versions) > 0 && versions[0] == 0 {
		return txn.Op{}, dsv.Invalid("versions", "are numbers from 1 on")
	}
	return txn.Op{Kind: metapb.OpKind_DESTROY, Key: key, Versions: versions, All: all}, nil
}
