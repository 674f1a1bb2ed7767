package replica_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/replica"
	"github.com/dsvault/dsv/internal/store"
	"github.com/dsvault/dsv/tests/core"
)

// A store that after a crash shows newer rows and lacks older ones, as one does
// that has lost a table or a write-ahead log, is not believed: it would give
// old versions for the newest.
func TestLostMetadataIsNoticed(t *testing.T) {
	first := func(tx store.Txn, kind string) []byte { // row of partition 0
		items, _, err := tx.Scan([]byte("m\x00\x00"+kind), store.Page{Limit: 1})
		if err != nil || len(items) == 0 {
			t.Fatalf("no row of kind %s: %v", kind, err)
		}
		return items[0].Key
	}
	for name, lose := range map[string]func(tx store.Txn) []byte{
		"a secret":        func(tx store.Txn) []byte { return first(tx, "s") },
		"a version":       func(tx store.Txn) []byte { return first(tx, "v") },
		"an outcome":      func(tx store.Txn) []byte { return first(tx, "t") },
		"the config":      func(tx store.Txn) []byte { return first(tx, "c") },
		"the head":        func(tx store.Txn) []byte { return first(tx, "h") },
		"the store ids":   func(tx store.Txn) []byte { return first(tx, "j") },
		"the count of it": func(store.Txn) []byte { return []byte("m\xff\xffp") },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
				n := c.Nodes[0]
				c.Begin("app", create("K", "v")).All()
				h := c.Begin("app", update("K", "w"))
				n.Applied(0, h.All())
				n.Crash()
				change(c, n, func(tx store.Txn) error {
					_, err := tx.Delete(lose(tx))
					return err
				})
				if err := n.Open(n.Config()); !errors.Is(err, replica.ErrDamaged) {
					t.Errorf("it starts, or says %v", err)
				}
			})
		})
	}
}

// An older row in the place of a newer one is noticed as well.
func TestOlderMetadataIsNoticed(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		n.Applied(0, c.Begin("app", create("K", "v")).All())
		var old store.Item
		n.View(func(tx store.Txn) error {
			items, _, err := tx.Scan([]byte("m\x00\x00s"), store.Page{Limit: 1})
			old = items[0]
			return err
		})
		n.Applied(0, c.Begin("app", update("K", "w")).All())
		n.Crash()
		change(c, n, func(tx store.Txn) error { return tx.Put(store.Pair{Key: old.Key, Value: old.Value}) })
		if err := n.Open(n.Config()); !errors.Is(err, replica.ErrDamaged) {
			t.Errorf("it starts, or says %v", err)
		}
	})
}

// After a crash the tokens are those of the log, whatever the store shows: one
// that was revoked does not come back with an old row.
func TestRevokedTokenStaysRevoked(t *testing.T) {
	bubble(t, core.Options{}, func(t *testing.T, c *core.Cluster) {
		n := c.Nodes[0]
		text, id := c.Grant("gone", auth.Read, "")
		_, kept := c.Grant("kept", auth.Read, "")
		var row store.Item
		settings := func(want ...string) {
			t.Helper()
			c.Eventually(time.Minute, func() error {
				return n.Rep.View(func(tx store.Txn) error {
					list, err := replica.Tokens(tx)
					if err != nil || len(list) != len(want)+1 { // and the operator's
						return errors.Join(err, errors.New("not the tokens"))
					}
					for _, w := range want {
						if ok, err := replica.HasToken(tx, w); err != nil || !ok {
							return errors.Join(err, errors.New(w+" is missing"))
						}
					}
					row, err = tx.Get([]byte("dtoken:" + id))
					if errors.Is(err, store.ErrNotFound) {
						err = nil
					}
					return err
				})
			})
		}
		settings(id, kept)
		old := row
		c.RevokeToken(id)
		settings(kept)
		n.Crash()
		change(c, n, func(tx store.Txn) error { return tx.Put(store.Pair{Key: old.Key, Value: old.Value}) })
		n.Start()
		n.Ready()
		settings(kept)
		if tok, err := auth.ParseToken(text.Reveal()); err != nil || n.Rep.Book().Len() != 2 {
			t.Errorf("%d tokens in the book, %v", n.Rep.Book().Len(), err)
		} else if _, err := n.Rep.Book().Authenticate(tok, time.Now().UnixMicro()); err == nil {
			t.Error("a revoked token is taken")
		}
	})
}
