package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dsvault/dsv"
)

// WriteOptions of a write; nil is the zero value.
type WriteOptions struct {
	IfVersion      *uint64   // the live version must be this; 0 = must not be live
	IdempotencyKey string    // "" = one is drawn, unless Config.NoAutoKeys
	RequestedAt    time.Time // zero = the node's clock; decides nothing
}

// Consistency of a read.
type Consistency string

// The consistencies. The zero value is Strict.
const (
	Strict Consistency = "strict" // linearizable
	Index  Consistency = "index"  // up to the log's end as one broker tells it
	Local  Consistency = "local"  // the node's own state, log and peers not asked
)

// ReadOptions of a read; nil is the zero value: the newest, strictly.
type ReadOptions struct {
	Version     uint64    // 0 = not by number
	At          time.Time // zero = not by instant; excludes Version
	Consistency Consistency
	MinPosition *dsv.Position // wait until applied, then local
}

// Create makes a secret that is not live. The value stays the caller's.
func (c *Client) Create(ctx context.Context, p dsv.Path, value dsv.Secret, o *WriteOptions) (Written, error) {
	return c.write(ctx, "create", http.MethodPost, p, "", value, o)
}

// Update makes a new version of a live secret.
func (c *Client) Update(ctx context.Context, p dsv.Path, value dsv.Secret, o *WriteOptions) (Written, error) {
	return c.write(ctx, "update", http.MethodPut, p, "", value, o)
}

// Put creates or updates.
func (c *Client) Put(ctx context.Context, p dsv.Path, value dsv.Secret, o *WriteOptions) (Written, error) {
	return c.write(ctx, "put", http.MethodPut, p, "?upsert=true", value, o)
}

func (c *Client) write(ctx context.Context, op, method string, p dsv.Path, query string, value dsv.Secret, o *WriteOptions) (Written, error) {
	q := c.change(op, method, p, query, o)
	q.header["Content-Type"] = []string{"application/octet-stream"}
	q.body = value.Reveal()
	return c.written(ctx, q)
}

// Delete closes the current interval; the history stays.
func (c *Client) Delete(ctx context.Context, p dsv.Path, o *WriteOptions) (Written, error) {
	return c.written(ctx, c.change("delete", http.MethodDelete, p, "", o))
}

// Undelete brings the last version back.
func (c *Client) Undelete(ctx context.Context, p dsv.Path, o *WriteOptions) (Written, error) {
	return c.written(ctx, c.change("undelete", http.MethodPost, p, "/undelete", o))
}

// Destroy removes the shards of the named versions for good, of all versions
// where none is named.
func (c *Client) Destroy(ctx context.Context, p dsv.Path, versions []uint64, o *WriteOptions) (Written, error) {
	q := c.change("destroy", http.MethodPost, p, "/destroy", o)
	q.json(struct {
		Versions []uint64 `json:"versions,omitempty"`
		All      bool     `json:"all,omitempty"`
	}{versions, len(versions) == 0})
	return c.written(ctx, q)
}

// change is a write on one secret without a body.
func (c *Client) change(op, method string, p dsv.Path, rest string, o *WriteOptions) *call {
	q := &call{op: op, name: p.String(), method: method, url: secretURL(p) + rest, header: make(http.Header, 8)}
	if o == nil {
		o = &WriteOptions{}
	}
	if o.IfVersion != nil {
		q.header["If-Match"] = []string{`"` + strconv.FormatUint(*o.IfVersion, 10) + `"`}
	}
	c.meta(q, o.IdempotencyKey, o.RequestedAt)
	return q
}

// meta gives a write its idempotency key and the time of the request.
func (c *Client) meta(q *call, key string, at time.Time) {
	if key == "" && c.autoKeys {
		var b [16]byte
		_, _ = rand.Read(b[:])
		key = hex.EncodeToString(b[:])
	}
	if key != "" {
		q.header["Idempotency-Key"] = []string{key}
		q.again = true
	}
	if !at.IsZero() {
		q.header["Dsv-Requested-At"] = []string{Time{at}.String()}
	}
}

func (q *call) json(v any) {
	q.header["Content-Type"] = []string{"application/json"}
	q.body, _ = json.Marshal(v) // plain structs of ours always encode
}

func (c *Client) written(ctx context.Context, q *call) (Written, error) {
	a, err := c.do(ctx, q)
	if err != nil {
		return Written{}, err
	}
	w := Written{}
	if a.status == http.StatusNoContent {
		w.Version, _ = strconv.ParseUint(a.header.Get("DSV-Version"), 10, 64)
		w.PreviousValidTo = headerTime(a.header, "DSV-Valid-To")
		w.Operation = a.header.Get("DSV-Operation")
	} else if err := a.decode(q, &w); err != nil {
		return Written{}, err
	}
	w.Position = a.position()
	return w, nil
}

// Get reads a value.
func (c *Client) Get(ctx context.Context, p dsv.Path, o *ReadOptions) (Found, error) {
	q := read("get", http.MethodGet, p, "", o)
	a, err := c.do(ctx, q)
	if err != nil {
		return Found{}, err
	}
	defer clear(a.body)
	var f foundWire
	if err := a.decode(q, &f); err != nil {
		return Found{}, err
	}
	f.Found.Value = dsv.SecretOf(f.Value)
	f.Position, f.Lag = a.position(), a.lag()
	return f.Found, nil
}

// foundWire is Found with its value in the clear, as it travels.
type foundWire struct {
	Found
	Value []byte `json:"value"`
}

// Head is Get without the value, for existence.
func (c *Client) Head(ctx context.Context, p dsv.Path, o *ReadOptions) (Found, error) {
	a, err := c.do(ctx, read("head", http.MethodHead, p, "", o))
	if err != nil {
		return Found{}, err
	}
	h := a.header
	f := Found{
		Namespace: p.NS.String(), Key: p.Key.String(), State: h.Get("DSV-State"), Author: h.Get("DSV-Author"),
		ValidFrom: headerTime(h, "DSV-Valid-From"), ValidTo: headerTime(h, "DSV-Valid-To"), RequestedAt: headerTime(h, "DSV-Requested-At"),
		NotFinal: h.Get("DSV-Not-Final") != "", FromHint: h.Get("DSV-From-Hint") != "",
		Position: a.position(), Lag: a.lag(),
	}
	f.Version, _ = strconv.ParseUint(h.Get("DSV-Version"), 10, 64)
	f.PaddedSize, _ = strconv.Atoi(h.Get("DSV-Padded-Size"))
	return f, nil
}

// History lists all versions, without values.
func (c *Client) History(ctx context.Context, p dsv.Path, o *ReadOptions) (History, error) {
	q := read("history", http.MethodGet, p, "/versions", o)
	a, err := c.do(ctx, q)
	if err != nil {
		return History{}, err
	}
	var h History
	if err := a.decode(q, &h); err != nil {
		return History{}, err
	}
	h.Position = a.position()
	return h, nil
}

// ListOptions of a list; nil is the zero value.
type ListOptions struct {
	Prefix      string
	After       string // Names.Next of the page before
	Limit       int    // 1 to 1000; 0 = the server's default
	Deleted     bool   // also secrets that are not live
	Consistency Consistency
	MinPosition *dsv.Position
}

// List is one page of the names of a namespace.
func (c *Client) List(ctx context.Context, ns dsv.Namespace, o *ListOptions) (Names, error) {
	if o == nil {
		o = &ListOptions{}
	}
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("prefix", o.Prefix)
	set("after", o.After)
	set("consistency", string(o.Consistency))
	if o.Limit != 0 {
		v.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.Deleted {
		v.Set("deleted", "true")
	}
	q := &call{op: "list", name: ns.String(), method: http.MethodGet, url: nsURL(ns) + "/secrets", header: make(http.Header, 4), again: true}
	if len(v) > 0 {
		q.url += "?" + v.Encode()
	}
	q.minPosition(o.MinPosition)
	a, err := c.do(ctx, q)
	if err != nil {
		return Names{}, err
	}
	var n Names
	if err := a.decode(q, &n); err != nil {
		return Names{}, err
	}
	n.Position, n.Lag = a.position(), a.lag()
	return n, nil
}

// read is a read of one secret.
func read(op, method string, p dsv.Path, rest string, o *ReadOptions) *call {
	q := &call{op: op, name: p.String(), method: method, url: secretURL(p) + rest, header: make(http.Header, 4), again: true}
	if o == nil {
		return q
	}
	sep := "?"
	add := func(name, value string) {
		q.url += sep + name + "=" + url.QueryEscape(value)
		sep = "&"
	}
	if o.Version != 0 {
		add("version", strconv.FormatUint(o.Version, 10))
	}
	if !o.At.IsZero() {
		add("at", Time{o.At}.String())
	}
	if o.Consistency != "" {
		add("consistency", string(o.Consistency))
	}
	q.minPosition(o.MinPosition)
	return q
}

func (q *call) minPosition(p *dsv.Position) {
	if p != nil {
		q.header["Dsv-Min-Position"] = []string{p.String()}
	}
}

func nsURL(ns dsv.Namespace) string {
	return "/v1/ns/" + strings.ReplaceAll(ns.String(), "/", "%2F")
}

func secretURL(p dsv.Path) string { return nsURL(p.NS) + "/secrets/" + p.Key.String() }

func headerTime(h http.Header, name string) Time {
	t, err := time.Parse(time.RFC3339Nano, h.Get(name))
	if err != nil {
		return Time{}
	}
	return Time{t}
}
