package apitest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// Batch implements the vault: all or none.
func (v *Vault) Batch(ctx context.Context, s *coordinator.Session, b coordinator.Batch) (coordinator.BatchResult, error) {
	v.mu.Lock()
	if err := v.enter("batch"); err != nil {
		v.mu.Unlock()
		return coordinator.BatchResult{}, err
	}
	v.LastMeta = b.Meta
	for i, op := range b.Ops {
		if err := v.judge(b.NS, op); err != nil {
			v.mu.Unlock()
			e := *dsv.AsError(err)
			e.Index = i + 1
			return coordinator.BatchResult{}, &e
		}
	}
	v.mu.Unlock()
	var out coordinator.BatchResult
	for _, op := range b.Ops {
		p := dsv.Path{NS: b.NS, Key: op.Key}
		m := coordinator.RequestMeta{RequestedAt: b.Meta.RequestedAt}
		var w coordinator.Written
		var err error
		switch op.Kind {
		case coordinator.BatchGet:
			var f coordinator.Found
			f, err = v.Get(ctx, s, coordinator.Read{Path: p, Version: op.Version})
			out.Found = append(out.Found, f)
		case coordinator.BatchDelete:
			w, err = v.Delete(ctx, s, coordinator.Change{Path: p, Meta: m})
		case coordinator.BatchUndelete:
			w, err = v.Undelete(ctx, s, coordinator.Change{Path: p, Meta: m})
		case coordinator.BatchDestroy:
			w, err = v.Destroy(ctx, s, coordinator.Destroy{Path: p, Versions: op.Versions, All: op.All, Meta: m})
		default:
			w, err = v.Put(ctx, s, coordinator.Write{Path: p, Value: op.Value, Meta: m})
		}
		if err != nil {
			return coordinator.BatchResult{}, err
		}
		if op.Kind != coordinator.BatchGet {
			out.Written = append(out.Written, w)
		}
	}
	out.Position = v.position()
	return out, nil
}

// judge is the precondition of one operation.
func (v *Vault) judge(ns dsv.Namespace, op coordinator.BatchOp) error {
	sec := v.secrets[dsv.Path{NS: ns, Key: op.Key}]
	switch op.Kind {
	case coordinator.BatchCreate:
		if sec.live() {
			return fault(dsv.KindConflict, dsv.CodeExists, "the secret exists")
		}
	case coordinator.BatchGet:
		if ver, _ := sec.find(coordinator.Read{Version: op.Version}); ver == nil {
			return mustLive(false)
		}
	case coordinator.BatchUpdate, coordinator.BatchDelete:
		if err := mustLive(sec.live()); err != nil {
			return err
		}
	}
	return checkVersion(sec, op.IfVersion)
}

// Shards implements the vault: every holder is good.
func (v *Vault) Shards(_ context.Context, _ *coordinator.Session, p dsv.Path) ([]coordinator.ShardStatus, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("shards"); err != nil {
		return nil, err
	}
	sec := v.secrets[p]
	if sec == nil {
		return nil, mustLive(false)
	}
	var out []coordinator.ShardStatus
	for _, ver := range sec.versions {
		st := coordinator.ShardStatus{Version: ver.Version.Version, ShareSet: "set/0"}
		for i, n := range []dsv.NodeID{"n1", "n2", "n3"} {
			st.Holders = append(st.Holders, coordinator.HolderShard{Node: n, Rank: i, State: "good"})
		}
		out = append(out, st)
	}
	return out, nil
}

// Operation implements the vault: every operation with an offset it has
// reached is committed.
func (v *Vault) Operation(_ context.Context, _ *coordinator.Session, id dsv.TxID) (coordinator.Outcome, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("operation"); err != nil {
		return coordinator.Outcome{}, err
	}
	if id.T0 > v.offset {
		return coordinator.Outcome{}, fault(dsv.KindGone, dsv.CodeForgotten, "the operation is older than 24 hours")
	}
	if v.outcome != "" {
		return coordinator.Outcome{Operation: id, State: v.outcome, Position: v.position()}, nil
	}
	return coordinator.Outcome{
		Operation: id, State: "committed", Position: v.position(),
		Results: []coordinator.Written{{Version: 1, ValidFrom: Epoch}},
	}, nil
}

// Status implements the vault.
func (v *Vault) Status(context.Context, *coordinator.Session) (coordinator.Status, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("status"); err != nil {
		return coordinator.Status{}, err
	}
	return v.state, nil
}

// CreateToken implements the vault.
func (v *Vault) CreateToken(_ context.Context, s *coordinator.Session, r coordinator.TokenRequest) (coordinator.TokenInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("token create"); err != nil {
		return coordinator.TokenInfo{}, err
	}
	t := auth.NewToken()
	g := auth.Grant{ID: t.ID, Name: r.Name, Hash: t.Hash(), CreatedBy: s.Caller.ID, CreatedMicros: Epoch.UnixMicro()}
	if !r.Expires.IsZero() {
		g.ExpiresMicros = r.Expires.UnixMicro()
	}
	g.Verbs, _ = auth.ParseVerbs(r.Verbs)
	for _, p := range r.Prefixes {
		prefix, err := auth.ParsePrefix(p)
		if err != nil {
			return coordinator.TokenInfo{}, err
		}
		g.Prefixes = append(g.Prefixes, prefix)
	}
	v.grants[t.ID] = g
	info := infoOf(g)
	info.Secret = t.Text()
	return info, nil
}

func infoOf(g auth.Grant) coordinator.TokenInfo {
	info := coordinator.TokenInfo{
		ID: g.ID, Name: g.Name, Verbs: g.Verbs.Names(), Created: time.UnixMicro(g.CreatedMicros).UTC(), CreatedBy: g.CreatedBy,
	}
	if g.ExpiresMicros != 0 {
		info.Expires = time.UnixMicro(g.ExpiresMicros).UTC()
	}
	for _, p := range g.Prefixes {
		info.Prefixes = append(info.Prefixes, p.String())
	}
	return info
}

// ListTokens implements the vault.
func (v *Vault) ListTokens(context.Context, *coordinator.Session) ([]coordinator.TokenInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("token list"); err != nil {
		return nil, err
	}
	var out []coordinator.TokenInfo
	for _, g := range v.grants {
		out = append(out, infoOf(g))
	}
	slices.SortFunc(out, func(a, b coordinator.TokenInfo) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// RevokeToken implements the vault.
func (v *Vault) RevokeToken(_ context.Context, _ *coordinator.Session, id string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter("token revoke"); err != nil {
		return err
	}
	if _, ok := v.grants[id]; !ok {
		return fault(dsv.KindNotFound, dsv.CodeNotFound, "there is no such token")
	}
	delete(v.grants, id)
	return nil
}
