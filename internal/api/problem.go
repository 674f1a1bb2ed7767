package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// The texts of refusals: the same whatever the caller sent and whatever exists.
const (
	noIdentity = "no usable identity: send \"Authorization: Bearer TOKEN\" with a token that is valid now"
	notAllowed = "the caller may not do this here"
	internal   = "an internal error; the node's log has it under the request id"
)

var (
	errNoIdentity = dsv.E(dsv.KindUnauthenticated, dsv.CodeUnauthenticated, noIdentity)
	errNotAllowed = dsv.E(dsv.KindDenied, dsv.CodeDenied, notAllowed)
)

// titles by code; any other code has its status text.
var titles = map[dsv.Code]string{
	dsv.CodeInvalid:          "The request is not well-formed",
	dsv.CodeUnauthenticated:  "No usable identity",
	dsv.CodeDenied:           "Not allowed",
	dsv.CodeNotFound:         "Not found",
	dsv.CodeExists:           "Exists already",
	dsv.CodeDestroyed:        "Destroyed for good",
	dsv.CodeForgotten:        "No longer known",
	dsv.CodeVersionMismatch:  "The version moved on",
	dsv.CodeTooLarge:         "Too large",
	dsv.CodeIdempotencyReuse: "The idempotency key belongs to another request",
	dsv.CodeNotEnoughShards:  "Not enough holders answer",
	dsv.CodeLogUnavailable:   "The log is not available",
	dsv.CodeLogDiverged:      "The log does not fit this node's copy",
	dsv.CodeWriteQuorum:      "Too few holders took the write",
	dsv.CodeSealed:           "The node is sealed",
	dsv.CodeNotReady:         "The node is not ready",
	dsv.CodeOutcomeUnknown:   "The outcome is not known yet",
	dsv.CodeDiskFull:         "The disk is full",
}

// shown is err as the caller gets it: refusals in their one text, internal
// errors without their cause, an expired deadline as what it means.
func shown(err error, write bool) *dsv.Error {
	e := dsv.AsError(err)
	switch {
	case e.Kind == dsv.KindUnauthenticated:
		return errNoIdentity
	case e.Kind == dsv.KindDenied && e.Index == 0:
		return errNotAllowed
	case e.Kind == dsv.KindDenied:
		return &dsv.Error{Kind: e.Kind, Code: e.Code, Detail: notAllowed, Index: e.Index}
	case e.Kind == dsv.KindInternal && errors.Is(err, context.DeadlineExceeded):
		if write {
			return dsv.E(dsv.KindUnknownOutcome, dsv.CodeOutcomeUnknown, "no decision in time: ask again with the same idempotency key")
		}
		return &dsv.Error{Kind: dsv.KindUnavailable, Code: dsv.CodeNotReady, Detail: "no answer in time", RetryAfter: time.Second}
	case e.Kind == dsv.KindInternal:
		return dsv.E(dsv.KindInternal, dsv.CodeInternal, internal)
	}
	return e
}

// writeProblem answers with e.
func writeProblem(w http.ResponseWriter, id string, e *dsv.Error) {
	status := e.Kind.Status()
	h := w.Header()
	h["Content-Type"] = problemType
	h["Cache-Control"] = noStore
	h["X-Request-Id"] = []string{id}
	h["Dsv-Code"] = []string{string(e.Code)} // an answer to HEAD has no body
	if e.Kind == dsv.KindUnauthenticated {
		h["Www-Authenticate"] = bearer
	}
	if e.RetryAfter > 0 {
		h["Retry-After"] = []string{strconv.Itoa(max(1, int(math.Ceil(e.RetryAfter.Seconds()))))}
	}
	if e.Operation != "" {
		h["Dsv-Operation"] = []string{e.Operation}
	}
	b := appendProblem(make([]byte, 0, 512), status, id, e)
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	w.WriteHeader(status)
	_, _ = w.Write(b) // a broken connection has nobody to tell
}

var (
	problemType = []string{client.ProblemType}
	jsonType    = []string{"application/json"}
	bytesType   = []string{"application/octet-stream"}
	textType    = []string{"text/plain; charset=utf-8"}
	noStore     = []string{"no-store"}
	bearer      = []string{`Bearer realm="dsv"`}
)

func appendProblem(b []byte, status int, id string, e *dsv.Error) []byte {
	title := titles[e.Code]
	if title == "" {
		title = http.StatusText(status)
	}
	str := func(name, value string) {
		if value != "" {
			b = appendString(append(append(append(b, ',', '"'), name...), '"', ':'), value)
		}
	}
	num := func(name string, value int) {
		b = strconv.AppendInt(append(append(append(b, ',', '"'), name...), '"', ':'), int64(value), 10)
	}
	b = appendString(append(b, `{"type":`...), "urn:dsv:problem:"+string(e.Code))
	str("title", title)
	num("status", status)
	str("code", string(e.Code))
	str("detail", detailOf(e))
	str("field", e.Field)
	str("request_id", id)
	str("phase", e.Phase)
	if e.RetryAfter > 0 {
		b = strconv.AppendFloat(append(b, `,"retry_after":`...), e.RetryAfter.Seconds(), 'f', -1, 64)
	}
	str("operation", e.Operation)
	if e.Index > 0 {
		num("index", e.Index)
	}
	if e.Need > 0 {
		num("have", e.Have)
		num("need", e.Need)
	}
	if len(e.Silent) > 0 {
		b = append(b, `,"silent":`...)
		b = appendStrings(b, e.Silent)
	}
	b = appendFaults(b, e.Faults)
	return append(b, '}')
}

// detailOf is the sentence for a person, with the field in front.
func detailOf(e *dsv.Error) string {
	switch {
	case e.Detail == "":
		return string(e.Code)
	case e.Field != "":
		return e.Field + " " + e.Detail
	}
	return e.Detail
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

func appendFaults(b []byte, faults []dsv.Fault) []byte {
	for i, f := range faults {
		if i == 0 {
			b = append(b, `,"faults":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"code":`...), string(f.Code))
		b = appendString(append(b, `,"detail":`...), f.Detail)
		if f.Line > 0 {
			b = strconv.AppendInt(append(b, `,"line":`...), int64(f.Line), 10)
		}
		if f.Name != "" {
			b = appendString(append(b, `,"name":`...), f.Name)
		}
		b = append(b, '}')
	}
	if len(faults) > 0 {
		b = append(b, ']')
	}
	return b
}
