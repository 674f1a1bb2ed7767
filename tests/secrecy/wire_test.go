package secrecy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dsvault/dsv/client"
)

// TestNothingOnTheWires: a tap before every port that processes use among
// themselves reads TLS, or sealed gossip, and no mark.
func TestNothingOnTheWires(t *testing.T) {
	h := theHouse(t)
	for i := range 30 {
		p := h.path(t, "wire", fmt.Sprint("W", i))
		must[client.Written](t)(h.cl.Create(t.Context(), p, h.secret(strings.Repeat(h.value.text, i)), nil))
		for n := range h.Nodes() {
			cl := must[*client.Client](t)(h.Client(n))
			must[client.Found](t)(cl.Get(t.Context(), p, nil))
			cl.Close()
		}
	}
	want := map[string]int64{}
	for i := range h.Nodes() {
		want[string(h.NodeID(i))+" peer"], want[string(h.NodeID(i))+" gossip UDP"] = 10_000, 1_000
	}
	for _, k := range h.Topology().Keepers {
		want[string(k.ID)+" keeper"] = 5_000
	}
	if h.Broker() != nil {
		want["broker"] = 100_000
	}
	delete(want, string(h.NodeID(0))+" peer") // the smallest id dials all others and is dialled by none
	h.taps.mu.Lock()
	defer h.taps.mu.Unlock()
	for what, least := range want {
		if p := h.taps.passed[what]; p < least {
			t.Errorf("%s: only %d bytes passed the tap", what, p)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(h.taps.passed)) {
		if f := h.taps.found[what]; len(f) > 0 {
			t.Errorf("%s: %s", what, strings.Join(f, ", "))
		}
		const handshake = 22 // first byte of a TLS connection
		if s := h.taps.sample[what]; !strings.Contains(what, "gossip") && (len(s) == 0 || s[0] != handshake) {
			t.Errorf("%s: begins with % x, which is not TLS", what, s)
		}
		t.Logf("%s: %d bytes", what, h.taps.passed[what])
	}
}
