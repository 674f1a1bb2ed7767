package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"log/slog"
	"net/http"
)

// levelAccess is the level of one line per request.
const levelAccess = slog.LevelDebug

//go:embed openapi.json
var openapi []byte

// livez tells that the process answers, sealed or not.
func (c *call) livez() error {
	return c.bytes(http.StatusOK, textType, []byte("ok\n"))
}

// readyz tells whether the node serves: all named checks, the seal first.
func (c *call) readyz() error {
	checks := c.checks()
	status := http.StatusOK
	var out bytes.Buffer
	for _, k := range checks {
		if k.OK {
			fmt.Fprintf(&out, "[+]%s ok\n", k.Name)
		} else {
			fmt.Fprintf(&out, "[-]%s failed: %s\n", k.Name, k.Reason)
			status = http.StatusServiceUnavailable
		}
	}
	if _, verbose := c.r.URL.Query()["verbose"]; !verbose && status == http.StatusOK {
		out.Reset()
	}
	if status == http.StatusOK {
		out.WriteString("ok\n")
	} else {
		out.WriteString("not ready\n")
	}
	return c.bytes(status, textType, out.Bytes())
}

func (c *call) checks() []Check {
	seal := Check{Name: "seal", OK: true}
	if sealed, reason := c.s.cfg.State(); sealed {
		seal.OK, seal.Reason = false, reason
	} else if c.s.vault.Load() == nil {
		seal.OK, seal.Reason = false, "the vault is not open yet"
	}
	checks := []Check{seal}
	if c.s.cfg.Checks != nil {
		checks = append(checks, c.s.cfg.Checks(c.ctx)...)
	}
	return checks
}

// showMetrics is GET /metrics, in Prometheus' text form.
func (c *call) showMetrics() error {
	c.begin(http.StatusOK)
	c.s.metrics.handler.ServeHTTP(c.w, c.r)
	return nil
}

// document is GET /v1/openapi.json.
func (c *call) document() error {
	return c.bytes(http.StatusOK, jsonType, openapi)
}
