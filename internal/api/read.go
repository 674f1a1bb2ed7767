package api

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/coordinator"
)

// get is GET …/secrets/{key}.
func (c *call) get() error {
	rd, err := c.readParams("version", "at", "consistency")
	if err != nil {
		return err
	}
	f, err := c.vault.Get(c.ctx, c.session, rd)
	if err != nil {
		return err
	}
	defer f.Value.Wipe()
	c.stood(f.Position, f.Lag, local(rd))
	h := c.w.Header()
	h["Etag"] = []string{etag(f.Version.Version)}
	if wantsBytes(c.r.Header["Accept"]) {
		setFound(h, f)
		return c.bytes(http.StatusOK, bytesType, f.Value.Reveal())
	}
	return c.json(http.StatusOK, 640+base64.StdEncoding.EncodedLen(f.Value.Len()), func(b []byte) []byte {
		return append(appendFound(append(b, '{'), c.path, f, true), '}')
	})
}

func local(rd coordinator.Read) bool {
	return rd.Consistency == coordinator.Local || rd.MinPosition != nil
}

// head is HEAD …/secrets/{key}.
func (c *call) head() error {
	rd, err := c.readParams("version", "at", "consistency")
	if err != nil {
		return err
	}
	f, err := c.vault.Head(c.ctx, c.session, rd)
	if err != nil {
		return err
	}
	c.stood(f.Position, f.Lag, local(rd))
	h := c.w.Header()
	h["Etag"] = []string{etag(f.Version.Version)}
	setFound(h, f)
	return c.empty(http.StatusOK)
}

// history is GET …/secrets/{key}/versions.
func (c *call) history() error {
	rd, err := c.readParams("consistency")
	if err != nil {
		return err
	}
	versions, at, err := c.vault.History(c.ctx, c.session, rd)
	if err != nil {
		return err
	}
	c.stood(at, 0, local(rd))
	out := client.History{Namespace: c.path.NS.String(), Key: c.path.Key.String(), Versions: make([]client.Version, len(versions))}
	for i, v := range versions {
		out.Versions[i] = wireVersion(v)
	}
	return c.marshal(http.StatusOK, out)
}

func wireVersion(v coordinator.Version) client.Version {
	w := client.Version{
		Version: v.Version, State: stateOf(v), Intervals: make([]client.Interval, len(v.Intervals)),
		RequestedAt: wireTime(v.RequestedAt), Author: v.Author, PaddedSize: v.PaddedSize,
	}
	for i, iv := range v.Intervals {
		w.Intervals[i] = client.Interval{From: wireTime(iv.From), To: wireTime(iv.To)}
	}
	return w
}

func stateOf(v coordinator.Version) string {
	switch {
	case v.Destroyed:
		return client.StateDestroyed
	case v.Current:
		return client.StateCurrent
	}
	return client.StatePast
}

// wantsBytes reports whether Accept names application/octet-stream, and not
// application/json before it.
func wantsBytes(accept []string) bool {
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			t, _, _ := strings.Cut(part, ";")
			switch strings.TrimSpace(t) {
			case "application/octet-stream":
				return true
			case "application/json":
				return false
			}
		}
	}
	return false
}

// appendFound appends the fields of a read's answer.
func appendFound(b []byte, p dsv.Path, f coordinator.Found, value bool) []byte {
	b = appendPath(b, p)
	b = strconv.AppendUint(append(b, `,"version":`...), f.Version.Version, 10)
	if value {
		b = append(b, `,"value":"`...)
		b = base64.StdEncoding.AppendEncode(b, f.Value.Reveal())
		b = append(b, '"')
	}
	b = appendTime(append(b, `,"valid_from":`...), f.Interval.From)
	b = appendTime(append(b, `,"valid_to":`...), f.Interval.To)
	b = appendTime(append(b, `,"requested_at":`...), f.RequestedAt)
	b = appendString(append(b, `,"author":`...), f.Author)
	b = strconv.AppendInt(append(b, `,"padded_size":`...), int64(f.PaddedSize), 10)
	b = appendString(append(b, `,"state":`...), stateOf(f.Version))
	if f.NotFinal {
		b = append(b, `,"not_final":true`...)
	}
	if f.FromHint {
		b = append(b, `,"from_hint":true`...)
	}
	return b
}

// setFound tells in headers what appendFound tells in a body.
func setFound(h http.Header, f coordinator.Found) {
	h["Dsv-Version"] = []string{strconv.FormatUint(f.Version.Version, 10)}
	setTime(h, "Dsv-Valid-From", f.Interval.From)
	setTime(h, "Dsv-Valid-To", f.Interval.To)
	setTime(h, "Dsv-Requested-At", f.RequestedAt)
	if f.Author != "" {
		h["Dsv-Author"] = []string{f.Author}
	}
	h["Dsv-Padded-Size"] = []string{strconv.Itoa(f.PaddedSize)}
	h["Dsv-State"] = []string{stateOf(f.Version)}
	if f.NotFinal {
		h["Dsv-Not-Final"] = []string{"true"}
	}
	if f.FromHint {
		h["Dsv-From-Hint"] = []string{"true"}
	}
}
