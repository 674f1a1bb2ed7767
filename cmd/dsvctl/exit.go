package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// Exit codes.
const (
	exitOK          = 0
	exitUsage       = 1 // usage or local
	exitServer      = 2 // server or network
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitDegraded    = 6
	exitUnavailable = 7
)

// exitError is an exit code that needs no message.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// exitCode is the code of an error; nil is 0.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[exitError](err); ok {
		return int(e)
	}
	e, ok := errors.AsType[*dsv.Error](err)
	switch {
	case !ok:
		return exitUsage
	case e.Code == client.CodeUnreachable:
		return exitServer
	}
	switch e.Kind {
	case dsv.KindInvalid, dsv.KindTooLarge, dsv.KindUnsupportedMedia:
		return exitUsage
	case dsv.KindUnauthenticated, dsv.KindDenied:
		return exitDenied
	case dsv.KindNotFound, dsv.KindGone:
		return exitNotFound
	case dsv.KindConflict, dsv.KindPrecondition, dsv.KindUnprocessable:
		return exitConflict
	case dsv.KindUnavailable:
		return exitUnavailable
	}
	return exitServer
}

// report tells err on standard error and returns its exit code.
func (a *app) report(err error) int {
	code := exitCode(err)
	if _, quiet := errors.AsType[exitError](err); err == nil || quiet {
		return code
	}
	e, ok := errors.AsType[*dsv.Error](err)
	if !ok {
		e = &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Detail: err.Error()}
	}
	if a.set.output == "json" {
		a.reportJSON(e, code)
		return code
	}
	for _, f := range e.Faults {
		if f.Line > 0 {
			fmt.Fprintf(a.stderr, "line %d: ", f.Line)
		}
		fmt.Fprintln(a.stderr, strings.TrimSpace(f.Name+" "+f.Detail))
	}
	fmt.Fprintln(a.stderr, "dsvctl: "+e.Error())
	if h := hint(e); h != "" {
		fmt.Fprintln(a.stderr, h)
	}
	return code
}

func hint(e *dsv.Error) string {
	switch {
	case e.Operation != "" && e.Kind == dsv.KindUnknownOutcome:
		return "what became of it: dsvctl operation " + e.Operation
	case len(e.Silent) > 0:
		return fmt.Sprintf("%d of %d answered; silent: %s", e.Have, e.Need, strings.Join(e.Silent, ", "))
	case e.Kind == dsv.KindUnauthenticated:
		return "set DSV_TOKEN or DSV_TOKEN_FILE, or give --token-file"
	}
	return ""
}

func (a *app) reportJSON(e *dsv.Error, code int) {
	out := struct {
		Error     string      `json:"error"`
		Code      dsv.Code    `json:"code"`
		Exit      int         `json:"exit"`
		Field     string      `json:"field,omitempty"`
		Phase     string      `json:"phase,omitempty"`
		RequestID string      `json:"request_id,omitempty"`
		Operation string      `json:"operation,omitempty"`
		Index     int         `json:"index,omitempty"`
		Silent    []string    `json:"silent,omitempty"`
		Faults    []dsv.Fault `json:"faults,omitempty"`
	}{Error: e.Error(), Code: e.Code, Exit: code, Field: e.Field, Phase: e.Phase, Operation: e.Operation, Index: e.Index, Silent: e.Silent, Faults: e.Faults}
	if at, ok := errors.AsType[*client.Answered](e.Err); ok {
		out.RequestID = at.RequestID
	}
	b, _ := json.Marshal(out) // strings and numbers only
	fmt.Fprintln(a.stderr, string(b))
}
