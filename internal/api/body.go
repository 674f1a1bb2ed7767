package api

import (
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/dsvault/dsv"
)

// jsonSlack is what a JSON body may have besides three times its values:
// base64 takes 4/3, text with escapes usually less than 3.
const jsonSlack = 64 << 10

// media is the media type of a request body.
type media uint8

const (
	mediaNone media = iota
	mediaJSON
	mediaBytes
)

// mediaType reads Content-Type and refuses what no call takes.
func (c *call) mediaType() (media, error) {
	if e := c.r.Header["Content-Encoding"]; len(e) > 0 && e[0] != "identity" {
		return 0, unsupported("Content-Encoding must be absent")
	}
	v := c.r.Header["Content-Type"]
	if len(v) == 0 {
		return mediaNone, nil
	}
	switch v[0] {
	case "application/json":
		return mediaJSON, nil
	case "application/octet-stream":
		return mediaBytes, nil
	}
	switch t, params, err := mime.ParseMediaType(v[0]); {
	case err != nil:
	case t == "application/json" && (params["charset"] == "" || isUTF8(params["charset"])):
		return mediaJSON, nil
	case t == "application/octet-stream":
		return mediaBytes, nil
	}
	return 0, unsupported("Content-Type must be application/json (UTF-8), or application/octet-stream where the body is a value")
}

func isUTF8(charset string) bool { return charset == "utf-8" || charset == "UTF-8" }

func unsupported(detail string) error {
	return dsv.E(dsv.KindUnsupportedMedia, dsv.CodeUnsupportedMedia, detail)
}

// readBody reads the whole body, at most limit bytes: what is longer is
// refused before more is read. Then the request has its whole time again.
func (c *call) readBody(limit int, what string) ([]byte, error) {
	n := c.r.ContentLength
	if n > int64(limit) {
		return nil, tooLarge(what, limit)
	}
	var b []byte
	var err error
	if n >= 0 {
		b = make([]byte, n)
		_, err = io.ReadFull(c.r.Body, b)
	} else {
		b, err = io.ReadAll(io.LimitReader(c.r.Body, int64(limit)+1))
	}
	if err != nil {
		clear(b)
		return nil, dsv.Invalid("body", "did not arrive whole")
	}
	if len(b) > limit {
		clear(b)
		return nil, tooLarge(what, limit)
	}
	c.restart()
	return b, nil
}

// jsonBody reads a body that must be JSON and has size bytes of values at
// most. field is as in decodeObject.
func (c *call) jsonBody(size int, field func(d *decoder, name string) error) error {
	m, err := c.mediaType()
	if err != nil {
		return err
	}
	if m != mediaJSON {
		return unsupported("Content-Type must be application/json")
	}
	b, err := c.readBody(3*size+jsonSlack, "body")
	if err != nil {
		return err
	}
	defer clear(b)
	return decodeObject(b, field)
}

// optionalJSON is jsonBody for calls that need no body.
func (c *call) optionalJSON(field func(d *decoder, name string) error) error {
	if c.r.Body == nil || c.r.Body == http.NoBody || c.r.ContentLength == 0 {
		return nil
	}
	return c.jsonBody(0, field)
}

// value reads the body of a create, update or put: the value and if_version.
// The value has its own bytes.
func (c *call) value() (dsv.Secret, *uint64, error) {
	m, err := c.mediaType()
	if err != nil {
		return dsv.Secret{}, nil, err
	}
	limit := c.s.cfg.MaxValue
	switch m {
	case mediaBytes:
		b, err := c.readBody(limit, "value")
		return dsv.SecretOf(b), nil, err
	case mediaNone:
		return dsv.Secret{}, nil, unsupported("Content-Type is missing: application/json or application/octet-stream")
	}
	v := valueFields{limit: limit}
	err = c.jsonBody(limit, func(d *decoder, name string) error {
		return v.field(d, name)
	})
	if err == nil {
		err = v.complete()
	}
	if err != nil {
		v.value.Wipe()
		return dsv.Secret{}, nil, err
	}
	return v.value, v.ifVersion, nil
}

// valueFields reads value or text, and if_version.
type valueFields struct {
	limit     int
	value     dsv.Secret
	given     string // the field the value came in
	ifVersion *uint64
}

func (v *valueFields) field(d *decoder, name string) (err error) {
	switch name {
	case "value", "text":
		if v.given != "" {
			return dsv.Invalid(name, "excludes "+v.given+": give one of the two")
		}
		v.given = name
		if name == "text" {
			v.value, err = d.secretText(name, v.limit)
		} else {
			v.value, err = d.secretBase64(name, v.limit)
		}
		return err
	case "if_version":
		v.ifVersion, err = d.version(name, 0)
		return err
	}
	return errUnknown
}

func (v *valueFields) complete() error {
	if v.given == "" {
		return dsv.Invalid("value", "is missing: give \"value\" (base64) or \"text\"")
	}
	return nil
}

// maxVersion bounds a version number in JSON: what every language holds.
const maxVersion = 1<<53 - 1

// version reads a version number from low on.
func (d *decoder) version(field string, low uint64) (*uint64, error) {
	n, err := d.uint(field, low, maxVersion)
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// condition is If-Match and if_version as one.
func (c *call) condition(inBody *uint64) (*uint64, error) {
	h, err := c.ifMatch()
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		return inBody, nil
	case inBody != nil && *inBody != *h:
		return nil, dsv.Invalid("if_version", "differs from If-Match")
	}
	return h, nil
}

// indexed names the operation of a batch in err, 1-based.
func indexed(err error, index int) error {
	e := *dsv.AsError(err)
	e.Index = index
	return &e
}

func tooMany(field string, limit int) *dsv.Error {
	e := dsv.E(dsv.KindTooLarge, dsv.CodeTooLarge, fmt.Sprintf("has more than %d entries", limit))
	e.Field = field
	return e
}
