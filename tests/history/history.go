// Package history records what clients asked and were told, and checks with
// porcupine that some order of all of it explains every answer: the history of
// each key is linearizable. Answers carry version numbers, and every value
// written is unique, so a lost, doubled or reordered write cannot hide.
package history

import (
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind of an operation.
type Kind uint8

// The kinds.
const (
	Create Kind = iota
	Update
	Put
	Delete
	Get
	GetVersion
)

func (k Kind) String() string {
	return [...]string{"create", "update", "put", "delete", "get", "get-version"}[k]
}

// Outcome of an operation as the client was told.
type Outcome uint8

// The outcomes.
const (
	OK       Outcome = iota
	Exists           // 409
	NotFound         // 404
	NoEffect         // 503, 429: certainly nothing happened
	Unknown          // 504, a broken connection: it may have happened
)

// Input is what was asked.
type Input struct {
	Key     string
	Kind    Kind
	Value   string // of a write
	Version uint64 // of GetVersion
}

// Output is what was told.
type Output struct {
	Outcome Outcome
	Version uint64
	Value   string // of a read
}

// Recorder collects operations of many clients.
type Recorder struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

// New starts a history.
func New() *Recorder { return &Recorder{start: time.Now()} }

// Do runs one operation of a client and records it. An operation without
// effect is left out; one of unknown outcome may take effect until the end.
func (r *Recorder) Do(client int, in Input, f func() Output) Output {
	call := time.Since(r.start).Nanoseconds()
	out := f()
	ret := time.Since(r.start).Nanoseconds()
	if out.Outcome == NoEffect || out.Outcome == Unknown && (in.Kind == Get || in.Kind == GetVersion) {
		return out
	}
	if out.Outcome == Unknown {
		ret = 1 << 62
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: ret})
	return out
}

// Len is how many operations count.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

// Count is how many operations had an outcome.
func (r *Recorder) Count(o Outcome) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range r.ops {
		if op.Output.(Output).Outcome == o {
			n++
		}
	}
	return n
}

// state of one key. values[i] is version i+1's.
type state struct {
	live   bool
	values string // concatenated values, each ended by 0x00; comparable
	last   uint64
}

func (s state) value(n uint64) (string, bool) {
	rest := s.values
	for i := uint64(1); i <= n; i++ {
		end := 0
		for end < len(rest) && rest[end] != 0 {
			end++
		}
		if end == len(rest) {
			return "", false
		}
		if i == n {
			return rest[:end], true
		}
		rest = rest[end+1:]
	}
	return "", false
}

func (s state) write(v string) state {
	return state{live: true, values: s.values + v + "\x00", last: s.last + 1}
}

// step tells the states that an answer allows after one.
func step(s state, in Input, out Output) []state {
	written := func(allowed bool) []state {
		switch {
		case out.Outcome == Unknown && allowed:
			return []state{s, s.write(in.Value)}
		case out.Outcome == Unknown:
			return []state{s}
		case out.Outcome == OK && allowed && out.Version == s.last+1:
			return []state{s.write(in.Value)}
		}
		return nil
	}
	refused := func(o Outcome, when bool) []state {
		if out.Outcome == o && when {
			return []state{s}
		}
		return nil
	}
	switch in.Kind {
	case Create:
		return append(written(!s.live), refused(Exists, s.live)...)
	case Update:
		return append(written(s.live), refused(NotFound, !s.live)...)
	case Put:
		return written(true)
	case Delete:
		gone := state{live: false, values: s.values, last: s.last}
		switch {
		case out.Outcome == Unknown && s.live:
			return []state{s, gone}
		case out.Outcome == Unknown:
			return []state{s}
		case out.Outcome == OK && s.live:
			return []state{gone}
		}
		return refused(NotFound, !s.live)
	case Get:
		v, _ := s.value(s.last)
		if out.Outcome == OK && s.live && out.Version == s.last && out.Value == v {
			return []state{s}
		}
		return refused(NotFound, !s.live)
	case GetVersion:
		v, ok := s.value(in.Version)
		if out.Outcome == OK && ok && out.Value == v {
			return []state{s}
		}
		return refused(NotFound, !ok)
	}
	return nil
}

var model = porcupine.NondeterministicModel{
	Partition: func(ops []porcupine.Operation) (out [][]porcupine.Operation) {
		at := map[string]int{}
		for _, op := range ops {
			k := op.Input.(Input).Key
			i, ok := at[k]
			if !ok {
				i = len(out)
				at[k] = i
				out = append(out, nil)
			}
			out[i] = append(out[i], op)
		}
		return out
	},
	Init: func() []any { return []any{state{}} },
	Step: func(s, in, out any) []any {
		var next []any
		for _, n := range step(s.(state), in.(Input), out.(Output)) {
			next = append(next, n)
		}
		return next
	},
	Equal: func(a, b any) bool { return a.(state) == b.(state) },
	DescribeOperation: func(in, out any) string {
		i, o := in.(Input), out.(Output)
		return fmt.Sprintf("%v %s %q@%d -> %d v%d %q", i.Kind, i.Key, i.Value, i.Version, o.Outcome, o.Version, o.Value)
	},
}

// Check reports whether the history is linearizable; it gives up after a time,
// which is an error too. The error names a key that cannot be explained.
func (r *Recorder) Check(limit time.Duration) error {
	r.mu.Lock()
	ops := r.ops
	r.mu.Unlock()
	m := model.ToModel()
	for _, part := range model.Partition(ops) {
		switch porcupine.CheckOperationsTimeout(m, part, limit) {
		case porcupine.Illegal:
			return fmt.Errorf("the history of %s (%d operations) is not linearizable%s", part[0].Input.(Input).Key, len(part), describe(part))
		case porcupine.Unknown:
			return fmt.Errorf("the history of %s (%d operations) was not checked within %v", part[0].Input.(Input).Key, len(part), limit)
		}
	}
	return nil
}

// describe lists a short history.
func describe(ops []porcupine.Operation) string {
	if len(ops) > 200 {
		return ""
	}
	s := ""
	for _, op := range ops {
		s += fmt.Sprintf("\n  [%d..%d] c%d %s", op.Call, op.Return, op.ClientId, model.DescribeOperation(op.Input, op.Output))
	}
	return s
}
