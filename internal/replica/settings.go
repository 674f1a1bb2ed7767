package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/commitlog"
	"github.com/dsvault/dsv/internal/datastore"
	"github.com/dsvault/dsv/internal/meta"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// TokenType is the setting type of tokens; its value is a metapb.Token.
const TokenType = "token"

// MaxSetting is the most bytes of one setting's value.
const MaxSetting = 64 << 10

// tokens are the tokens in force, as typed items of the store.
var tokens = datastore.New[metapb.Token](TokenType, tokenCodec{}, datastore.Index[metapb.Token]{
	Field: "name", Of: func(t *metapb.Token) []string { return []string{t.GetName()} },
})

type tokenCodec struct{}

func (tokenCodec) Encode(t *metapb.Token) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(t)
}

func (tokenCodec) Decode(b []byte) (*metapb.Token, error) {
	t := new(metapb.Token)
	return t, proto.Unmarshal(b, t)
}

// settingsKey holds the newest applied offset of the control topic (8 bytes)
// and the revision, which is the offset after the newest setting (8 bytes).
var settingsKey = []byte{'r', 'p'}

// applySetting applies one record of the control topic. It decides nothing
// about secrets. What is not a well-formed setting is void; the position moves.
func (r *Replica) applySetting(tx store.Txn, rec commitlog.Record, m *metapb.Record, out *applied) error {
	offset, revision, err := readSettings(tx)
	if err != nil {
		return err
	}
	if rec.Offset != offset+1 {
		return fmt.Errorf("control topic: offset %d follows %d", rec.Offset, offset)
	}
	if s := m.GetSetting(); s != nil && len(s.GetValue()) <= MaxSetting {
		changed, err := putSetting(tx, s)
		if err != nil {
			return err
		}
		if changed {
			revision = uint64(rec.Offset) + 1
			out.settings = true
		}
	}
	row := binary.BigEndian.AppendUint64(nil, uint64(rec.Offset))
	row = binary.BigEndian.AppendUint64(row, revision)
	out.heads[commitlog.Control] = meta.Head{Partition: commitlog.Control, Offset: rec.Offset, T: rec.AppendTime}
	return tx.Put(store.Pair{Key: settingsKey, Value: row})
}

func readSettings(tx store.Txn) (offset int64, revision uint64, err error) {
	it, err := tx.Get(settingsKey)
	if errors.Is(err, store.ErrNotFound) {
		return -1, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	if len(it.Value) != 16 {
		return 0, 0, errRow
	}
	return int64(binary.BigEndian.Uint64(it.Value)), binary.BigEndian.Uint64(it.Value[8:]), nil
}

// putSetting stores or removes one typed item; false means void.
func putSetting(tx store.Txn, s *metapb.Setting) (bool, error) {
	if s.GetType() != TokenType {
		return false, nil
	}
	if len(s.GetValue()) == 0 {
		err := tokens.Delete(tx, s.GetId())
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
	t := new(metapb.Token)
	if proto.Unmarshal(s.GetValue(), t) != nil || t.GetId() != s.GetId() {
		return false, nil
	}
	if _, err := auth.FromProto(t); err != nil {
		return false, nil
	}
	return true, tokens.Put(tx, t.GetId(), t)
}

// loadSettings makes the book of tokens from the store.
func (r *Replica) loadSettings(tx store.Txn) error {
	offset, revision, err := readSettings(tx)
	if err != nil {
		return err
	}
	list, err := Tokens(tx)
	if err != nil {
		return err
	}
	grants := make([]auth.Grant, 0, len(list))
	for _, t := range list {
		g, err := auth.FromProto(t)
		if err != nil {
			return err
		}
		grants = append(grants, g)
	}
	r.book.Store(auth.NewBook(revision, grants))
	r.control.setHead(meta.Head{Partition: commitlog.Control, Offset: offset})
	return nil
}

// PutSetting appends a setting and waits until it is applied here.
func (r *Replica) PutSetting(ctx context.Context, s *metapb.Setting) error {
	done := make(chan error, 1)
	var offset int64
	rec := &metapb.Record{Version: 1, Body: &metapb.Record_Setting{Setting: s}}
	err := r.append(commitlog.Control, rec, func(off int64, err error) {
		offset = off
		done <- err
	})
	if err != nil {
		return logError(err)
	}
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil { // it may be in the log all the same
		return &dsv.Error{Kind: dsv.KindUnknownOutcome, Code: dsv.CodeOutcomeUnknown, Err: err,
			Detail: "the setting was handed to the log and is not applied yet; list the settings to learn its outcome"}
	}
	if err := r.WaitApplied(ctx, dsv.Position{Partition: commitlog.Control, Offset: offset}); err != nil {
		return &dsv.Error{Kind: dsv.KindUnknownOutcome, Code: dsv.CodeOutcomeUnknown, Err: err,
			Detail: "the setting is in the log and not applied here yet; list the settings to learn its outcome"}
	}
	return nil
}

// Tokens lists the tokens in force by id.
func Tokens(tx store.Txn) ([]*metapb.Token, error) {
	var out []*metapb.Token
	page := store.Page{Limit: 256}
	for {
		list, next, err := tokens.List(tx, page)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
		if next == nil {
			return out, nil
		}
		page.After = next
	}
}

// HasToken reports whether a token is in force.
func HasToken(tx store.Txn, id string) (bool, error) {
	_, err := tokens.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
