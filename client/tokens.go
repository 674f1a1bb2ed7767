package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/dsvault/dsv"
)

// TokenRequest makes a token.
type TokenRequest struct {
	Name     string
	Prefixes []string // namespaces, each with all below it; "" = all
	Verbs    []string
	Expires  time.Time // zero = never
}

// CreateToken makes a token; only this answer holds its text. It is not tried
// anew after a broken connection: the text would be lost with the answer.
func (c *Client) CreateToken(ctx context.Context, r TokenRequest) (Token, error) {
	q := &call{op: "token create", name: r.Name, method: http.MethodPost, url: "/v1/tokens", header: make(http.Header, 4)}
	body := struct {
		Name     string   `json:"name"`
		Prefixes []string `json:"prefixes"`
		Verbs    []string `json:"verbs"`
		Expires  *Time    `json:"expires,omitempty"`
	}{Name: r.Name, Prefixes: r.Prefixes, Verbs: r.Verbs}
	if !r.Expires.IsZero() {
		body.Expires = &Time{r.Expires}
	}
	q.json(body)
	a, err := c.do(ctx, q)
	if err != nil {
		return Token{}, err
	}
	defer clear(a.body)
	var t struct {
		Token
		Text text `json:"token"`
	}
	if err := a.decode(q, &t); err != nil {
		return Token{}, err
	}
	t.Token.Text = dsv.SecretOf(t.Text)
	return t.Token, nil
}

// text is a JSON string that never becomes a Go string.
type text []byte

func (t *text) UnmarshalText(b []byte) error {
	*t = append(text(nil), b...)
	return nil
}

// ListTokens lists all tokens, without their text.
func (c *Client) ListTokens(ctx context.Context) ([]Token, error) {
	var t struct{ Tokens []Token }
	_, err := c.fetch(ctx, &call{op: "token list", method: http.MethodGet, url: "/v1/tokens"}, &t)
	return t.Tokens, err
}

// RevokeToken ends a token; 404 where there is none (any more). A token's id is
// no secret.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	q := &call{op: "token revoke", name: id, method: http.MethodDelete, url: "/v1/tokens/" + url.PathEscape(id), header: make(http.Header, 4)}
	_, err := c.do(ctx, q)
	return err
}
