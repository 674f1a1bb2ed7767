package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/dsvault/dsv"
)

// OpKind is the verb of one operation of a batch.
type OpKind string

// The verbs of a batch. Gets and writes are not mixed.
const (
	OpGet      OpKind = "get"
	OpCreate   OpKind = "create"
	OpUpdate   OpKind = "update"
	OpPut      OpKind = "put"
	OpDelete   OpKind = "delete"
	OpUndelete OpKind = "undelete"
	OpDestroy  OpKind = "destroy"
)

// Op is one operation of a batch.
type Op struct {
	Kind      OpKind
	Key       dsv.Key
	Value     dsv.Secret // of a create, update or put
	Version   uint64     // of a get; 0 = latest
	Versions  []uint64   // of a destroy; empty = all
	IfVersion *uint64
}

// BatchResult answers in the order of the operations: Written of writes,
// Found of gets.
type BatchResult struct {
	Written  []Written
	Found    []Found
	Position dsv.Position
}

// Batch does all operations or none, at one point in the order. Of an
// operation that fails, the error holds the 1-based Index. WriteOptions'
// IfVersion is not used: each operation has its own.
func (c *Client) Batch(ctx context.Context, ns dsv.Namespace, ops []Op, o *WriteOptions) (BatchResult, error) {
	q := &call{op: "batch", name: ns.String(), method: http.MethodPost, url: nsURL(ns) + "/batch", header: make(http.Header, 8)}
	q.header["Content-Type"] = []string{"application/json"}
	reads := len(ops) > 0 && ops[0].Kind == OpGet
	if o == nil {
		o = &WriteOptions{}
	}
	if reads {
		q.again = true
	} else {
		c.meta(q, o.IdempotencyKey, o.RequestedAt)
	}
	q.body = appendOps(make([]byte, 0, opsSize(ops)), ops)
	defer clear(q.body)
	a, err := c.do(ctx, q)
	if err != nil {
		return BatchResult{}, err
	}
	defer clear(a.body)
	r := BatchResult{Position: a.position()}
	if !reads {
		var w struct{ Results []Written }
		err = a.decode(q, &w)
		r.Written = w.Results
		return r, err
	}
	var w struct{ Results []foundWire }
	if err := a.decode(q, &w); err != nil {
		return BatchResult{}, err
	}
	for _, f := range w.Results {
		f.Found.Value = dsv.SecretOf(f.Value)
		r.Found = append(r.Found, f.Found)
	}
	return r, nil
}

// opsSize bounds the length of appendOps, so that it never leaves a copy of a
// value behind by growing.
func opsSize(ops []Op) int {
	n := 32
	for _, o := range ops {
		n += 256 + base64.StdEncoding.EncodedLen(o.Value.Len()) + 24*len(o.Versions)
	}
	return n
}

func appendOps(b []byte, ops []Op) []byte {
	b = append(b, `{"operations":[`...)
	for i, o := range ops {
		if i > 0 {
			b = append(b, ',')
		}
		kind, _ := json.Marshal(string(o.Kind))
		b = append(append(b, `{"op":`...), kind...)
		b = append(append(append(b, `,"key":"`...), o.Key.String()...), '"')
		switch o.Kind {
		case OpCreate, OpUpdate, OpPut:
			b = append(b, `,"value":"`...)
			b = base64.StdEncoding.AppendEncode(b, o.Value.Reveal())
			b = append(b, '"')
		case OpDestroy:
			b = appendVersions(b, o.Versions)
		}
		if o.Version != 0 {
			b = strconv.AppendUint(append(b, `,"version":`...), o.Version, 10)
		}
		if o.IfVersion != nil {
			b = strconv.AppendUint(append(b, `,"if_version":`...), *o.IfVersion, 10)
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

func appendVersions(b []byte, versions []uint64) []byte {
	if len(versions) == 0 {
		return append(b, `,"all":true`...)
	}
	b = append(b, `,"versions":[`...)
	for i, v := range versions {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, v, 10)
	}
	return append(b, ']')
}
