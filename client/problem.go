package client

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/dsvault/dsv"
)

// CodeUnreachable is the code of an error that no node answered.
const CodeUnreachable dsv.Code = "unreachable"

// ProblemType is the media type of an error.
const ProblemType = "application/problem+json"

// Problem is an error on the wire (RFC 9457).
type Problem struct {
	Type       string      `json:"type"`
	Title      string      `json:"title"`
	Status     int         `json:"status"`
	Code       dsv.Code    `json:"code"`
	Detail     string      `json:"detail"`
	Field      string      `json:"field,omitempty"`
	RequestID  string      `json:"request_id"`
	Phase      string      `json:"phase,omitempty"`
	RetryAfter float64     `json:"retry_after,omitempty"` // seconds
	Operation  string      `json:"operation,omitempty"`
	Index      int         `json:"index,omitempty"` // 1-based operation of a batch
	Have       *int        `json:"have,omitempty"`
	Need       int         `json:"need,omitempty"`
	Silent     []string    `json:"silent,omitempty"`
	Faults     []dsv.Fault `json:"faults,omitempty"`
}

// errorOf is the error that an answer of a status outside 2xx stands for. An
// answer that is no problem document (a proxy's) keeps its status alone.
func errorOf(status int, header http.Header, body []byte) *dsv.Error {
	e := &dsv.Error{Kind: dsv.KindOfStatus(status)}
	var p Problem
	isProblem := strings.HasPrefix(header.Get("Content-Type"), ProblemType)
	if isProblem && len(body) == 0 { // an answer to HEAD
		e.Code, e.Detail = dsv.Code(header.Get("DSV-Code")), http.StatusText(status)
		return e
	}
	if !isProblem || json.Unmarshal(body, &p) != nil || p.Code == "" {
		e.Code = codeOfStatus(status)
		e.Detail = http.StatusText(status)
		return e
	}
	e.Code, e.Detail, e.Field, e.Phase, e.Operation = p.Code, p.Detail, p.Field, p.Phase, p.Operation
	e.Index, e.Need, e.Silent, e.Faults = p.Index, p.Need, p.Silent, p.Faults
	e.RetryAfter = time.Duration(p.RetryAfter * float64(time.Second))
	if p.Have != nil {
		e.Have = *p.Have
	}
	return e
}

// codeOfStatus is the plain word for a status that came without one.
func codeOfStatus(status int) dsv.Code {
	switch dsv.KindOfStatus(status) {
	case dsv.KindInvalid:
		return dsv.CodeInvalid
	case dsv.KindUnauthenticated:
		return dsv.CodeUnauthenticated
	case dsv.KindDenied:
		return dsv.CodeDenied
	case dsv.KindNotFound:
		return dsv.CodeNotFound
	case dsv.KindMethodNotAllowed:
		return dsv.CodeMethodNotAllowed
	case dsv.KindTooLarge:
		return dsv.CodeTooLarge
	case dsv.KindUnsupportedMedia:
		return dsv.CodeUnsupportedMedia
	case dsv.KindTooMany:
		return dsv.CodeTooMany
	case dsv.KindUnavailable:
		return dsv.CodeNotReady
	case dsv.KindUnknownOutcome:
		return dsv.CodeOutcomeUnknown
	}
	return dsv.CodeInternal
}
