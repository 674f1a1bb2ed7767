package history

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

func op(client int, call, ret int64, in Input, out Output) porcupine.Operation {
	return porcupine.Operation{ClientId: client, Call: call, Return: ret, Input: in, Output: out}
}

// A checker that accepts everything proves nothing: each wrong history must be
// refused, each right one accepted.
func TestCheckTellsWrongFromRight(t *testing.T) {
	create := Input{Key: "A", Kind: Create, Value: "a"}
	get := Input{Key: "A", Kind: Get}
	ok := func(v uint64, s string) Output { return Output{Outcome: OK, Version: v, Value: s} }
	for name, c := range map[string]struct {
		ops  []porcupine.Operation
		fine bool
	}{
		"read after write": {[]porcupine.Operation{op(0, 0, 1, create, ok(1, "")), op(1, 2, 3, get, ok(1, "a"))}, true},
		"stale read":       {[]porcupine.Operation{op(0, 0, 1, create, ok(1, "")), op(1, 2, 3, get, Output{Outcome: NotFound})}, false},
		"two creates": {[]porcupine.Operation{op(0, 0, 5, create, ok(1, "")), op(1, 1, 6,
			Input{Key: "A", Kind: Create, Value: "b"}, ok(1, ""))}, false},
		"two updates, one number": {[]porcupine.Operation{op(0, 0, 1, create, ok(1, "")),
			op(0, 2, 5, Input{Key: "A", Kind: Update, Value: "b"}, ok(2, "")), op(1, 3, 6, Input{Key: "A", Kind: Update, Value: "c"}, ok(2, ""))}, false},
		"unknown that happened":   {[]porcupine.Operation{op(0, 0, 1<<62, create, Output{Outcome: Unknown}), op(1, 2, 3, get, ok(1, "a"))}, true},
		"unknown that did not":    {[]porcupine.Operation{op(0, 0, 1<<62, create, Output{Outcome: Unknown}), op(1, 2, 3, get, Output{Outcome: NotFound})}, true},
		"unknown that came, went": {[]porcupine.Operation{op(0, 0, 1<<62, create, Output{Outcome: Unknown}), op(1, 2, 3, get, ok(1, "a")), op(1, 4, 5, get, Output{Outcome: NotFound})}, false},
		"old version changed": {[]porcupine.Operation{op(0, 0, 1, create, ok(1, "")), op(0, 2, 3, Input{Key: "A", Kind: Update, Value: "b"}, ok(2, "")),
			op(1, 4, 5, Input{Key: "A", Kind: GetVersion, Version: 1}, ok(1, "b"))}, false},
		"number reused after delete": {[]porcupine.Operation{op(0, 0, 1, create, ok(1, "")), op(0, 2, 3, Input{Key: "A", Kind: Delete}, ok(0, "")),
			op(0, 4, 5, Input{Key: "A", Kind: Create, Value: "b"}, ok(1, ""))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&Recorder{ops: c.ops}).Check(time.Minute)
			if (err == nil) != c.fine {
				t.Fatalf("Check = %v", err)
			}
		})
	}
}
