package peer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dsvault/dsv"
)

type frameType byte

const (
	frameHello    frameType = 1
	framePing     frameType = 2
	framePong     frameType = 3
	frameRequest  frameType = 4
	frameResponse frameType = 5
	frameError    frameType = 6
)

const (
	lengthSize    = 4
	frameOverhead = 9 // type and id, counted by the length
	requestHead   = 5 // kind and time left
	maxHello      = 512
	helloMagic    = "DSVP"
	helloVersion  = 1
)

// errFrame is the cause of a connection ended for a malformed frame.
var errFrame = errors.New("peer: malformed frame")

type header struct {
	typ  frameType
	id   uint64
	size int // of the payload
}

// readHeader reads the fixed part of a frame of at most max bytes (length
// field not counted).
func readHeader(r io.Reader, scratch *[lengthSize + frameOverhead]byte, max int) (header, error) {
	b := scratch[:]
	if _, err := io.ReadFull(r, b); err != nil {
		return header{}, err
	}
	n := binary.BigEndian.Uint32(b)
	if n < frameOverhead || uint64(n) > uint64(max) {
		return header{}, fmt.Errorf("%w: length %d, allowed are %d to %d", errFrame, n, frameOverhead, max)
	}
	h := header{typ: frameType(b[4]), id: binary.BigEndian.Uint64(b[5:]), size: int(n) - frameOverhead}
	return h, h.check()
}

func (h header) check() error {
	ok := false
	switch h.typ {
	case frameHello:
		ok = h.id == 0
	case framePing, framePong:
		ok = h.size == 0
	case frameRequest:
		ok = h.size >= requestHead
	case frameResponse, frameError:
		ok = true
	}
	if !ok {
		return fmt.Errorf("%w: type %d, id %d, %d bytes", errFrame, h.typ, h.id, h.size)
	}
	return nil
}

func appendHeader(b []byte, typ frameType, id uint64, size int) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(frameOverhead+size))
	b = append(b, byte(typ))
	return binary.BigEndian.AppendUint64(b, id)
}

func appendRequest(b []byte, id uint64, kind byte, left time.Duration, body []byte) []byte {
	b = appendHeader(b, frameRequest, id, requestHead+len(body))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, timeLeft(left))
	return append(b, body...)
}

// timeLeft rounds up to a millisecond; 0 is no limit.
func timeLeft(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((d-1)/time.Millisecond+1, 1<<32-1))
}

// splitRequest takes apart a request's payload of at least requestHead bytes.
func splitRequest(p []byte) (kind byte, left time.Duration, body []byte) {
	return p[0], time.Duration(binary.BigEndian.Uint32(p[1:])) * time.Millisecond, p[requestHead:]
}

type hello struct {
	nonce [16]byte
	dial  uint64
	node  dsv.NodeID
}

func (h hello) append(b []byte) []byte {
	b = appendHeader(b, frameHello, 0, len(helloMagic)+1+len(h.nonce)+8+len(h.node))
	b = append(b, helloMagic...)
	b = append(b, helloVersion)
	b = append(b, h.nonce[:]...)
	b = binary.BigEndian.AppendUint64(b, h.dial)
	return append(b, h.node...)
}

func parseHello(p []byte) (h hello, err error) {
	const fixed = len(helloMagic) + 1 + len(h.nonce) + 8
	if len(p) < fixed || string(p[:4]) != helloMagic {
		return hello{}, fmt.Errorf("%w: not a hello of this protocol", errFrame)
	}
	if p[4] != helloVersion {
		return hello{}, fmt.Errorf("%w: version %d of the protocol, this is %d", errFrame, p[4], helloVersion)
	}
	copy(h.nonce[:], p[5:])
	h.dial = binary.BigEndian.Uint64(p[21:])
	h.node, err = dsv.ParseNodeID(string(p[fixed:]))
	if err != nil {
		return hello{}, fmt.Errorf("%w: %w", errFrame, err)
	}
	return h, nil
}

// wireError is what of a *dsv.Error crosses the wire: everything but the cause.
type wireError struct {
	Kind       dsv.Kind    `json:"kind"`
	Code       dsv.Code    `json:"code"`
	Op         string      `json:"op,omitempty"`
	Path       string      `json:"path,omitempty"`
	Field      string      `json:"field,omitempty"`
	Detail     string      `json:"detail,omitempty"`
	Phase      string      `json:"phase,omitempty"`
	RetryAfter int64       `json:"retry_ms,omitempty"`
	Operation  string      `json:"operation,omitempty"`
	Index      int         `json:"index,omitempty"`
	Have       int         `json:"have,omitempty"`
	Need       int         `json:"need,omitempty"`
	Silent     []string    `json:"silent,omitempty"`
	Faults     []dsv.Fault `json:"faults,omitempty"`
}

// maxDetail bounds each text of an error that crosses the wire.
const maxDetail = 1024

func encodeError(err error) []byte {
	e := dsv.AsError(err)
	w := wireError{
		Kind: e.Kind, Code: e.Code, Op: clip(e.Op), Path: clip(e.Path), Field: clip(e.Field), Detail: clip(e.Detail), Phase: e.Phase,
		RetryAfter: e.RetryAfter.Milliseconds(), Operation: clip(e.Operation), Index: e.Index, Have: e.Have, Need: e.Need,
		Silent: e.Silent[:min(len(e.Silent), 256)], Faults: e.Faults[:min(len(e.Faults), 256)],
	}
	b, jerr := json.Marshal(w)
	if jerr != nil { // no field can cause it
		return []byte(`{"code":"internal"}`)
	}
	return b
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxDetail)], "") }

// decodeError is total: what does not parse is an internal error.
func decodeError(p []byte) *dsv.Error {
	var w wireError
	if err := json.Unmarshal(p, &w); err != nil || w.Code == "" {
		return dsv.E(dsv.KindInternal, dsv.CodeInternal, "the peer's error could not be read")
	}
	retry := time.Duration(max(0, min(w.RetryAfter, 3_600_000))) * time.Millisecond
	return &dsv.Error{
		Kind: w.Kind, Code: w.Code, Op: w.Op, Path: w.Path, Field: w.Field, Detail: w.Detail, Phase: w.Phase, RetryAfter: retry,
		Operation: w.Operation, Index: w.Index, Have: w.Have, Need: w.Need, Silent: w.Silent, Faults: w.Faults,
	}
}
