package memnet_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv/internal/peer/memnet"
)

// pair opens a connection from a to b:1.
func pair(t *testing.T, n *memnet.Net) (near, far net.Conn) {
	t.Helper()
	l, err := n.Listen("b:1")
	if err != nil {
		t.Fatal(err)
	}
	near, err = n.Dial(t.Context(), "a", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = near.Close(), far.Close(), l.Close() })
	return near, far
}

func bubble(t *testing.T, f func(t *testing.T, n *memnet.Net)) {
	synctest.Test(t, func(t *testing.T) { f(t, memnet.New()) })
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v; want %q", b, err, want)
	}
}

func TestBytesArriveInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, n *memnet.Net) {
		d := 10 * time.Millisecond
		n.Delay("a", "b", func() time.Duration { d = (d + 7*time.Millisecond) % (13 * time.Millisecond); return d })
		near, far := pair(t, n)
		data := make([]byte, 3<<20) // far more than is buffered
		_, _ = rand.Read(data)
		go func() {
			for rest := data; len(rest) > 0; {
				k := min(len(rest), 70_001)
				if _, err := near.Write(rest[:k]); err != nil {
					t.Error(err)
				}
				rest = rest[k:]
			}
			_ = near.Close()
		}()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if _, err := far.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed reader: %v", err)
		}
	})
}

func TestDelay(t *testing.T) {
	bubble(t, func(t *testing.T, n *memnet.Net) {
		n.Delay("a", "b", func() time.Duration { return 30 * time.Millisecond })
		start := time.Now()
		near, far := pair(t, n)
		if d := time.Since(start); d != 30*time.Millisecond {
			t.Errorf("dial took %v", d)
		}
		start = time.Now()
		write(t, near, "ab")
		read(t, far, "ab")
		if d := time.Since(start); d != 30*time.Millisecond {
			t.Errorf("one way took %v", d)
		}
		write(t, far, "c")
		read(t, near, "c")
		if d := time.Since(start); d != 30*time.Millisecond {
			t.Errorf("the way back took %v", d)
		}
	})
}

func TestCutHoldsBackAndHealDelivers(t *testing.T) {
	bubble(t, func(t *testing.T, n *memnet.Net) {
		near, far := pair(t, n)
		n.Cut("a", "b")
		write(t, near, "held")
		write(t, far, "back") // the other direction works
		read(t, near, "back")
		_ = far.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("behind a cut: %v", err)
		}
		_ = far.SetReadDeadline(time.Time{})
		_ = near.Close() // neither does the end come through
		n.Heal("a", "b")
		read(t, far, "held")
		if _, err := far.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("after the heal: %v", err)
		}
	})
}

func TestDialOverACut(t *testing.T) {
	bubble(t, func(t *testing.T, n *memnet.Net) {
		l, err := n.Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		n.Cut("b", "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Dial(ctx, "a", "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("cut: %v", err)
		}
		time.AfterFunc(time.Second, func() { n.Heal("b", "a") })
		c, err := n.Dial(t.Context(), "a", "b:1")
		if err != nil {
			t.Fatalf("healed: %v", err)
		}
		_ = c.Close()
		if _, err := n.Dial(t.Context(), "a", "c:1"); !errors.Is(err, memnet.ErrRefused) {
			t.Fatalf("nobody there: %v", err)
		}
	})
}

func TestCrash(t *testing.T) {
	bubble(t, func(t *testing.T, n *memnet.Net) {
		near, far := pair(t, n)
		write(t, far, "lost")
		n.Crash("b")
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, memnet.ErrReset) {
			t.Errorf("survivor reads: %v", err)
		}
		if _, err := near.Write([]byte("x")); err == nil {
			t.Error("survivor writes")
		}
		if _, err := far.Read(make([]byte, 1)); err == nil {
			t.Error("the dead read")
		}
		if _, err := far.Write([]byte("x")); err == nil {
			t.Error("the dead write")
		}
		if _, err := n.Dial(t.Context(), "a", "b:1"); !errors.Is(err, memnet.ErrRefused) {
			t.Errorf("dial: %v", err)
		}
		pair(t, n) // the host may come back
	})
}

func TestCrashBehindACutIsSilence(t *testing.T) {
	bubble(t, func(t *testing.T, n *memnet.Net) {
		near, _ := pair(t, n)
		n.CutBoth("a", "b")
		n.Crash("b")
		write(t, near, "into the dark")
		_ = near.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("behind the cut: %v", err)
		}
		_ = near.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Minute, func() { n.HealBoth("a", "b") })
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, memnet.ErrReset) {
			t.Fatalf("after the heal: %v", err)
		}
	})
}

func TestBlockedWritesEnd(t *testing.T) {
	for name, end := range map[string]func(near, far net.Conn){
		"own close":    func(near, _ net.Conn) { _ = near.Close() },
		"far close":    func(_, far net.Conn) { _ = far.Close() },
		"deadline":     func(near, _ net.Conn) { _ = near.SetWriteDeadline(time.Now().Add(time.Second)) },
		"past already": func(near, _ net.Conn) { _ = near.SetWriteDeadline(time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *memnet.Net) {
				near, far := pair(t, n)
				failed := make(chan error)
				go func() {
					_, err := near.Write(make([]byte, 1<<20))
					failed <- err
				}()
				synctest.Wait()
				end(near, far)
				if err := <-failed; err == nil {
					t.Error("a write of more than is buffered succeeded")
				}
			})
		})
	}
}

func TestListenerClose(t *testing.T) {
	bubble(t, func(t *testing.T, n *memnet.Net) {
		l, err := n.Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen("b:1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v", err)
		}
		c, err := n.Dial(t.Context(), "a", "b:1")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, memnet.ErrReset) {
			t.Errorf("not accepted: %v", err)
		}
	})
}
