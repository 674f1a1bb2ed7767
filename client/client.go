package client

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
)

// Defaults of Config.
const (
	DefaultTimeout        = 15 * time.Second
	DefaultAttemptTimeout = 6 * time.Second // the server answers within 4 s
	dialTimeout           = 2 * time.Second
)

// Config says which nodes to speak to and as whom.
type Config struct {
	Endpoints []string       // "https://host:port" or "host:port"; at least one
	Token     dsv.Secret     // the text of a token; empty for the calls that need none
	RootCAs   *x509.CertPool // nil, and neither CAFile nor CAPEM: the system's
	CAFile    string         // PEM; excludes RootCAs
	CAPEM     []byte         // the text of such a file; excludes both
	// HTTPClient replaces the built-in one; RootCAs, CAFile and CAPEM do not
	// apply then. It must not follow redirects with the token.
	HTTPClient     *http.Client
	Timeout        time.Duration // of a call in all, retries included; 0 = DefaultTimeout
	AttemptTimeout time.Duration // of one try at one node; 0 = DefaultAttemptTimeout
	NoAutoKeys     bool          // do not give writes an idempotency key by themselves
	UserAgent      string
}

// Client is a client of one cluster, safe for concurrent use. Close it to let
// idle connections go.
type Client struct {
	endpoints []string
	current   atomic.Uint32 // index of the endpoint that answered last
	auth      []string
	agent     []string
	http      *http.Client
	timeout   time.Duration
	attempt   time.Duration
	autoKeys  bool
}

// New validates cfg. It reports every fault at once, as one KindInvalid error.
func New(cfg Config) (*Client, error) {
	var faults []dsv.Fault
	bad := func(name, detail string) {
		faults = append(faults, dsv.Fault{Name: name, Code: dsv.CodeInvalid, Detail: detail})
	}
	c := &Client{timeout: cfg.Timeout, attempt: cfg.AttemptTimeout, autoKeys: !cfg.NoAutoKeys, http: cfg.HTTPClient}
	if len(cfg.Endpoints) == 0 {
		bad("endpoints", "is empty: give at least one https://host:port")
	}
	for _, s := range cfg.Endpoints {
		e, detail := endpoint(s)
		if detail != "" {
			bad("endpoints", detail)
			continue
		}
		c.endpoints = append(c.endpoints, e)
	}
	if cfg.Token.Len() > 0 {
		c.auth = []string{"Bearer " + string(cfg.Token.Reveal())}
		if strings.ContainsFunc(c.auth[0], func(r rune) bool { return r < ' ' || r > '~' }) {
			bad("token", "has a character that no token has")
		}
	}
	if cfg.Timeout < 0 || cfg.AttemptTimeout < 0 {
		bad("timeout", "is negative")
	}
	if c.timeout == 0 {
		c.timeout = DefaultTimeout
	}
	if c.attempt == 0 {
		c.attempt = DefaultAttemptTimeout
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "dsv-client"
	}
	c.agent = []string{cfg.UserAgent}
	roots, detail := rootsOf(cfg)
	if detail != "" {
		bad("ca", detail)
	}
	if err := faultsOf(faults); err != nil {
		return nil, err
	}
	if c.http == nil {
		c.http = &http.Client{Transport: transport(roots), CheckRedirect: noRedirect}
	}
	return c, nil
}

// Close lets idle connections go. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// transport keeps many connections per node alive: each carries one request
// at a time (HTTP/1.1), which is the fastest way under load.
func transport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13, ClientSessionCache: tls.NewLRUClientSessionCache(64)},
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     60 * time.Second,
		DisableCompression:  true,
		Proxy:               http.ProxyFromEnvironment,
	}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// endpoint is s as "https://host:port", or what is wrong with it.
func endpoint(s string) (string, string) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "":
		return "", "has one that is not https://host:port"
	case u.Scheme != "https":
		return "", "has one that is not https: a token never travels in clear"
	case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", "has one with more than a host and a port"
	}
	return "https://" + u.Host, ""
}

func rootsOf(cfg Config) (*x509.CertPool, string) {
	text, from := cfg.CAPEM, "the text given"
	switch {
	case cfg.CAFile == "" && len(text) == 0:
		return cfg.RootCAs, ""
	case cfg.RootCAs != nil, cfg.CAFile != "" && len(text) > 0:
		return nil, "is given twice: use one of a file, its text and a pool"
	case cfg.CAFile != "":
		var err error
		if text, err = os.ReadFile(cfg.CAFile); err != nil {
			return nil, "cannot be read: " + err.Error()
		}
		from = cfg.CAFile
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, "has no certificate in PEM form: " + from
	}
	return pool, ""
}

// faultsOf is one error for all faults, nil for none.
func faultsOf(faults []dsv.Fault) error {
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return dsv.Invalid(faults[0].Name, faults[0].Detail)
	}
	all := make([]string, len(faults))
	for i, f := range faults {
		all[i] = f.Name + " " + f.Detail
	}
	e := dsv.Invalid("client", "has several faults: "+strings.Join(all, "; "))
	e.Faults = faults
	return e
}
