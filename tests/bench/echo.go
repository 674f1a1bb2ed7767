package main

import (
	"crypto/tls"
	"flag"
	"io"
	"net"
	"net/http"

	"github.com/dsvault/dsv/internal/identity"
)

// echo serves the bare HTTPS echo: the answer is as long as a read's.
func echo(args []string) error {
	f := flag.NewFlagSet("echo", flag.ContinueOnError)
	listen := f.String("listen", "", "")
	ca, cert, key := f.String("ca", "", ""), f.String("cert", "", ""), f.String("key", "", "")
	if err := f.Parse(args); err != nil {
		return err
	}
	id, err := identity.Load(identity.Files{CA: *ca, Cert: *cert, Key: *key})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	body := make([]byte, 512)
	for i := range body {
		body[i] = 'x'
	}
	s := &http.Server{TLSConfig: id.HTTPServerTLS(true), TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header()["Content-Type"] = jsonContent
			_, _ = w.Write(body)
		})}
	return s.ServeTLS(l, "", "")
}
