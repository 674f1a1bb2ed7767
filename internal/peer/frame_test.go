package peer

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

func TestRequestRoundTrip(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		0: 0, -time.Second: 0, 1: time.Millisecond, time.Second: time.Second, 1<<63 - 1: (1<<32 - 1) * time.Millisecond,
	} {
		b := appendRequest(nil, 7, 'k', left, []byte("body"))
		var scratch [lengthSize + frameOverhead]byte
		r := bytes.NewReader(b)
		h, err := readHeader(r, &scratch, 100)
		if err != nil || h != (header{frameRequest, 7, requestHead + 4}) || r.Len() != h.size {
			t.Fatalf("%+v, %v", h, err)
		}
		kind, got, body := splitRequest(b[lengthSize+frameOverhead:])
		if kind != 'k' || got != want || string(body) != "body" {
			t.Errorf("%v: %c %v %q", left, kind, got, body)
		}
	}
}

func TestHeaderRefused(t *testing.T) {
	frame := func(n uint32, typ byte, id uint64) []byte {
		b := binary.BigEndian.AppendUint32(nil, n)
		return binary.BigEndian.AppendUint64(append(b, typ), id)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "cut": frame(9, 2, 0)[:12], "too short": frame(8, 2, 0), "too long": frame(101, 5, 0), "largest": frame(1<<32-1, 5, 0),
		"type 0": frame(9, 0, 0), "type 7": frame(9, 7, 0), "ping with a body": frame(10, 2, 0), "pong with a body": frame(10, 3, 0),
		"request without a head": frame(13, 4, 1), "hello with an id": frame(60, 1, 1),
	} {
		var scratch [lengthSize + frameOverhead]byte
		if h, err := readHeader(bytes.NewReader(b), &scratch, 100); err == nil {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestHelloRoundTrip(t *testing.T) {
	want := hello{[16]byte{1, 2, 15: 9}, 1 << 40, "node-1"}
	got, err := parseHello(want.append(nil)[lengthSize+frameOverhead:])
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	p := want.append(nil)[lengthSize+frameOverhead:]
	for name, bad := range map[string][]byte{
		"empty": nil, "short": p[:28], "no name": p[:29], "magic": append([]byte("HTTP"), p[4:]...),
		"version": append([]byte("DSVP\x02"), p[5:]...), "name": append(bytes.Clone(p), '/'), "long name": append(bytes.Clone(p), strings.Repeat("a", 64)...),
	} {
		if h, err := parseHello(bad); err == nil {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(appendRequest(nil, 1, 'k', time.Second, []byte("x")))
	f.Add(hello{[16]byte{1}, 3, "n1"}.append(nil))
	f.Add(append(appendHeader(nil, frameError, 4, 2), "{}"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var scratch [lengthSize + frameOverhead]byte
		r := bytes.NewReader(b)
		h, err := readHeader(r, &scratch, 1<<20)
		if err != nil {
			return
		}
		if h.size < 0 || h.size > 1<<20 {
			t.Fatalf("size %d", h.size)
		}
		p, err := io.ReadAll(io.LimitReader(r, int64(h.size)))
		if err != nil || len(p) != h.size {
			return
		}
		again := appendHeader(nil, h.typ, h.id, h.size)
		if !bytes.Equal(append(again, p...), b[:len(again)+h.size]) {
			t.Fatal("not written as it was read")
		}
		switch h.typ {
		case frameHello:
			if x, err := parseHello(p); err == nil && !bytes.Equal(x.append(nil), b[:len(again)+h.size]) {
				t.Fatal("hello not written as it was read")
			}
		case frameRequest:
			splitRequest(p)
		case frameError:
			if decodeError(p).Code == "" {
				t.Fatal("an error without a code")
			}
		}
	})
}

func FuzzError(f *testing.F) {
	f.Add([]byte(`{"kind":3,"code":"denied","detail":"x","retry_ms":-5}`))
	f.Add([]byte(`{"kind":999}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := decodeError(b)
		if e == nil || e.RetryAfter < 0 || e.Kind.Status() < 400 {
			t.Fatalf("%+v", e)
		}
		if again := decodeError(encodeError(e)); len(e.Detail) < maxDetail && again.Code != e.Code {
			t.Fatalf("%+v became %+v", e, again)
		}
	})
}

func TestErrorIsBounded(t *testing.T) {
	long := strings.Repeat("ä", 1<<20)
	e := &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: long, Path: long, Field: long, Detail: long, Silent: make([]string, 1000), Faults: make([]dsv.Fault, 1000)}
	if n := len(encodeError(e)); n > 64<<10 {
		t.Errorf("%d bytes", n)
	}
	if d := cmp.Diff(dsv.CodeInvalid, decodeError(encodeError(e)).Code); d != "" {
		t.Error(d)
	}
}

// FuzzConnection feeds any bytes to a proven connection: the pool must stay
// whole, and take the next connection.
func FuzzConnection(f *testing.F) {
	f.Add(appendRequest(nil, 1, kindEcho, 0, []byte("x")))
	f.Add(append(appendHeader(nil, frameResponse, 1, 3), "abc"...))
	f.Add(appendHeader(appendHeader(nil, framePing, 5, 0), framePong, 1, 0))
	f.Add([]byte("GET / HTTP/1.1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, nil, pair...)
			c.start("n2")
			s := c.stranger(1, 1, "n1")
			s.admitted()
			_, _ = s.Write(b)
			synctest.Wait()
			_ = s.Close()
			again := c.stranger(1, 2, "n1")
			again.admitted()
			again.send(appendRequest(nil, 1, kindFrom, 0, nil))
			if h, p, err := again.next(); err != nil || h.typ != frameResponse || string(p) != "n1" {
				t.Errorf("%v %q %v", h, p, err)
			}
			c.close()
		})
	})
}
