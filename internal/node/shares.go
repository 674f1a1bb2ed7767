package node

import (
	"context"
	"errors"

	"github.com/dsvault/dsv/internal/store"
)

// shareVault keeps the keepers' shares of this node's root key in the node's
// own store, which is encrypted under that key.
type shareVault struct{ s store.Store }

var sharesKey = []byte("k/shares")

func (v shareVault) LoadShares(context.Context) ([]byte, bool, error) {
	tx, err := v.s.Begin(store.ReadOnly)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = tx.Abort() }()
	it, err := tx.Get(sharesKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, nil
	}
	return it.Value, err == nil, err
}

func (v shareVault) SaveShares(ctx context.Context, b []byte) error {
	tx, err := v.s.Begin(store.ReadWriteReserve)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Abort() }()
	if err := tx.Put(store.Pair{Key: sharesKey, Value: b}); err != nil {
		return err
	}
	_, err = tx.Commit(ctx)
	return err
}
