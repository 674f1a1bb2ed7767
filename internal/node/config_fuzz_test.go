package node

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dsvault/dsv"
)

// FuzzParseConfig: any text is either refused with a KindInvalid error that
// lists faults, or gives a Config that passes its own check unchanged.
func FuzzParseConfig(f *testing.F) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(good), "", "a: &a [*a]", "members: &m [{id: n1}, *m]", "<<: {node: {id: n1}}", "? [x]\n: y", "!!binary x", "\x00", "quorum: {n: 0x5}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig(text, "/etc/dsv", nil)
		if err != nil {
			if e := dsv.AsError(err); e.Kind != dsv.KindInvalid || len(e.Faults) == 0 {
				t.Fatalf("%v", err)
			}
			return
		}
		again := c
		if err := again.Check(); err != nil || cmp.Diff(c, again) != "" {
			t.Errorf("accepted, then: %v\n%s", err, cmp.Diff(c, again))
		}
	})
}
