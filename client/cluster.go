package client

import (
	"context"
	"net/http"

	"github.com/dsvault/dsv"
)

// Status asks one node for the state of the cluster as it sees it.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	_, err := c.fetch(ctx, &call{op: "status", method: http.MethodGet, url: "/v1/cluster"}, &s)
	return s, err
}

// Shards asks who holds a shard of each version of a secret.
func (c *Client) Shards(ctx context.Context, p dsv.Path) (Shards, error) {
	var s Shards
	_, err := c.fetch(ctx, &call{op: "shards", name: p.String(), method: http.MethodGet, url: secretURL(p) + "/shards"}, &s)
	return s, err
}

// Operation tells what became of an operation, for 24 hours of log time; then
// it is KindGone with CodeForgotten.
func (c *Client) Operation(ctx context.Context, id dsv.TxID) (Outcome, error) {
	var o Outcome
	a, err := c.fetch(ctx, &call{op: "operation", name: id.String(), method: http.MethodGet, url: "/v1/operations/" + id.String()}, &o)
	if err == nil {
		o.Position = a.position()
	}
	return o, err
}

// fetch is a read that answers JSON.
func (c *Client) fetch(ctx context.Context, q *call, v any) (*answer, error) {
	q.header, q.again = make(http.Header, 4), true
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	return a, a.decode(q, v)
}
