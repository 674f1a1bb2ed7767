package secrecy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/tests/cluster"
)

// limit is how long a thing that takes a second on a quiet machine may take on
// a busy one.
const limit = 90 * time.Second

// house is the cluster that all tests share, with taps on its wires.
type house struct {
	*cluster.Cluster
	bin, dir string
	taps     *taps
	value    mark // in every value ever sent
	name     mark // in every namespace and key
	cl       *client.Client
}

var shared struct {
	sync.Once
	dir string
	h   *house
	err error
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dsv-secrecy-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared.dir = dir
	code := m.Run()
	if shared.h != nil {
		if err := shared.h.close(); err != nil {
			fmt.Fprintln(os.Stderr, "close:", err)
			code = 1
		}
	}
	if code == 0 {
		_ = os.RemoveAll(dir)
	} else {
		fmt.Fprintln(os.Stderr, "what the processes left is in", dir)
	}
	return code
}

// theHouse starts the cluster, once.
func theHouse(t *testing.T) *house {
	t.Helper()
	if testing.Short() {
		t.Skip("starts nine processes")
	}
	shared.Do(func() { shared.h, shared.err = start(shared.dir) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.h
}

func start(dir string) (*house, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	h := &house{bin: filepath.Join(dir, "bin"), dir: filepath.Join(dir, "c"), value: newMark("value"), name: newMark("name")}
	if err := cluster.Build(ctx, h.bin, "dsvnode", "dsvctl"); err != nil {
		return nil, err
	}
	// All processes inherit it, keepers and the broker too.
	if err := os.Setenv("DSV_LOG_LEVEL", "debug"); err != nil {
		return nil, err
	}
	h.taps = newTaps([]mark{h.value, h.name})
	var err error
	if h.Cluster, err = cluster.Start(ctx, cluster.Options{Dir: h.dir, Bin: h.bin, Kafka: onKafka(), Front: h.taps.front}); err != nil {
		h.taps.close()
		return nil, err
	}
	if h.cl, err = h.Client(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// onKafka is the number of real brokers to run on, 0 for the embedded one.
func onKafka() int {
	if os.Getenv("DSV_TEST_KAFKA") == "" {
		return 0
	}
	return 1
}

func (h *house) close() error {
	if h.cl != nil {
		h.cl.Close()
	}
	err := h.Close()
	h.taps.close()
	return err
}

// path is a secret whose namespace and key hold the mark of names.
func (h *house) path(t *testing.T, ns, key string) dsv.Path {
	t.Helper()
	p, err := dsv.ParsePath(ns+"/"+h.name.text, key+"_"+h.name.text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// secret is a value that holds the mark of values; what differs comes behind.
func (h *house) secret(tail string) dsv.Secret { return dsv.SecretOf([]byte(h.value.text + tail)) }

// answer is what came back of a raw request.
type answer struct {
	status int
	all    string // status line, headers and body
}

// ask sends a request as it is to node i, with the operator's token unless
// headers name another.
func (h *house) ask(t *testing.T, i int, method, path, body string, headers ...string) answer {
	t.Helper()
	token, err := h.Token()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, h.Endpoint(i)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+string(token.Reveal()))
	for _, x := range headers {
		name, value, _ := strings.Cut(x, ": ")
		if r.Header.Set(name, value); value == "" {
			r.Header.Del(name)
		}
	}
	tr := &http.Transport{TLSClientConfig: h.Roots(), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: limit}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var all bytes.Buffer
	_ = resp.Header.Write(&all)
	if _, err := io.Copy(&all, resp.Body); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, all.String()}
}

// ctl runs dsvctl as a user would, in dir.
func (h *house) ctl(t *testing.T, dir, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(h.bin, "dsvctl"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DSV_ADDR="+strings.Join(h.Endpoints(), ","), "DSV_CA="+h.Layout().CACert(), "DSV_TOKEN_FILE="+h.Layout().OperatorToken())
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// eventually asks until ok, every few milliseconds.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// must gives the value of a call that may not fail.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// get is the status of a plain GET.
func (h *house) get(ctx context.Context, url string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	tr := &http.Transport{TLSClientConfig: h.Roots(), DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
