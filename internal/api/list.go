package api

import (
	"net/http"
	"strconv"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/coordinator"
)

// Page sizes of a list.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// list is GET …/secrets.
func (c *call) list() error {
	v, err := c.query("prefix", "after", "limit", "deleted", "consistency")
	if err != nil {
		return err
	}
	l := coordinator.ListRequest{NS: c.path.NS, Prefix: v.Get("prefix"), After: v.Get("after"), Limit: defaultLimit}
	for _, name := range []string{"prefix", "after"} {
		if s := v.Get(name); s != "" {
			if _, err := dsv.ParseKey(s); err != nil {
				return dsv.Invalid(name, dsv.AsError(err).Detail)
			}
		}
	}
	if v.Has("limit") {
		l.Limit, err = strconv.Atoi(v.Get("limit"))
		if err != nil || l.Limit < 1 || l.Limit > maxLimit {
			return dsv.Invalid("limit", "must be a whole number from 1 to 1000")
		}
	}
	if l.Deleted, err = boolParam(v, "deleted"); err != nil {
		return err
	}
	if l.Consistency, l.MinPosition, err = c.consistency(v); err != nil {
		return err
	}
	names, err := c.vault.List(c.ctx, c.session, l)
	if err != nil {
		return err
	}
	c.stood(names.Position, names.Lag, l.Consistency == coordinator.Local || l.MinPosition != nil)
	return c.json(http.StatusOK, 128+48*len(names.Names), func(b []byte) []byte {
		return appendNames(b, l.NS, names)
	})
}

func appendNames(b []byte, ns dsv.Namespace, names coordinator.Names) []byte {
	b = append(append(b, `{"namespace":"`...), ns.String()...)
	b = append(b, `","names":[`...)
	for i, n := range names.Names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"key":"`...), n.Key.String()...)
		b = strconv.AppendUint(append(b, `","version":`...), n.Version, 10)
		if n.Deleted {
			b = append(b, `,"deleted":true`...)
		}
		b = append(b, '}')
	}
	b = append(b, ']')
	if names.Next != "" {
		b = appendString(append(b, `,"next":`...), names.Next)
	}
	return append(b, '}')
}
