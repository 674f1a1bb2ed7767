package keeper

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dsvault/dsv"
)

func TestEmptyKeeperIsRefilledWithTheSameBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		check, _, shares := w.dayZero()
		c := w.custodian("n1")
		w.obtain(c, w.old(check))
		w.run(c, &memVault{})
		synctest.Wait()
		for round := range 30 { // it never stops
			i := round % 3
			w.restart(i)
			start := time.Now()
			for w.k[i].share("n1") == nil && time.Since(start) < time.Minute {
				time.Sleep(time.Millisecond)
			}
			if !bytes.Equal(w.k[i].share("n1"), shares[i]) {
				t.Fatalf("round %d: not the same bytes", round)
			}
			// The broken connection is noticed; nobody waits for the next poll.
			if d := time.Since(start); d > DefaultPollEvery/4 {
				t.Errorf("round %d: refilled after %v", round, d)
			}
		}
		time.Sleep(time.Minute)
		if c.Margin() != 1 {
			t.Errorf("margin %d: %+v", c.Margin(), c.Status())
		}
	})
}

func TestLostKeeperIsToldAndRefilledWhenItReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		check, _, shares := w.dayZero()
		w.k[1].stop()
		c := w.custodian("n1")
		w.obtain(c, w.old(check))
		w.run(c, &memVault{})
		time.Sleep(time.Hour)
		wantProblem(t, c, "k2", "does not answer: connection refused")
		wantProblem(t, c, "k1", "")
		if c.Margin() != 0 {
			t.Errorf("margin %d", c.Margin())
		}
		w.k[1] = w.start(t, "k2")
		time.Sleep(DefaultPollEvery + time.Second)
		// The node never saw this share: it made it again from the other two.
		if !bytes.Equal(w.k[1].share("n1"), shares[1]) {
			t.Error("not the same bytes")
		}
		wantProblem(t, c, "k2", "")
		if c.Margin() != 1 || c.Status()[1].LastSeen.IsZero() || !c.Status()[1].Holds || c.Status()[1].Generation != 1 {
			t.Errorf("margin %d: %+v", c.Margin(), c.Status())
		}
	})
}

// Keepers may trade shares and be listed in any order.
func TestOrderMeansNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		check, key, shares := w.dayZero()
		for i, k := range w.k {
			k.plant(t, "n1", 1, shares[(i+1)%3])
		}
		c := w.custodian("n1")
		root, _ := w.obtain(c, w.old(check))
		if !root.Derive("test").Equal(key) {
			t.Fatal("another key")
		}
		v := &memVault{}
		stop := w.run(c, v)
		time.Sleep(time.Minute)
		if c.Margin() != 1 {
			t.Errorf("margin %d: %+v", c.Margin(), c.Status())
		}
		stop()
		list, _, err := v.kept()
		if err != nil || list[1].keeper != "k1" || list[2].keeper != "k2" || list[0].keeper != "k3" {
			t.Errorf("%v %v", list, err)
		}
		// With the vault the node knows whose share is whose, though it sees two
		// keepers only: the third comes back empty and gets its own.
		w.restart(0)
		again := w.custodian("n1")
		w.obtain(again, w.old(check))
		w.run(again, v)
		time.Sleep(time.Minute)
		if !bytes.Equal(w.k[0].share("n1"), shares[1]) || v.written() != 1 {
			t.Errorf("another share, or %d saves", v.written())
		}
	})
}

// Only three of five keepers are seen, and they were renamed or traded since:
// the vault tells which of the other two shares is whose.
func TestVaultTellsWhoseShareIsWhose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		keepers := targets(5)
		s, err := newSet("c1", "n1", 1, 3, 5)
		if err != nil {
			t.Fatal(err)
		}
		defer s.wipe()
		var k []*proc
		for i, target := range keepers {
			k = append(k, w.start(t, target.ID))
			k[i].plant(t, "n1", 1, s.encoded(4-i))
		}
		c, err := New(CustodianConfig{Cluster: "c1", Node: "n1", Threshold: 3, Dial: w.dial, Insecure: true, Keepers: keepers})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		k[0].stop()
		k[1].stop()
		check := s.checkFile()
		w.obtain(c, w.old(check))
		v := &memVault{b: encodeKept(s, keepers, []int{4, 3, 2, 1, 0})}
		w.run(c, v)
		time.Sleep(time.Minute)
		k[0] = w.start(t, "k0") // empty, while k1 with its share is still away
		time.Sleep(time.Minute)
		if !bytes.Equal(k[0].share("n1"), s.encoded(4)) {
			t.Error("k0 was given the share of another keeper")
		}
		k[1] = w.start(t, "k1")
		k[1].plant(t, "n1", 1, s.encoded(3))
		time.Sleep(time.Minute)
		if c.Margin() != 2 || v.written() != 0 {
			t.Errorf("margin %d, %d saves: %+v", c.Margin(), v.written(), c.Status())
		}
	})
}

func TestVaultIsFilledAndHealed(t *testing.T) {
	other, err := newSet("c1", "n1", 1, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	foreign := encodeKept(other, []Target{{"k1", "k1"}, {"k2", "k2"}, {"k3", "k3"}}, []int{0, 1, 2})
	other.wipe()
	for name, v := range map[string]*memVault{
		"empty": {}, "garbage": {b: []byte("garbage")}, "foreign": {b: foreign}, "failing": {fail: errors.New("disk full")},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.custodian("n1")
				w.obtain(c, ObtainOptions{NewDirectory: true})
				w.run(c, v)
				time.Sleep(time.Minute)
				v.mu.Lock()
				v.fail = nil
				v.mu.Unlock()
				time.Sleep(time.Minute)
				list, saves, err := v.kept()
				if err != nil || len(list) != 3 || saves != 1 {
					t.Fatalf("%v, %d saves: %v", list, saves, err)
				}
				for i, k := range w.k {
					if list[i].keeper != k.id || !bytes.Equal(list[i].share.encode(), k.share("n1")) {
						t.Errorf("keeper %s", k.id)
					}
				}
			})
		})
	}
}

func TestRunNeedsTheKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		if err := w.custodian("n1").Run(context.Background(), &memVault{}); err == nil {
			t.Error("ran without a key")
		}
	})
}

// A keeper that holds the place but never answers well must not keep a node
// from the others, and is named.
func TestBadKeepersAreBoundedAndNamed(t *testing.T) {
	for name, serve := range map[string]func(l *memListener){
		"hang": func(l *memListener) { l.raw("", 0) },
		"drip": func(l *memListener) {
			l.raw("HTTP/1.1 200 OK\r\nDsv-Generation: 1\r\nContent-Length: 400\r\n\r\n"+strings.Repeat("x", 400), 500*time.Millisecond)
		},
		"close":     func(l *memListener) { l.raw("", -1) },
		"not HTTP":  func(l *memListener) { l.raw("220 smtp ready\r\n", 0) },
		"no keeper": func(l *memListener) { l.raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0) },
		"redirect": func(l *memListener) {
			l.raw("HTTP/1.1 302 Found\r\nLocation: http://k2/v1/share\r\nContent-Length: 0\r\n\r\n", 0)
		},
		"endless": func(l *memListener) {
			l.raw("HTTP/1.1 200 OK\r\nDsv-Generation: 1\r\nDsv-Incarnation: 000102030405060708090a0b0c0d0e0f\r\n\r\n"+strings.Repeat("x", 1<<20), 0)
		},
		"refuse": func(l *memListener) { _ = l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				check, key, _ := w.dayZero()
				w.k[0].stop()
				w.bad("k1", serve)
				c := w.custodian("n1")
				start := time.Now()
				root, _ := w.obtain(c, w.old(check))
				if d := time.Since(start); d > time.Second || !root.Derive("test").Equal(key) {
					t.Errorf("took %v", d)
				}
				stop := w.run(c, &memVault{})
				time.Sleep(2 * DefaultAttemptTimeout)
				if problem(c, "k1") == "" || c.Margin() != 0 {
					t.Errorf("margin %d: %+v", c.Margin(), c.Status())
				}
				wantProblem(t, c, "k2", "")
				stop()
				// A new node waits, and says for whom.
				n2 := w.custodian("n2")
				w.sealed(n2, ObtainOptions{NewDirectory: true}, 20*time.Second)
				if !strings.Contains(n2.Reason(), "keeper k1 ") {
					t.Error(n2.Reason())
				}
			})
		})
	}
}

// bad puts something else in a keeper's place, until the test ends.
func (w *world) bad(id dsv.NodeID, serve func(*memListener)) {
	l := w.listen(string(id))
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(l)
	}()
	w.t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}

// raw answers every connection with text, a byte every so often or all at
// once; every < 0 closes at once. It returns when the listener and every
// connection are closed.
func (l *memListener) raw(text string, every time.Duration) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer conn.Close()
			gone := make(chan struct{})
			conns.Go(func() {
				defer close(gone)
				_, _ = io.Copy(io.Discard, conn)
			})
			if every >= 0 {
				drip(conn, text, every, gone)
				<-gone
			}
		})
	}
}

func drip(conn net.Conn, text string, every time.Duration, gone chan struct{}) {
	step := len(text)
	if every > 0 {
		step = 1
	}
	for len(text) > 0 {
		if _, err := conn.Write([]byte(text[:step])); err != nil {
			return
		}
		text = text[step:]
		select {
		case <-time.After(every):
		case <-gone:
			return
		}
	}
}

// Close ends what is under way, whatever it is.
func TestCloseEndsEverything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		check, _, _ := w.dayZero()
		running := w.custodian("n1")
		w.obtain(running, w.old(check))
		errs := make(chan error, 2)
		go func() { errs <- running.Run(context.Background(), &memVault{}) }()
		sealed := w.custodian("n2")
		go func() {
			_, _, err := sealed.Obtain(context.Background(), ObtainOptions{})
			errs <- err
		}()
		time.Sleep(time.Minute)
		for _, c := range []*Custodian{sealed, running, running} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-errs; !errors.Is(err, errClosed) || dsv.CodeOf(err) != dsv.CodeSealed {
			t.Error(err)
		}
		if err := <-errs; err != nil {
			t.Error(err)
		}
		if running.set != nil || running.Run(context.Background(), &memVault{}) == nil {
			t.Error("not closed")
		}
		if _, _, err := sealed.Obtain(context.Background(), ObtainOptions{}); err == nil {
			t.Error("not closed")
		}
	})
}

// Obtain gives up at once when its context ends, whatever the keepers do.
func TestObtainEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range w.k {
			w.k[i].stop()
			w.bad(w.k[i].id, func(l *memListener) { l.raw("", 0) })
		}
		start := time.Now()
		w.sealed(w.custodian("n1"), ObtainOptions{NewDirectory: true}, time.Second)
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v", d)
		}
		c := w.custodian("n1")
		w.sealed(c, ObtainOptions{}, 4*time.Second)
		for _, id := range []string{"k1", "k2", "k3"} {
			if !strings.Contains(c.Reason(), "keeper "+id+" does not answer: no answer within 3s") {
				t.Errorf("%s: %s", id, c.Reason())
			}
		}
	})
}

// Everything that was said or logged, in every encoding of every share.
func TestNoShareIsToldToAnyone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		check, key, shares := w.dayZero()
		w.k[2].plant(t, "n1", 1, shares[0])
		w.restart(1)
		c := w.custodian("n1")
		w.sealed(c, w.old(check), time.Minute)
		w.k[1].plant(t, "n1", 1, shares[1])
		root, got := w.obtain(c, w.old(check))
		stop := w.run(c, &memVault{})
		time.Sleep(time.Minute)
		w.restart(0)
		time.Sleep(time.Minute)
		stop()
		text := w.logs.String() + fmt.Sprintf("%v %+v %#v %v %+v %#v %s", root, root, root, c.Status(), got, *c.set.mem, c.Reason())
		if !strings.Contains(text, "same share") || !strings.Contains(text, "given its own again") {
			t.Error("the test provokes nothing")
		}
		secrets := [][]byte{key.Reveal(), c.set.key()}
		for _, b := range shares {
			s, err := decodeShare(b)
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, s.y)
		}
		for i, s := range secrets {
			for _, form := range []string{
				string(s), hex.EncodeToString(s), strings.ToUpper(hex.EncodeToString(s)), base64.StdEncoding.EncodeToString(s)[:40],
				base64.RawURLEncoding.EncodeToString(s)[:40], strings.Trim(fmt.Sprint(s), "[]"),
			} {
				if strings.Contains(text, form) {
					t.Errorf("secret %d is told", i)
				}
			}
		}
	})
}
