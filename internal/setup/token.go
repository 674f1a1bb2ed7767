package setup

import (
	"bytes"
	"context"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
)

// Author of what init writes into the log.
const author = "dsvctl init"

// settingToken is the type of a token's setting.
const settingToken = "token"

// takeSetting notes tokens, and which one an init made.
func (s *surveyed) takeSetting(m *metapb.Setting) {
	if m.GetType() != settingToken {
		return
	}
	if len(m.GetValue()) == 0 {
		delete(s.tokens, m.GetId())
		return
	}
	t := new(metapb.Token)
	if err := proto.Unmarshal(m.GetValue(), t); err != nil {
		return
	}
	s.tokens[m.GetId()] = t
	if m.GetAuthor() == author {
		s.initToken = m.GetId()
	}
}

// token makes the operator's first token, once in the life of a cluster.
func (w *logWork) token(ctx context.Context, l *commitlog.Log, found *surveyed) error {
	t, ok, err := w.first(found.initToken)
	if err != nil || !ok {
		return err
	}
	defer t.Secret.Wipe()
	if found.initToken == t.ID {
		return nil
	}
	if err := appendToken(ctx, l, t); err != nil {
		return logError("token", err)
	}
	w.say("token %s may do everything; its text is in %s: keep it safe, it is shown nowhere else", t.ID, w.tokenAt)
	return nil
}

// firstToken keeps the first token in its file. The file comes before the
// record, so a run that stops between the two is completed by the next with
// the same token.
func (r *run) firstToken(made string) (auth.Token, bool, error) {
	path := r.lay.OperatorToken()
	if !exists(path) {
		if made != "" {
			r.say("token %s was made before and its file is gone: tokens are made with `dsvctl token create`", made)
			return auth.Token{}, false, nil
		}
		if err := writeToken(path); err != nil {
			return auth.Token{}, false, err
		}
		r.note(path)
	}
	t, err := readToken(path)
	if err != nil {
		return auth.Token{}, false, err
	}
	if made != "" && made != t.ID {
		t.Secret.Wipe()
		return auth.Token{}, false, conflict(path, "is not the token that init made for this log ("+made+")")
	}
	return t, true, nil
}

// writeToken draws a token into a new file.
func writeToken(path string) error {
	t := auth.NewToken()
	defer t.Secret.Wipe()
	text := t.Text()
	defer text.Wipe()
	line := append(bytes.Clone(text.Reveal()), '\n')
	defer clear(line)
	return writeWhole(path, line, 0o600)
}

func readToken(path string) (auth.Token, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return auth.Token{}, local(path, err)
	}
	defer clear(b)
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
	}
	t, err := auth.ParseToken(b[:n])
	if err != nil {
		return auth.Token{}, conflict(path, "does not hold a token")
	}
	return t, nil
}

func appendToken(ctx context.Context, l *commitlog.Log, t auth.Token) error {
	every, err := auth.ParsePrefix("")
	if err != nil {
		return err
	}
	g := auth.Grant{ID: t.ID, Name: "operator", Hash: t.Hash(), Prefixes: []auth.Prefix{every}, Verbs: auth.AllVerbs,
		CreatedMicros: time.Now().UnixMicro(), CreatedBy: author}
	if err := g.Validate(); err != nil {
		return err
	}
	value, err := proto.Marshal(g.ToProto())
	if err != nil {
		return err
	}
	body, err := meta.Encode(&metapb.Record{Body: &metapb.Record_Setting{Setting: &metapb.Setting{
		Type: settingToken, Id: t.ID, Value: value, Author: author}}})
	if err != nil {
		return err
	}
	return appendOne(ctx, l, body, commitlog.Control)
}
