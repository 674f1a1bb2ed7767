package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dsvault/dsv"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// call is one request, before it is known which node takes it.
type call struct {
	op     string // "create": for errors
	name   string // namespace:key or another name: for errors
	method string
	url    string // path and query
	header http.Header
	body   []byte
	// again reports that trying anew is harmless even where the first try
	// may have had its effect.
	again bool
}

// answer is a 2xx answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// Answered is the cause inside an error that a node answered with.
type Answered struct {
	Endpoint  string
	Status    int
	RequestID string
	problem   bool
}

func (a *Answered) Error() string {
	return "HTTP " + strconv.Itoa(a.Status) + ", request " + a.RequestID
}

// do sends c to the current endpoint and, where that is harmless, to the
// others, each once.
func (c *Client) do(ctx context.Context, q *call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if c.auth != nil {
		q.header["Authorization"] = c.auth
	}
	q.header["User-Agent"] = c.agent
	first := c.current.Load()
	var last *dsv.Error
	for i := range len(c.endpoints) {
		at := (first + uint32(i)) % uint32(len(c.endpoints))
		a, err := c.try(ctx, c.endpoints[at], q)
		if err == nil {
			if i > 0 {
				c.current.Store(at)
			}
			return a, nil
		}
		last = worse(last, err)
		if ctx.Err() != nil || !harmless(q, err) {
			return nil, err
		}
	}
	return nil, last
}

// worse is the error to tell of two nodes: one that answered says more than
// one that could not be reached, the later more than the earlier.
func worse(a, b *dsv.Error) *dsv.Error {
	if a != nil && a.Code != CodeUnreachable && b.Code == CodeUnreachable {
		return a
	}
	return b
}

// harmless reports whether q may go to another node after err.
func harmless(q *call, err *dsv.Error) bool {
	if err.Code == CodeUnreachable {
		return q.again || err.Kind == dsv.KindUnavailable
	}
	var a *Answered
	if !errors.As(err, &a) {
		return false
	}
	if err.Kind != dsv.KindUnavailable && err.Kind != dsv.KindTooMany {
		return false
	}
	return a.problem || q.again // a proxy's 503 promises nothing
}

// try sends q to one node.
func (c *Client) try(ctx context.Context, endpoint string, q *call) (*answer, *dsv.Error) {
	ctx, cancel := context.WithTimeout(ctx, c.attempt)
	defer cancel()
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent = true },
	})
	src := &source{b: q.body}
	defer src.stop()
	req, err := http.NewRequestWithContext(ctx, q.method, endpoint+q.url, nil)
	if err != nil {
		return nil, dsv.Invalid("endpoint", "makes no URL")
	}
	if len(q.body) > 0 {
		req.Body, req.ContentLength = &sourceReader{src: src}, int64(len(q.body))
		if q.again { // lets the transport itself replace a kept connection that had died
			req.GetBody = func() (io.ReadCloser, error) { return &sourceReader{src: src}, nil }
		}
	}
	req.Header = q.header
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(q, endpoint, sent, err)
	}
	defer resp.Body.Close()
	b, err := readAll(resp)
	if err != nil {
		return nil, unreachable(q, endpoint, true, err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, refused(q, endpoint, resp, b)
	}
	return &answer{resp.StatusCode, resp.Header, b}, nil
}

func refused(q *call, endpoint string, resp *http.Response, body []byte) *dsv.Error {
	e := errorOf(resp.StatusCode, resp.Header, body)
	e.Op, e.Path = q.op, q.name
	e.Err = &Answered{
		Endpoint:  endpoint,
		Status:    resp.StatusCode,
		RequestID: resp.Header.Get("X-Request-Id"),
		problem:   strings.HasPrefix(resp.Header.Get("Content-Type"), ProblemType),
	}
	return e
}

// unreachable is the error of a node that gave no whole answer. Unless it was
// sent nothing, the outcome of a write is not known.
func unreachable(q *call, endpoint string, sent bool, cause error) *dsv.Error {
	e := dsv.E(dsv.KindUnavailable, CodeUnreachable, "no connection to "+endpoint)
	if sent {
		e = dsv.E(dsv.KindUnknownOutcome, CodeUnreachable, "no answer from "+endpoint)
	}
	e.Op, e.Path, e.Err = q.op, q.name, cause
	return e
}

func readAll(resp *http.Response) ([]byte, error) {
	if resp.Request.Method == http.MethodHead {
		return nil, nil
	}
	if n := resp.ContentLength; n >= 0 && n <= maxAnswer {
		b := make([]byte, n)
		_, err := io.ReadFull(resp.Body, b)
		return b, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(b) > maxAnswer {
		err = errors.New("client: answer larger than 64 MiB")
	}
	return b, err
}

// source is a body that stops being read for good at stop: the transport may
// hold on to a body after it has answered, and its owner wipes it then.
type source struct {
	mu sync.Mutex
	b  []byte
}

func (s *source) stop() {
	s.mu.Lock()
	s.b = nil
	s.mu.Unlock()
}

type sourceReader struct {
	src *source
	i   int
}

func (r *sourceReader) Read(p []byte) (int, error) {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	if r.i >= len(r.src.b) {
		return 0, io.EOF
	}
	n := copy(p, r.src.b[r.i:])
	r.i += n
	return n, nil
}

func (r *sourceReader) Close() error { return nil }

// decode reads a 2xx answer into v.
func (a *answer) decode(q *call, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return &dsv.Error{Kind: dsv.KindInternal, Code: dsv.CodeInternal, Op: q.op, Path: q.name, Detail: "the answer is not what the API says", Err: err}
	}
	return nil
}

func (a *answer) position() dsv.Position {
	p, err := dsv.ParsePosition(a.header.Get("DSV-Position"))
	if err != nil {
		return dsv.Position{Offset: -1}
	}
	return p
}

func (a *answer) lag() time.Duration {
	ms, err := strconv.ParseInt(a.header.Get("DSV-Lag"), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
