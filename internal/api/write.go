package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// writeFunc is Vault.Create, Update or Put.
type writeFunc func(ctx context.Context, s *coordinator.Session, w coordinator.Write) (coordinator.Written, error)

// create is POST …/secrets/{key}.
func (c *call) create() error {
	if _, err := c.query(); err != nil {
		return err
	}
	return c.write(c.vault.Create, http.StatusCreated)
}

// putVerbs is what a PUT needs: create where it may only create, create and
// update where it may do both.
func putVerbs(c *call) auth.Verb {
	if only, _ := c.onlyIfNew(); only {
		return auth.Create
	}
	if v, err := c.query("upsert"); err == nil && v.Get("upsert") == "true" {
		return auth.Create | auth.Update
	}
	return auth.Update
}

// put is PUT …/secrets/{key}: update, with ?upsert=true put, with
// If-None-Match: * create.
func (c *call) put() error {
	v, err := c.query("upsert")
	if err != nil {
		return err
	}
	upsert, err := boolParam(v, "upsert")
	if err != nil {
		return err
	}
	only, err := c.onlyIfNew()
	switch {
	case err != nil:
		return err
	case only && upsert:
		return dsv.Invalid("If-None-Match", "excludes upsert=true")
	case only:
		return c.write(c.vault.Create, http.StatusCreated)
	case upsert:
		return c.write(c.vault.Put, http.StatusOK)
	}
	return c.write(c.vault.Update, http.StatusOK)
}

func (c *call) write(do writeFunc, success int) error {
	w := coordinator.Write{Path: c.path}
	var err error
	if w.Meta, err = c.meta(); err != nil {
		return err
	}
	if _, err := c.ifMatch(); err != nil {
		return err // before the body is read
	}
	var inBody *uint64
	if w.Value, inBody, err = c.value(); err != nil {
		return err
	}
	if w.IfVersion, err = c.condition(inBody); err != nil {
		w.Value.Wipe()
		return err
	}
	done, err := do(c.ctx, c.session, w)
	if err != nil {
		return err
	}
	if success == http.StatusCreated {
		c.w.Header()["Location"] = []string{secretURL(c.path)}
	}
	return c.written(success, done)
}

// remove is DELETE …/secrets/{key}.
func (c *call) remove() error {
	return c.change(c.vault.Delete, http.StatusNoContent)
}

// undelete is POST …/secrets/{key}/undelete.
func (c *call) undelete() error {
	return c.change(c.vault.Undelete, http.StatusOK)
}

// changeFunc is Vault.Delete or Undelete.
type changeFunc func(ctx context.Context, s *coordinator.Session, ch coordinator.Change) (coordinator.Written, error)

func (c *call) change(do changeFunc, success int) error {
	if _, err := c.query(); err != nil {
		return err
	}
	ch := coordinator.Change{Path: c.path}
	var err error
	if ch.Meta, err = c.meta(); err != nil {
		return err
	}
	var inBody *uint64
	err = c.optionalJSON(func(d *decoder, name string) (err error) {
		if name != "if_version" {
			return errUnknown
		}
		inBody, err = d.version(name, 0)
		return err
	})
	if err != nil {
		return err
	}
	if ch.IfVersion, err = c.condition(inBody); err != nil {
		return err
	}
	done, err := do(c.ctx, c.session, ch)
	if err != nil {
		return err
	}
	return c.written(success, done)
}

// destroy is POST …/secrets/{key}/destroy.
func (c *call) destroy() error {
	if _, err := c.query(); err != nil {
		return err
	}
	ds := coordinator.Destroy{Path: c.path}
	var err error
	if ds.Meta, err = c.meta(); err != nil {
		return err
	}
	var which destroyFields
	var inBody *uint64
	err = c.jsonBody(0, func(d *decoder, name string) (err error) {
		if name == "if_version" {
			inBody, err = d.version(name, 0)
			return err
		}
		return which.field(d, name)
	})
	if err == nil {
		err = which.complete()
	}
	if err != nil {
		return err
	}
	ds.Versions, ds.All = which.versions, which.all
	if ds.IfVersion, err = c.condition(inBody); err != nil {
		return err
	}
	done, err := c.vault.Destroy(c.ctx, c.session, ds)
	if err != nil {
		return err
	}
	return c.written(http.StatusNoContent, done)
}

// maxDestroy bounds the versions one destroy names.
const maxDestroy = 1000

// destroyFields reads versions or all.
type destroyFields struct {
	versions []uint64
	all      bool
}

func (f *destroyFields) field(d *decoder, name string) (err error) {
	switch name {
	case "all":
		f.all, err = d.bool(name)
		return err
	case "versions":
		return d.array(name, func() error {
			v, err := d.uint(name, 1, maxVersion)
			switch {
			case err != nil:
				return err
			case len(f.versions) == maxDestroy:
				return tooMany(name, maxDestroy)
			case len(f.versions) > 0 && v <= f.versions[len(f.versions)-1]:
				return dsv.Invalid(name, "must be ascending and distinct")
			}
			f.versions = append(f.versions, v)
			return nil
		})
	}
	return errUnknown
}

func (f *destroyFields) complete() error {
	switch {
	case f.all && len(f.versions) > 0:
		return dsv.Invalid("versions", "excludes all: give one of the two")
	case !f.all && len(f.versions) == 0:
		return dsv.Invalid("versions", "is missing: give \"versions\" or \"all\": true")
	}
	return nil
}

// written answers a write.
func (c *call) written(status int, w coordinator.Written) error {
	h := c.w.Header()
	h["Dsv-Position"] = []string{w.Position.String()}
	if status == http.StatusNoContent {
		if w.Version > 0 {
			h["Dsv-Version"] = []string{strconv.FormatUint(w.Version, 10)}
		}
		setTime(h, "Dsv-Valid-To", w.ValidTo)
		if !w.Operation.IsZero() {
			h["Dsv-Operation"] = []string{w.Operation.String()}
		}
		return c.empty(status)
	}
	h["Etag"] = []string{etag(w.Version)}
	return c.json(status, 512, func(b []byte) []byte {
		return append(appendWritten(append(b, '{'), c.path, w), '}')
	})
}

// appendWritten appends the fields of a write's answer.
func appendWritten(b []byte, p dsv.Path, w coordinator.Written) []byte {
	b = appendPath(b, p)
	b = strconv.AppendUint(append(b, `,"version":`...), w.Version, 10)
	b = appendTime(append(b, `,"valid_from":`...), w.ValidFrom)
	b = appendTime(append(b, `,"previous_valid_to":`...), w.ValidTo)
	if w.Unchanged {
		b = append(b, `,"unchanged":true`...)
	}
	if !w.Operation.IsZero() {
		b = appendString(append(b, `,"operation":`...), w.Operation.String())
	}
	return b
}

// appendPath appends the two names; neither ever needs an escape.
func appendPath(b []byte, p dsv.Path) []byte {
	b = append(append(b, `"namespace":"`...), p.NS.String()...)
	b = append(append(b, `","key":"`...), p.Key.String()...)
	return append(b, '"')
}

func etag(version uint64) string { return `"` + strconv.FormatUint(version, 10) + `"` }

// secretURL is the path of a secret.
func secretURL(p dsv.Path) string {
	return "/v1/ns/" + url.PathEscape(p.NS.String()) + "/secrets/" + p.Key.String()
}

func setTime(h http.Header, name string, t time.Time) {
	if !t.IsZero() {
		h[name] = []string{wireTime(t).String()}
	}
}
