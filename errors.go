package dsv

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// Kind classes an error. Server and client share the one table to HTTP status.
type Kind uint8

// The kinds. The zero kind is an internal error.
const (
	KindInternal Kind = iota
	KindInvalid
	KindUnauthenticated
	KindDenied
	KindNotFound
	KindMethodNotAllowed
	KindConflict
	KindGone
	KindPrecondition
	KindTooLarge
	KindUnsupportedMedia
	KindUnprocessable
	KindTooMany
	KindUnavailable
	KindUnknownOutcome
	KindDiskFull
)

var kindStatus = [...]int{
	KindInternal:         http.StatusInternalServerError,
	KindInvalid:          http.StatusBadRequest,
	KindUnauthenticated:  http.StatusUnauthorized,
	KindDenied:           http.StatusForbidden,
	KindNotFound:         http.StatusNotFound,
	KindMethodNotAllowed: http.StatusMethodNotAllowed,
	KindConflict:         http.StatusConflict,
	KindGone:             http.StatusGone,
	KindPrecondition:     http.StatusPreconditionFailed,
	KindTooLarge:         http.StatusRequestEntityTooLarge,
	KindUnsupportedMedia: http.StatusUnsupportedMediaType,
	KindUnprocessable:    http.StatusUnprocessableEntity,
	KindTooMany:          http.StatusTooManyRequests,
	KindUnavailable:      http.StatusServiceUnavailable,
	KindUnknownOutcome:   http.StatusGatewayTimeout,
	KindDiskFull:         http.StatusInsufficientStorage,
}

// Status is the HTTP status of the kind.
func (k Kind) Status() int {
	if int(k) < len(kindStatus) {
		return kindStatus[k]
	}
	return http.StatusInternalServerError
}

// KindOfStatus is the inverse of Status; an unknown status is KindInternal.
func KindOfStatus(status int) Kind {
	for k, s := range kindStatus {
		if s == status {
			return Kind(k)
		}
	}
	return KindInternal
}

// Code is the stable word of an error, `code` in a problem document.
type Code string

// The codes.
const (
	CodeInternal         Code = "internal"
	CodeInvalid          Code = "invalid"
	CodeUnauthenticated  Code = "unauthenticated"
	CodeDenied           Code = "denied"
	CodeNotFound         Code = "not_found"
	CodeMethodNotAllowed Code = "method_not_allowed"
	CodeExists           Code = "exists"    // 409: create or undelete of a live secret
	CodeDestroyed        Code = "destroyed" // 410
	CodeForgotten        Code = "forgotten" // 410: an operation older than 24 h of log time
	CodeVersionMismatch  Code = "version_mismatch"
	CodeTooLarge         Code = "too_large"
	CodeUnsupportedMedia Code = "unsupported_media_type"
	CodeIdempotencyReuse Code = "idempotency_key_reused" // 422
	CodeUnprocessable    Code = "unprocessable"
	CodeTooMany          Code = "too_many_requests"
	CodeNotEnoughShards  Code = "not_enough_shards"
	CodeLogUnavailable   Code = "log_unavailable"
	CodeLogDiverged      Code = "log_diverged"
	CodeWriteQuorum      Code = "write_quorum"
	CodeSealed           Code = "sealed"
	CodeNotReady         Code = "not_ready"
	CodeOutcomeUnknown   Code = "outcome_unknown"
	CodeDiskFull         Code = "disk_full"
)

// Phases of a failed write (`phase` in a problem document).
const (
	PhaseOrdering = "ordering" // no intent took effect
	PhaseWriting  = "writing"  // an intent was published and is rolled back
)

// Error is the one error type. Only Kind and Code decide anything; the other
// fields tell a person. It never holds a value, a key or a token.
type Error struct {
	Kind       Kind
	Code       Code
	Op         string        // what was being done: "create", "log.append"
	Path       string        // namespace:key, or ""
	Field      string        // the offending field of bad input
	Detail     string        // a sentence, without the field
	Phase      string        // PhaseOrdering, PhaseWriting or ""
	RetryAfter time.Duration // > 0 where a retry can help
	Operation  string        // TxID.String() where an outcome can be asked for
	Index      int           // 1-based operation of a batch, 0 = none
	Have, Need int           // shards or acknowledgements
	Silent     []string      // holders that did not answer
	Faults     []Fault       // every fault of a text with many lines
	Err        error         // cause, may be nil; never shown to a client
}

// Fault is one of several faults of one request.
type Fault struct {
	Line   int    `json:"line,omitempty"`
	Name   string `json:"name,omitempty"`
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

func (e *Error) Error() string {
	var b strings.Builder
	add := func(s string) {
		if s != "" {
			if b.Len() > 0 {
				b.WriteString(": ")
			}
			b.WriteString(s)
		}
	}
	add(e.Op)
	add(e.Path)
	switch {
	case e.Field != "":
		add(strings.TrimSpace(e.Field + " " + e.Detail))
	case e.Detail != "":
		add(e.Detail)
	default:
		add(string(e.Code))
	}
	if e.Err != nil {
		add(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Is reports equality of kind and code, so that errors.Is works on templates.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && (t.Code == "" || t.Code == e.Code)
}

// Invalid is bad input: field names it, detail says what to do.
func Invalid(field, detail string) *Error {
	return &Error{Kind: KindInvalid, Code: CodeInvalid, Field: field, Detail: detail}
}

// E makes an error of a kind and code with a sentence.
func E(kind Kind, code Code, detail string) *Error {
	return &Error{Kind: kind, Code: code, Detail: detail}
}

// AsError returns err as *Error; anything else becomes an internal error that
// wraps it. AsError(nil) is nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: KindInternal, Code: CodeInternal, Err: err}
}

// CodeOf is AsError(err).Code, "" for nil.
func CodeOf(err error) Code {
	if e := AsError(err); e != nil {
		return e.Code
	}
	return ""
}

// KindOf is AsError(err).Kind; ask it only of a non-nil error.
func KindOf(err error) Kind {
	if e := AsError(err); e != nil {
		return e.Kind
	}
	return KindInternal
}
