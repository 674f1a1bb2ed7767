package keeper

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/dsvault/dsv"
)

// Limits of a keeper.
const (
	DefaultMaxNodes = 1024

	headerTimeout = 5 * time.Second // TLS handshake, and the headers of a request
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	closeTimeout  = 2 * time.Second
)

// ServerConfig is what a keeper process needs: nothing about nodes or other
// keepers.
type ServerConfig struct {
	Listener net.Listener // the Server closes it
	TLS      *tls.Config  // must demand and verify a client certificate
	// Caller names the node that a verified connection belongs to.
	Caller func(*tls.ConnectionState) (dsv.NodeID, error)
	Logger *slog.Logger // nil: silent

	MaxNodes int // nodes it holds a share for; 0 = DefaultMaxNodes

	// Insecure allows a nil TLS: any caller then is the node it says it is.
	// For simulations only.
	Insecure bool
	// InsecurePersistDir makes the keeper write shares to a folder and read
	// them at start. That undoes what a keeper is for: who copies that folder
	// from a threshold of keepers has the root keys. For `dsvnode dev` alone,
	// in a folder `insecure-dev-keepers`; every start logs a warning.
	InsecurePersistDir string
}

func (c ServerConfig) validate() error {
	var faults []dsv.Fault
	bad := func(name, detail string) {
		faults = append(faults, dsv.Fault{Name: name, Code: dsv.CodeInvalid, Detail: detail})
	}
	if c.Listener == nil {
		bad("listener", "is missing")
	}
	switch {
	case c.TLS == nil && !c.Insecure:
		bad("tls", "is missing")
	case c.TLS != nil && c.Insecure:
		bad("insecure", "is set beside tls")
	case c.TLS != nil && c.TLS.ClientAuth < tls.RequireAnyClientCert:
		bad("tls", "does not demand a client certificate")
	case c.TLS != nil && c.Caller == nil:
		bad("caller", "is missing")
	}
	if c.MaxNodes < 0 {
		bad("max nodes", "is negative")
	}
	return configError("keeper server", faults)
}

// Server is a keeper: it holds one share of a root key for each node, in
// memory only, and gives it back to that node alone. The zero Server refuses.
type Server struct {
	cfg         ServerConfig
	log         *slog.Logger
	shelf       *shelf
	http        *http.Server
	incarnation dsv.Incarnation
	started     time.Time
	closing     atomic.Bool
	closed      chan struct{} // closed when Close is done
	closeErr    error         // set before that
}

// NewServer checks all of cfg and reports every fault at once.
func NewServer(cfg ServerConfig) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.MaxNodes == 0 {
		cfg.MaxNodes = DefaultMaxNodes
	}
	s := &Server{
		cfg: cfg, log: logger(cfg.Logger), shelf: newShelf(cfg.MaxNodes), closed: make(chan struct{}),
		incarnation: dsv.NewIncarnation(), started: time.Now(),
	}
	if cfg.InsecurePersistDir != "" {
		if err := s.shelf.persistTo(cfg.InsecurePersistDir); err != nil {
			s.shelf.close()
			return nil, err
		}
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	s.http = &http.Server{
		Handler:           s.routes(),
		TLSConfig:         cfg.TLS,
		Protocols:         &http1,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      bodyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Run serves until ctx ends or Close is called, then forgets every share.
func (s *Server) Run(ctx context.Context) error {
	if s.http == nil {
		return errClosed
	}
	if s.cfg.InsecurePersistDir != "" {
		s.log.Warn("INSECURE: this keeper writes root key shares to a folder; never use it outside `dsvnode dev`", "dir", s.cfg.InsecurePersistDir)
	}
	if !s.shelf.locked() {
		s.log.Warn("the memory of the shares is not locked and may be swapped out; raise RLIMIT_MEMLOCK")
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	var err error
	if s.cfg.TLS != nil {
		err = s.http.ServeTLS(s.cfg.Listener, "", "")
	} else {
		err = s.http.Serve(s.cfg.Listener)
	}
	closeErr := s.Close()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("keeper: serve: %w", err)
	}
	return closeErr
}

// Close ends Run, waits for requests under way for up to two seconds and wipes
// the memory. It may be called more than once.
func (s *Server) Close() error {
	if s.http == nil {
		return nil
	}
	if s.closing.CompareAndSwap(false, true) {
		s.closeErr = s.shutdown()
		close(s.closed)
	}
	<-s.closed
	return s.closeErr
}

func (s *Server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	s.shelf.close() // a request still under way finds it closed
	return err
}

// Locked reports whether the shares cannot be swapped out.
func (s *Server) Locked() bool { return s.shelf != nil && s.shelf.locked() }

// Incarnation names this life of the process.
func (s *Server) Incarnation() dsv.Incarnation { return s.incarnation }

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

func configError(op string, faults []dsv.Fault) error {
	if len(faults) == 0 {
		return nil
	}
	e := dsv.Invalid(faults[0].Name, faults[0].Detail)
	for _, f := range faults[1:] {
		e.Detail += "; " + f.Name + " " + f.Detail
	}
	e.Op, e.Faults = op, faults
	return e
}
