package coordinator

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
	"google.golang.org/protobuf/proto"
)

// CreateToken makes a token and returns its text, once. Admins only.
func (c *Coordinator) CreateToken(ctx context.Context, s *Session, q TokenRequest) (TokenInfo, error) {
	if err := s.Caller.AllowAdmin(); err != nil {
		return TokenInfo{}, err
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	verbs, err := auth.ParseVerbs(q.Verbs)
	if err != nil {
		return TokenInfo{}, err
	}
	now := time.Now()
	if !q.Expires.IsZero() && !q.Expires.After(now) {
		return TokenInfo{}, dsv.Invalid("expires", "is not in the future")
	}
	t := auth.NewToken()
	g := auth.Grant{ID: t.ID, Name: q.Name, Hash: t.Hash(), Verbs: verbs, CreatedMicros: now.UnixMicro(), CreatedBy: s.Caller.ID}
	if !q.Expires.IsZero() {
		g.ExpiresMicros = q.Expires.UnixMicro()
	}
	for _, p := range q.Prefixes {
		prefix, err := auth.ParsePrefix(p)
		if err != nil {
			return TokenInfo{}, err
		}
		g.Prefixes = append(g.Prefixes, prefix)
	}
	if err := g.Validate(); err != nil {
		return TokenInfo{}, err
	}
	row := g.ToProto()
	value, err := proto.Marshal(row)
	if err != nil {
		return TokenInfo{}, err
	}
	set := &metapb.Setting{Type: replica.TokenType, Id: t.ID, Value: value, Author: s.Caller.ID}
	if err := c.rep.PutSetting(ctx, set); err != nil {
		return TokenInfo{}, withOp(err, "token create", "")
	}
	info := tokenInfo(row)
	info.Secret = t.Text()
	return info, nil
}

func tokenInfo(t *metapb.Token) TokenInfo {
	return TokenInfo{ID: t.GetId(), Name: t.GetName(), Prefixes: t.GetPrefixes(), Verbs: t.GetVerbs(),
		Created: micros(t.GetCreatedUs()), CreatedBy: t.GetCreatedBy(), Expires: micros(t.GetExpiresUs())}
}

// ListTokens lists every token, without secrets, by id. Admins only.
func (c *Coordinator) ListTokens(_ context.Context, s *Session) ([]TokenInfo, error) {
	if err := s.Caller.AllowAdmin(); err != nil {
		return nil, err
	}
	out := []TokenInfo{}
	err := c.rep.View(func(tx store.Txn) error {
		list, err := replica.Tokens(tx)
		for _, t := range list {
			out = append(out, tokenInfo(t))
		}
		return err
	})
	return out, err
}

// RevokeToken removes a token. It counts everywhere once each node has applied
// it; a request judged by a newer revision waits for that at every holder.
// Admins only.
func (c *Coordinator) RevokeToken(ctx context.Context, s *Session, id string) error {
	if err := s.Caller.AllowAdmin(); err != nil {
		return err
	}
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	var known bool
	err := c.rep.View(func(tx store.Txn) (err error) {
		known, err = replica.HasToken(tx, id)
		return err
	})
	if err != nil {
		return err
	}
	if !known {
		return dsv.E(dsv.KindNotFound, dsv.CodeNotFound, "no token has this id")
	}
	return withOp(c.rep.PutSetting(ctx, &metapb.Setting{Type: replica.TokenType, Id: id, Author: s.Caller.ID}), "token revoke", "")
}
