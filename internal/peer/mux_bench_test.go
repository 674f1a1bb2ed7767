package peer

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
)

// Transports over loopback TLS, client and server in this process: requests of
// 100 bytes, answers of 400, one connection. Besides ns/op (the inverse of the
// throughput) each reports the median latency and the CPU time of both sides.
func BenchmarkTransport(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for _, x := range []struct {
			name string
			open func(*testing.B) func([]byte) error
		}{{"mux", openMux}, {"mux-async", openMuxAsync}, {"http2", openHTTP2}} {
			b.Run(fmt.Sprintf("%s/callers=%d", x.name, callers), func(b *testing.B) {
				call := x.open(b)
				req := bytes.Repeat([]byte("q"), 100)
				if err := call(req); err != nil {
					b.Fatal(err)
				}
				load(b, callers, func() error { return call(req) })
			})
		}
	}
}

var benchAnswer = bytes.Repeat([]byte("a"), 400)

func load(b *testing.B, callers int, call func() error) {
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	times := make([][]time.Duration, callers)
	var wg sync.WaitGroup
	cpu := cpuTime()
	b.ResetTimer()
	for i := range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				start := time.Now()
				if err := call(); err != nil {
					b.Error(err)
					return
				}
				times[i] = append(times[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(times...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(b.N), "cpu-us/op")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func loopback(b *testing.B) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func openPools(b *testing.B) *Pool {
	ca := newCA(b)
	members := map[dsv.NodeID]string{"n1": "", "n2": ""}
	var pools []*Pool
	for _, id := range pair {
		l := loopback(b)
		members[id] = l.Addr().String()
		cfg := PoolConfig{
			Self: id, Members: members, Listener: l,
			Handler: func(context.Context, dsv.NodeID, byte, []byte) ([]byte, error) { return benchAnswer, nil },
		}
		useTLS(b, &cfg, ca, identity.RoleNode, string(id))
		pools = append(pools, NewPool(cfg))
	}
	pools[0].SetAddr("n2", members["n2"])
	for _, p := range pools {
		p.Start(context.Background())
		b.Cleanup(p.Close)
	}
	for i, p := range pools {
		if err := p.WaitConnected(b.Context(), pair[1-i]); err != nil {
			b.Fatal(err)
		}
	}
	return pools[0]
}

func openMux(b *testing.B) func([]byte) error {
	p := openPools(b)
	ctx := context.Background()
	return func(req []byte) error {
		got, err := p.Call(ctx, "n2", 'q', req)
		if err == nil && len(got) != len(benchAnswer) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
}

func openMuxAsync(b *testing.B) func([]byte) error {
	p := openPools(b)
	return func(req []byte) error {
		done := make(chan error, 1)
		p.Go("n2", 'q', req, func(_ []byte, err error) { done <- err })
		return <-done
	}
}

func openHTTP2(b *testing.B) func([]byte) error {
	ca := newCA(b)
	server, client := issue(b, ca, identity.RoleNode, "n2"), issue(b, ca, identity.RoleNode, "n1")
	tc := server.ServerTLS(func(identity.ID) error { return nil })
	tc.NextProtos = []string{"h2"}
	s := &http.Server{
		TLSConfig: tc,
		ErrorLog:  log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil {
				_, _ = w.Write(benchAnswer)
			}
		}),
	}
	l := loopback(b)
	go func() { _ = s.ServeTLS(l, "", "") }()
	cc := client.ClientTLS(server.ID())
	cc.RootCAs = x509.NewCertPool()
	cc.NextProtos = []string{"h2"}
	tr := &http.Transport{TLSClientConfig: cc, ForceAttemptHTTP2: true, DisableCompression: true}
	b.Cleanup(func() { tr.CloseIdleConnections(); _ = s.Close() })
	url := "https://" + l.Addr().String() + "/"
	return func(req []byte) error {
		resp, err := tr.RoundTrip(newRequest(url, req))
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		got, err := io.ReadAll(resp.Body)
		if err == nil && (len(got) != len(benchAnswer) || resp.ProtoMajor != 2) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
}

func newRequest(url string, body []byte) *http.Request {
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	return r
}
