package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// result is one measurement, of one round or of several.
type result struct {
	ops      int
	took     time.Duration
	perSec   float64
	p50, p99 time.Duration
	cpu      map[string]time.Duration // by kind of process
	failed   int
	example  string
	times    []time.Duration // of every operation, sorted
}

// add takes in another round.
func (r result) add(o result) result {
	r.took += o.took
	r.failed += o.failed
	r.example = cmp.Or(r.example, o.example)
	r.times = append(r.times, o.times...)
	slices.Sort(r.times)
	if r.cpu == nil {
		r.cpu = map[string]time.Duration{}
	}
	for k, d := range o.cpu {
		r.cpu[k] += d
	}
	if r.ops = len(r.times); r.ops > 0 {
		r.perSec = float64(r.ops) / r.took.Seconds()
		r.p50, r.p99 = r.times[r.ops/2], r.times[r.ops*99/100]
	}
	return r
}

// request makes the n-th request of one worker.
type request func(worker, n int) (method, url string, body []byte)

// httpClient keeps enough idle connections for a load of 64 workers.
func httpClient(conf *tls.Config) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: conf, MaxIdleConnsPerHost: 128, MaxConnsPerHost: 0, DisableCompression: true,
	}}
}

// measure runs workers until d is over and counts what was answered in time.
func measure(ctx context.Context, h *http.Client, token string, workers int, d time.Duration, want int, next request) result {
	var wg sync.WaitGroup
	var failed atomic.Int64
	var example atomic.Pointer[string]
	times := make([][]time.Duration, workers)
	start := time.Now()
	end := start.Add(d)
	for w := range workers {
		wg.Go(func() {
			for n := 0; time.Now().Before(end) && ctx.Err() == nil; n++ {
				method, url, body := next(w, n)
				t := time.Now()
				if err := send(ctx, h, token, method, url, body, want); err != nil {
					failed.Add(1)
					s := err.Error()
					example.CompareAndSwap(nil, &s)
					continue
				}
				times[w] = append(times[w], time.Since(t))
			}
		})
	}
	wg.Wait()
	r := result{took: time.Since(start), failed: int(failed.Load()), times: slices.Concat(times...)}
	if s := example.Load(); s != nil {
		r.example = *s
	}
	return result{}.add(r)
}

func send(ctx context.Context, h *http.Client, token, method, url string, body []byte, want int) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header["Authorization"] = []string{token}
	req.Header["Content-Type"] = jsonContent
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == want {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	b, _ := io.ReadAll(resp.Body)
	return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(b))
}

var jsonContent = []string{"application/json"}

// valueSize is the size of every value, in bytes.
const valueSize = 256

// valueBody is a request body with a fresh random value.
func valueBody() []byte {
	v := make([]byte, valueSize)
	_, _ = rand.Read(v)
	return []byte(`{"value":"` + base64.StdEncoding.EncodeToString(v) + `"}`)
}

// namespaces spread the load over the partitions.
const namespaces = 48

func secretURL(endpoint string, n int, key string) string {
	return fmt.Sprintf("%s/v1/ns/bench%%2F%d/secrets/%s", endpoint, n%namespaces, key)
}

func pick(list []string, i int) string { return list[i%len(list)] }
