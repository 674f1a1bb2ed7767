package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/dsvault/dsv/internal/identity"
)

// probeTimeout bounds a probe.
const probeTimeout = 3 * time.Second

// Probe asks the node of this configuration, on this machine, whether it is
// ready: nil if /readyz says so, else an error with what it says. It is what
// `dsvnode probe` and a container's health check run.
func (c Config) Probe(ctx context.Context) error {
	tls, err := identity.HTTPClientTLS(c.APIIdentity.CA)
	if err != nil {
		return err
	}
	if tls.ServerName, _, err = net.SplitHostPort(c.API.Advertise); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := "https://" + here(c.API.Listen) + "/readyz?verbose"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	tr := &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	says, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("probe: not ready (%s): %s", resp.Status, says)
	}
	return nil
}

// Probe reports whether the keeper of this configuration, on this machine,
// takes connections. It answers nobody but nodes, so more cannot be asked.
func (c KeeperConfig) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", here(c.Listen))
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return conn.Close()
}

// here is the address at which this machine reaches its own listener.
func here(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
