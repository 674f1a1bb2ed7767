package integration

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// TestTokens: a token does what it names and nothing else, on every node; it
// works through the node that made it the moment it is told, although the
// holders may not have heard of it yet; and it ends everywhere.
func TestTokens(t *testing.T) {
	w := shared(t)
	for _, ns := range []string{"team-a", "team-a/app", "team-ab", "team-b", "other/team-a"} {
		if _, err := w.at[0].Create(t.Context(), pathOf(t, ns, "KEY"), secret("of "+ns), nil); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("at once after creation", func(t *testing.T) { testFreshTokens(t, w) })
	tok, err := w.at[1].CreateToken(t.Context(), client.TokenRequest{Name: "reader of team-a", Prefixes: []string{"team-a"}, Verbs: []string{"read", "list", "update"}})
	if err != nil {
		t.Fatal(err)
	}
	users := make([]*client.Client, w.Nodes())
	for i := range users {
		if users[i], err = w.clientOf(i, tok.Text); err != nil {
			t.Fatal(err)
		}
		until(t, "the token is known on "+nodeNo(i), func() error {
			_, err := users[i].Get(t.Context(), pathOf(t, "team-a", "KEY"), nil)
			if err != nil && kindOf(err) != dsv.KindUnauthenticated {
				t.Fatalf("a token that is not known yet gets %v", err)
			}
			return err
		})
	}
	t.Run("what it names and nothing else", func(t *testing.T) {
		for i, u := range users {
			w.tokenLimits(t, i, u)
		}
	})
	t.Run("an end everywhere", func(t *testing.T) {
		if err := w.at[2].RevokeToken(t.Context(), tok.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := users[2].Get(t.Context(), pathOf(t, "team-a", "KEY"), nil); kindOf(err) != dsv.KindUnauthenticated {
			t.Errorf("the node that ended it still takes it: %v", err)
		}
		for i, u := range users {
			until(t, "the token ends on "+nodeNo(i), func() error {
				_, err := u.Get(t.Context(), pathOf(t, "team-a", "KEY"), nil)
				if kindOf(err) != dsv.KindUnauthenticated {
					return fmt.Errorf("it gets %v", err)
				}
				return nil
			})
		}
		w.restartNode(t, 4) // and stays ended
		if _, err := users[4].Get(t.Context(), pathOf(t, "team-a", "KEY"), nil); kindOf(err) != dsv.KindUnauthenticated {
			t.Errorf("after a restart a token that ended gets %v", err)
		}
		list, err := w.at[4].ListTokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			if l.ID == tok.ID {
				t.Errorf("an ended token is listed: %+v", l)
			}
		}
	})
}

// testFreshTokens: the first thing that is done with a token is a write and a
// read through the node that made it. The holders have to wait for the
// settings it was judged by, not to refuse it.
func testFreshTokens(t *testing.T, w *world) {
	var wg sync.WaitGroup
	for i := range w.Nodes() {
		wg.Go(func() {
			for n := range 6 {
				tok, err := w.at[i].CreateToken(t.Context(), client.TokenRequest{Name: fmt.Sprintf("fresh-%d-%d", i, n), Prefixes: []string{"fresh"}, Verbs: []string{"create", "read"}})
				if err != nil {
					t.Errorf("create a token on %s: %v", nodeNo(i), err)
					return
				}
				u, err := w.clientOf(i, tok.Text)
				if err != nil {
					t.Error(err)
					return
				}
				p := pathOf(t, "fresh/x", fmt.Sprintf("KEY-%d-%d", i, n))
				if _, err := u.Create(t.Context(), p, secret("v"), nil); err != nil {
					t.Errorf("%s: a write right after the token was made: %v", nodeNo(i), err)
				}
				if f, err := u.Get(t.Context(), p, nil); err != nil || text(f) != "v" {
					t.Errorf("%s: a read right after the token was made: %q, %v", nodeNo(i), text(f), err)
				}
				u.Close()
			}
		})
	}
	wg.Wait()
}

// tokenLimits: read, list and update below team-a; all else is 403, the same
// whether there is something or not.
func (w *world) tokenLimits(t *testing.T, i int, u *client.Client) {
	t.Helper()
	ctx := t.Context()
	own, below := pathOf(t, "team-a", "KEY"), pathOf(t, "team-a/app", "KEY")
	for _, p := range []dsv.Path{own, below} {
		if _, err := u.Update(ctx, p, secret(fmt.Sprintf("by a token on node %d", i)), nil); err != nil {
			t.Errorf("%s: update of %s: %v", nodeNo(i), p, err)
		}
		if f, err := u.Get(ctx, p, nil); err != nil || text(f) != fmt.Sprintf("by a token on node %d", i) {
			t.Errorf("%s: get of %s: %q, %v", nodeNo(i), p, text(f), err)
		}
	}
	if n, err := u.List(ctx, own.NS, nil); err != nil || len(n.Names) == 0 {
		t.Errorf("%s: list of team-a: %v, %v", nodeNo(i), n.Names, err)
	}
	denied := func(what string, err error) {
		t.Helper()
		if kindOf(err) != dsv.KindDenied {
			t.Errorf("%s: %s by a token that may not: %v", nodeNo(i), what, err)
		}
	}
	for _, ns := range []string{"team-ab", "team-b", "other/team-a", "nothing/here"} {
		p := pathOf(t, ns, "KEY")
		_, err := u.Get(ctx, p, nil)
		denied("get in "+ns, err)
		_, err = u.Update(ctx, p, secret("x"), nil)
		denied("update in "+ns, err)
		_, err = u.List(ctx, p.NS, nil)
		denied("list of "+ns, err)
		_, err = u.Get(ctx, p, &client.ReadOptions{Consistency: client.Local})
		denied("local get in "+ns, err)
		_, err = u.Batch(ctx, p.NS, []client.Op{{Kind: client.OpGet, Key: p.Key}}, nil)
		denied("batch in "+ns, err)
	}
	_, err := u.Create(ctx, pathOf(t, "team-a", "NEW"), secret("x"), nil)
	denied("create", err)
	_, err = u.Put(ctx, own, secret("x"), nil)
	denied("upsert", err)
	_, err = u.Delete(ctx, own, nil)
	denied("delete", err)
	_, err = u.Destroy(ctx, own, nil, nil)
	denied("destroy", err)
	_, err = u.Undelete(ctx, own, nil)
	denied("undelete", err)
	_, err = u.History(ctx, own, nil)
	denied("history", err)
	_, err = u.Shards(ctx, own)
	denied("shards", err)
	_, err = u.Batch(ctx, own.NS, []client.Op{{Kind: client.OpUpdate, Key: own.Key, Value: secret("x")}, {Kind: client.OpDelete, Key: own.Key}}, nil)
	denied("a batch with one verb too many", err)
	_, err = u.ListTokens(ctx)
	denied("list of tokens", err)
	_, err = u.CreateToken(ctx, client.TokenRequest{Name: "mine", Prefixes: []string{"team-a"}, Verbs: []string{"read"}})
	denied("making a token", err)
	denied("ending a token", u.RevokeToken(ctx, "0123456789abcdef"))
}
