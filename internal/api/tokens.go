package api

import (
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// createToken is POST /v1/tokens.
func (c *call) createToken() error {
	if _, err := c.query(); err != nil {
		return err
	}
	var t coordinator.TokenRequest
	var err error
	if t.Meta, err = c.meta(); err != nil {
		return err
	}
	err = c.jsonBody(0, func(d *decoder, name string) error { return tokenField(d, &t, name) })
	if err == nil {
		err = checkToken(&t)
	}
	if err != nil {
		return err
	}
	info, err := c.vault.CreateToken(c.ctx, c.session, t)
	if err != nil {
		return err
	}
	defer info.Secret.Wipe()
	c.w.Header()["Location"] = []string{"/v1/tokens/" + info.ID}
	return c.json(http.StatusCreated, 4096, func(b []byte) []byte {
		b = append(append(b, `{"token":"`...), info.Secret.Reveal()...)
		return append(appendToken(append(b, `",`...), info), '}')
	})
}

func tokenField(d *decoder, t *coordinator.TokenRequest, name string) (err error) {
	switch name {
	case "name":
		t.Name, err = d.text(name, auth.MaxName)
	case "prefixes":
		t.Prefixes, err = d.texts(name, 520, auth.MaxPrefixes)
	case "verbs":
		t.Verbs, err = d.texts(name, 16, 16)
	case "expires":
		var s string
		if s, err = d.text(name, 64); err == nil {
			t.Expires, err = parseTime(name, s)
		}
	default:
		err = errUnknown
	}
	return err
}

// texts reads an array of strings.
func (d *decoder) texts(field string, limit, count int) ([]string, error) {
	var list []string
	err := d.array(field, func() error {
		if len(list) == count {
			return tooMany(field, count)
		}
		s, err := d.text(field, limit)
		list = append(list, s)
		return err
	})
	return list, err
}

func checkToken(t *coordinator.TokenRequest) error {
	if t.Name == "" || strings.ContainsFunc(t.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return dsv.Invalid("name", "must be 1 to 128 bytes of printable text")
	}
	if len(t.Prefixes) == 0 {
		return dsv.Invalid("prefixes", `is missing or empty: name namespaces, or "" for all`)
	}
	for _, p := range t.Prefixes {
		if _, err := auth.ParsePrefix(p); err != nil {
			return err
		}
	}
	if len(t.Verbs) == 0 {
		return dsv.Invalid("verbs", "is missing or empty: use "+auth.AllVerbs.String())
	}
	verbs, err := auth.ParseVerbs(t.Verbs)
	if err != nil {
		return err
	}
	if verbs.Has(auth.Admin) && !contains(t.Prefixes, "") {
		return dsv.Invalid("verbs", `has admin, which needs the prefix ""`)
	}
	if !t.Expires.IsZero() && !t.Expires.After(time.Now()) {
		return dsv.Invalid("expires", "lies in the past")
	}
	return nil
}

// listTokens is GET /v1/tokens.
func (c *call) listTokens() error {
	if _, err := c.query(); err != nil {
		return err
	}
	list, err := c.vault.ListTokens(c.ctx, c.session)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, 64+512*len(list), func(b []byte) []byte {
		b = append(b, `{"tokens":[`...)
		for i, t := range list {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendToken(append(b, '{'), t), '}')
		}
		return append(b, "]}"...)
	})
}

func appendToken(b []byte, t coordinator.TokenInfo) []byte {
	b = appendString(append(b, `"id":`...), t.ID)
	b = appendString(append(b, `,"name":`...), t.Name)
	b = appendStrings(append(b, `,"prefixes":`...), t.Prefixes)
	b = appendStrings(append(b, `,"verbs":`...), t.Verbs)
	b = appendTime(append(b, `,"created":`...), t.Created)
	b = appendString(append(b, `,"created_by":`...), t.CreatedBy)
	return appendTime(append(b, `,"expires":`...), t.Expires)
}

// revokeToken is DELETE /v1/tokens/{id}.
func (c *call) revokeToken() error {
	if _, err := c.query(); err != nil {
		return err
	}
	text, err := c.param("id")
	if err != nil {
		return err
	}
	id, err := auth.ParseID(text)
	if err != nil {
		return err
	}
	if err := c.vault.RevokeToken(c.ctx, c.session, id); err != nil {
		return err
	}
	return c.empty(http.StatusNoContent)
}
