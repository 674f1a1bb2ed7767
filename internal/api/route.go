package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// Guard is who may call a route.
type Guard uint8

// The guards. The zero Guard lets nobody in.
const (
	Closed    Guard = iota
	Public          // anyone, also on a sealed node: probes, metrics, the document
	Known           // any caller with an identity; the vault judges the rest
	Admin           // callers with the verb admin
	Namespace       // callers with one of the verbs in the namespace of the path
	Secret          // callers with all of the verbs on the secret of the path
)

// Route is one line of the table of routes.
type Route struct {
	Method  string
	Pattern string
	Guard   Guard
	Verbs   auth.Verb // what Namespace (any of them) and Secret (all) ask for
	Write   bool      // changes something

	verbs  func(*call) auth.Verb // instead of Verbs where the request says which
	handle func(*call) error
}

// call is one request on its way through.
type call struct {
	s       *Server
	route   *Route
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context
	cancel  context.CancelFunc
	id      string
	vault   Vault
	session *coordinator.Session
	path    dsv.Path // Key is zero with the guard Namespace
	status  int
}

// register builds the router from the table. It is the only place that hands
// chi a handler.
func (s *Server) register() {
	s.routes = s.table()
	for i := range s.routes {
		rt := &s.routes[i]
		s.router.Method(rt.Method, rt.Pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(rt, w, r) }))
	}
	s.router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, requestID(r), dsv.E(dsv.KindNotFound, dsv.CodeNotFound, "no such route: a namespace is one element of the path, with / written %2F"))
	})
	s.router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Allow"] = []string{s.allowed(r)}
		writeProblem(w, requestID(r), dsv.E(dsv.KindMethodNotAllowed, dsv.CodeMethodNotAllowed, "the route has other methods: see Allow"))
	})
}

// Routes is a copy of the table of routes.
func (s *Server) Routes() []Route { return append([]Route(nil), s.routes...) }

// allowed lists the methods of the path of r.
func (s *Server) allowed(r *http.Request) string {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	var list []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if s.router.Match(chi.NewRouteContext(), m, path) {
			list = append(list, m)
		}
	}
	return strings.Join(list, ", ")
}

// serve answers one request of the route rt.
func (s *Server) serve(rt *Route, w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	c := &call{s: s, route: rt, w: w, r: r, id: requestID(r)}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("handler panicked", "request_id", c.id, "route", rt.Pattern, "stack", string(debug.Stack()))
			c.fail(dsv.E(dsv.KindInternal, dsv.CodeInternal, ""))
		}
		took := time.Since(start)
		s.metrics.observe(rt, c.status, took)
		if s.log.Enabled(r.Context(), levelAccess) {
			s.log.Debug("request", "request_id", c.id, "method", rt.Method, "route", rt.Pattern, "status", c.status, "took", took)
		}
	}()
	if err := c.run(); err != nil {
		c.fail(err)
	}
}

// run takes the request through its guards to its handler.
func (c *call) run() error {
	if c.route.Guard == Public {
		c.ctx = c.r.Context()
		return c.route.handle(c)
	}
	s := c.s
	defer s.inFlight.Add(-1)
	if s.inFlight.Add(1) > int64(s.cfg.MaxInFlight) {
		s.metrics.refused.WithLabelValues("in_flight").Inc()
		return &dsv.Error{Kind: dsv.KindTooMany, Code: dsv.CodeTooMany, Detail: "too many requests in flight on this node", RetryAfter: time.Second}
	}
	if err := c.open(); err != nil {
		s.metrics.refused.WithLabelValues("sealed").Inc()
		return err
	}
	c.restart()
	defer func() { c.cancel() }()
	if err := c.authenticate(); err != nil {
		s.metrics.refused.WithLabelValues("unauthenticated").Inc()
		return err
	}
	if err := c.names(); err != nil {
		return err
	}
	if err := c.allow(); err != nil {
		s.metrics.refused.WithLabelValues("denied").Inc()
		return err
	}
	return c.route.handle(c)
}

// restart gives the request its whole time (again).
func (c *call) restart() {
	if c.cancel != nil {
		c.cancel()
	}
	c.ctx, c.cancel = context.WithTimeout(c.r.Context(), c.s.cfg.RequestTimeout)
}

// open refuses while there is no vault to ask.
func (c *call) open() error {
	if sealed, reason := c.s.cfg.State(); sealed {
		return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeSealed, Detail: "the node is sealed: " + reason, RetryAfter: time.Second}
	}
	v := c.s.vault.Load()
	if v == nil {
		return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, Detail: "the node is starting", RetryAfter: time.Second}
	}
	c.vault = *v
	return nil
}

func (c *call) authenticate() error {
	v := c.r.Header["Authorization"]
	if len(v) != 1 {
		return errNoIdentity
	}
	scheme, token, ok := strings.Cut(v[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return errNoIdentity
	}
	var err error
	c.session, err = c.vault.Authenticate(c.ctx, dsv.SecretOf([]byte(token)))
	if err == nil && c.session == nil {
		err = errNoIdentity
	}
	return err
}

// names parses the names in the path.
func (c *call) names() error {
	if c.route.Guard != Namespace && c.route.Guard != Secret {
		return nil
	}
	text, err := c.param("ns")
	if err != nil {
		return err
	}
	given, err := c.header("X-Dsv-Namespace")
	if err != nil {
		return err
	}
	switch {
	case given == "" && text == "-":
		return dsv.Invalid("namespace", `"-" stands for the header X-DSV-Namespace, which is missing`)
	case given != "" && text != "-" && given != text:
		return dsv.Invalid("namespace", "differs between the path and X-DSV-Namespace")
	case given != "":
		text = given
	}
	if c.path.NS, err = dsv.ParseNamespace(text); err != nil {
		return err
	}
	if c.route.Guard == Namespace {
		return nil
	}
	key, err := c.param("key")
	if err != nil {
		return err
	}
	c.path.Key, err = dsv.ParseKey(key)
	return err
}

// param is an element of the path, decoded once: chi matches the escaped path
// where the request has one, else the decoded.
func (c *call) param(name string) (string, error) {
	s := chi.URLParam(c.r, name)
	if c.r.URL.RawPath == "" {
		return s, nil
	}
	s, err := url.PathUnescape(s)
	if err != nil {
		return "", dsv.Invalid(name, "is not percent-encoded right")
	}
	return s, nil
}

// allow asks the caller's rights. It looks at nothing but the request's path,
// query and headers.
func (c *call) allow() error {
	caller := c.session.Caller
	verbs := c.route.Verbs
	if c.route.verbs != nil {
		verbs = c.route.verbs(c)
	}
	switch c.route.Guard {
	case Known:
		return nil
	case Admin:
		return caller.AllowAdmin()
	case Secret:
		return caller.Allow(verbs, c.path.NS, c.path.Key)
	case Namespace:
		for v := auth.Verb(1); v <= auth.AllVerbs; v <<= 1 {
			if verbs&v != 0 && caller.AllowNamespace(v, c.path.NS) == nil {
				return nil
			}
		}
	}
	return errNotAllowed
}

// fail answers with err.
func (c *call) fail(err error) {
	e := shown(err, c.route.Write)
	if e.Kind == dsv.KindInternal {
		c.s.log.Error("request failed", "request_id", c.id, "method", c.route.Method, "route", c.route.Pattern, "error", err)
	}
	if c.status != 0 {
		return // the answer has begun
	}
	c.status = e.Kind.Status()
	writeProblem(c.w, c.id, e)
}

func newRequestID() string {
	var b [10]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
