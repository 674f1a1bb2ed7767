package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dsvault/dsv"
)

// Defaults of Config.
const (
	DefaultRequestTimeout = 4 * time.Second
	DefaultMaxInFlight    = 1024
)

const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
)

// Config of a Server. State and Log are required.
type Config struct {
	// State reports whether the node is sealed and why; it is asked on every
	// request and must not block.
	State func() (sealed bool, reason string)
	// Checks are the named checks behind /readyz; nil has none but the seal.
	Checks func(ctx context.Context) []Check
	// Metrics is what /metrics shows and where the API's own are registered;
	// nil is a registry of its own.
	Metrics *prometheus.Registry
	Log     *slog.Logger // access at debug, internal errors at error

	MaxValue       int           // bytes; 0 = dsv.MaxValue
	MaxInFlight    int           // requests at a time; 0 = DefaultMaxInFlight
	RequestTimeout time.Duration // until the vault must have answered; 0 = DefaultRequestTimeout
}

// Check is one named check of /readyz. Reason is shown to anyone who asks: it
// names no secret.
type Check struct {
	Name   string
	OK     bool
	Reason string // why not
}

// Server serves the API. It answers 503 to everything but the probes until it
// has a vault and State says that the node is not sealed.
type Server struct {
	cfg      Config
	log      *slog.Logger
	vault    atomic.Pointer[Vault]
	inFlight atomic.Int64
	metrics  *metrics
	router   chi.Router
	routes   []Route
	http     *http.Server
}

// New validates cfg; nothing listens yet.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.State == nil:
		return nil, dsv.Invalid("state", "is missing")
	case cfg.Log == nil:
		return nil, dsv.Invalid("log", "is missing")
	case cfg.MaxValue < 0 || cfg.MaxValue > dsv.MaxValue:
		return nil, dsv.Invalid("max_value", "must be 1 to 1048576 bytes")
	case cfg.MaxInFlight < 0:
		return nil, dsv.Invalid("max_in_flight", "is negative")
	case cfg.RequestTimeout < 0:
		return nil, dsv.Invalid("request_timeout", "is negative")
	}
	if cfg.MaxValue == 0 {
		cfg.MaxValue = dsv.MaxValue
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = DefaultMaxInFlight
	}
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = DefaultRequestTimeout
	}
	if cfg.Metrics == nil {
		cfg.Metrics = prometheus.NewRegistry()
	}
	s := &Server{cfg: cfg, log: cfg.Log, router: chi.NewRouter()}
	var err error
	if s.metrics, err = newMetrics(cfg.Metrics, &s.inFlight); err != nil {
		return nil, err
	}
	s.register()
	s.http = &http.Server{
		Handler:           s.router,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// SetVault hands the server the opened vault, or nil when it is closed again.
// It may be called at any time.
func (s *Server) SetVault(v Vault) {
	if v == nil {
		s.vault.Store(nil)
		return
	}
	s.vault.Store(&v)
}

// Handler is the whole API, for a server of the caller's own.
func (s *Server) Handler() http.Handler { return s.router }

// Serve answers on l until Shutdown, then returns nil. It owns l.
func (s *Server) Serve(l net.Listener, conf *tls.Config) error {
	s.http.TLSConfig = conf.Clone()
	if err := s.http.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops listening, waits for the requests in flight until ctx ends,
// then cuts them off. Idempotent.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return err
}
