package keeper

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dsvault/dsv"
)

// maxReply bounds what is read of a keeper's answer.
const maxReply = 4 << 10

// link is a node's way to one keeper: one long-lived connection, and every
// request bounded in time.
type link struct {
	target  Target
	base    string
	node    dsv.NodeID // told in a header without TLS, else ""
	timeout time.Duration
	client  *http.Client
	broken  chan struct{} // holds one token after a connection ended
}

type dialer func(ctx context.Context, addr string) (net.Conn, error)

func newLink(t Target, node dsv.NodeID, dial dialer, conf *tls.Config, timeout time.Duration) *link {
	l := &link{target: t, base: "http://" + t.Addr, node: node, timeout: timeout, broken: make(chan struct{}, 1)}
	if conf != nil {
		l.base, l.node = "https://"+t.Addr, ""
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	l.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := dial(ctx, t.Addr)
				if err != nil {
					return nil, err
				}
				return &watchedConn{Conn: conn, ended: l.end}, nil
			},
			TLSClientConfig:        conf,
			Protocols:              &http1,
			MaxConnsPerHost:        1,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return l
}

// watchedConn tells when a connection ends. Somebody always reads from it.
type watchedConn struct {
	net.Conn
	once  sync.Once
	ended func()
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.once.Do(c.ended)
	}
	return n, err
}

func (l *link) end() {
	select {
	case l.broken <- struct{}{}:
	default:
	}
}

// calm forgets that a connection ended.
func (l *link) calm() {
	select {
	case <-l.broken:
	default:
	}
}

func (l *link) close() { l.client.CloseIdleConnections() }

// get asks for the share. The caller wipes the answer.
func (l *link) get(ctx context.Context) (answer, error) {
	return l.share(ctx, http.MethodGet, 0, nil)
}

// claim reserves a generation and answers what is held; errConflict if a
// higher one is claimed or held. The caller wipes the answer.
func (l *link) claim(ctx context.Context, generation uint64, id claimID) (answer, error) {
	return l.share(ctx, http.MethodPost, generation, &id)
}

func (l *link) share(ctx context.Context, method string, generation uint64, id *claimID) (answer, error) {
	code, a, body, err := l.do(ctx, method, pathShare, generation, id, nil)
	switch {
	case err != nil:
		return answer{}, err
	case code == http.StatusNoContent && !a.held:
		return a, nil
	case code == http.StatusOK && a.held:
		a.body = body
		return a, nil
	}
	clear(body)
	return answer{}, statusError(code)
}

// put hands over a share, under a claim if there is one; stored is false if
// the keeper had it. errConflict: the keeper holds something else.
func (l *link) put(ctx context.Context, generation uint64, id *claimID, body []byte) (a answer, stored bool, err error) {
	code, a, _, err := l.do(ctx, http.MethodPut, pathShare, generation, id, body)
	switch {
	case err != nil:
		return answer{}, false, err
	case code == http.StatusCreated || code == http.StatusNoContent:
		return a, code == http.StatusCreated, nil
	}
	return answer{}, false, statusError(code)
}

// status asks how things are, without the share.
func (l *link) status(ctx context.Context) (answer, error) {
	code, a, body, err := l.do(ctx, http.MethodGet, pathStatus, 0, nil, nil)
	if err != nil {
		return answer{}, err
	}
	if code != http.StatusOK {
		return answer{}, statusError(code)
	}
	var s Status
	if json.Unmarshal(body, &s) != nil || s.Held != a.held || s.Generation != a.generation {
		return answer{}, errNoKeeper
	}
	return a, nil
}

var errNoKeeper = errors.New("what answers there is no keeper")

// do sends one request and reads the whole answer, all within the timeout.
func (l *link) do(ctx context.Context, method, path string, generation uint64, id *claimID, body []byte) (int, answer, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, l.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, answer{}, nil, err
	}
	if generation > 0 {
		req.Header.Set(headGeneration, strconv.FormatUint(generation, 10))
	}
	if id != nil {
		req.Header.Set(headClaim, id.String())
	}
	if l.node != "" {
		req.Header.Set(headNode, string(l.node))
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, answer{}, nil, l.plain(ctx, err)
	}
	defer resp.Body.Close()
	reply := make([]byte, 0, maxReply+1)
	buf := bytes.NewBuffer(reply)
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, maxReply+1-bytes.MinRead)); err != nil {
		clear(buf.Bytes())
		return 0, answer{}, nil, l.plain(ctx, err)
	}
	a, ok := answerOf(resp.Header)
	if !ok {
		clear(buf.Bytes())
		return 0, answer{}, nil, errNoKeeper
	}
	return resp.StatusCode, a, buf.Bytes(), nil
}

// plain makes an error of the network fit for a person: no URL, no nesting,
// and a deadline told as one.
func (l *link) plain(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", l.timeout)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return errors.New(clip(err.Error()))
}

// clip bounds what is repeated of another's words to one printable line.
func clip(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func statusError(code int) error {
	switch code {
	case http.StatusConflict:
		return errConflict
	case http.StatusForbidden:
		return errors.New("it does not take this node's identity")
	case http.StatusInsufficientStorage:
		return errors.New("it has no room for another node")
	}
	return fmt.Errorf("it answers with status %d", code)
}
