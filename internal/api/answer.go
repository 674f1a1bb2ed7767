package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/dsvault/dsv"
)

// json answers with what f appends, up to about size bytes; the buffer is
// wiped afterwards.
func (c *call) json(status, size int, f func(b []byte) []byte) error {
	h := c.begin(status)
	h["Content-Type"] = jsonType
	withBuffer(size, func(b []byte) []byte {
		b = f(b)
		h["Content-Length"] = []string{strconv.Itoa(len(b))}
		c.w.WriteHeader(status)
		_, _ = c.w.Write(b) // a broken connection has nobody to tell
		return b
	})
	return nil
}

// marshal answers with v by reflection, for what is asked for seldom.
func (c *call) marshal(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.json(status, len(b), func(buf []byte) []byte { return append(buf, b...) })
}

// empty answers without a body.
func (c *call) empty(status int) error {
	c.begin(status)
	c.w.WriteHeader(status)
	return nil
}

// bytes answers with b itself.
func (c *call) bytes(status int, contentType []string, b []byte) error {
	h := c.begin(status)
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b)
	return nil
}

// begin sets what every answer has.
func (c *call) begin(status int) http.Header {
	c.status = status
	h := c.w.Header()
	h["Cache-Control"] = noStore
	h["X-Request-Id"] = []string{c.id}
	return h
}

// stood tells what the answer stands on.
func (c *call) stood(p dsv.Position, lag time.Duration, local bool) {
	h := c.w.Header()
	h["Dsv-Position"] = []string{p.String()}
	if local || lag > 0 {
		h["Dsv-Lag"] = []string{strconv.FormatInt(lag.Milliseconds(), 10)}
	}
}
