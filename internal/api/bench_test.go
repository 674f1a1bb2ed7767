package api_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/api/apitest"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// instant answers reads and writes at once.
type instant struct {
	*apitest.Vault
	found coordinator.Found
}

func (v instant) Get(context.Context, *coordinator.Session, coordinator.Read) (coordinator.Found, error) {
	f := v.found
	f.Value = dsv.SecretOf(make([]byte, 256))
	return f, nil
}

func (v instant) Create(context.Context, *coordinator.Session, coordinator.Write) (coordinator.Written, error) {
	return coordinator.Written{Version: 1, ValidFrom: apitest.Epoch, Operation: dsv.NewTxID(1, 1)}, nil
}

func newInstant() instant {
	v := instant{Vault: apitest.NewVault()}
	v.found = coordinator.Found{Version: coordinator.Version{Version: 3, RequestedAt: apitest.Epoch, Author: "token:0123456789abcdef", PaddedSize: 256, Current: true}, Interval: coordinator.Interval{From: apitest.Epoch}}
	return v
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

func BenchmarkHandler(b *testing.B) {
	v := newInstant()
	h := apitest.Serve(b, v, nil).Server.Handler()
	token := "Bearer " + v.Token(auth.AllVerbs, "")
	body := `{"value":"` + strings.Repeat("AAAA", 85) + `AA=="}`
	for _, method := range []string{"GET", "POST"} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				r := httptest.NewRequest(method, "/v1/ns/team-a%2Fapp/secrets/DB_PASSWORD", nil)
				r.Header["Authorization"] = []string{token}
				if method == "POST" {
					r.Header["Content-Type"] = []string{"application/json"}
					r.Body, r.ContentLength = http.NoBody, int64(len(body))
					r.Body = readCloser{bytes.NewReader([]byte(body))}
				}
				h.ServeHTTP(&discard{http.Header{}}, r)
			}
		})
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// BenchmarkTLS is one keep-alive connection per worker through the client.
func BenchmarkTLS(b *testing.B) {
	v := newInstant()
	n := apitest.Serve(b, v, nil)
	c := newClient(b, v.Token(auth.AllVerbs, ""), n)
	p := mustPath(b, "team-a/app", "DB_PASSWORD")
	b.Run("get", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Get(context.Background(), p, nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("create", func(b *testing.B) {
		value := dsv.SecretOf(make([]byte, 256))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Create(context.Background(), p, value, nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
