package api

import (
	"encoding/base64"
	"net/http"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
	"github.com/dsvault/dsv/internal/coordinator"
)

// batchVerb is one word of "op" with the rights it needs.
type batchVerb struct {
	kind  coordinator.BatchKind
	verbs auth.Verb
}

var batchVerbs = map[string]batchVerb{
	"get":      {coordinator.BatchGet, auth.Read},
	"create":   {coordinator.BatchCreate, auth.Create},
	"update":   {coordinator.BatchUpdate, auth.Update},
	"put":      {coordinator.BatchPut, auth.Create | auth.Update},
	"delete":   {coordinator.BatchDelete, auth.Delete},
	"undelete": {coordinator.BatchUndelete, auth.Undelete},
	"destroy":  {coordinator.BatchDestroy, auth.Destroy},
}

// batch is POST …/batch.
func (c *call) batch() error {
	if _, err := c.query(); err != nil {
		return err
	}
	b := coordinator.Batch{NS: c.path.NS}
	var err error
	if b.Meta, err = c.meta(); err != nil {
		return err
	}
	err = c.jsonBody(dsv.MaxBatchBytes, func(d *decoder, name string) error {
		if name != "operations" {
			return errUnknown
		}
		return c.batchOps(d, &b)
	})
	if err == nil && len(b.Ops) == 0 {
		err = dsv.Invalid("operations", "is missing or empty")
	}
	if err != nil {
		for _, op := range b.Ops {
			op.Value.Wipe()
		}
		return err
	}
	r, err := c.vault.Batch(c.ctx, c.session, b)
	if err != nil {
		return err
	}
	c.stood(r.Position, 0, false)
	if b.Ops[0].Kind == coordinator.BatchGet {
		return c.batchFound(b, r.Found)
	}
	return c.json(http.StatusOK, 320*len(b.Ops), func(buf []byte) []byte {
		buf = append(buf, `{"results":[`...)
		for i, w := range r.Written {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(appendWritten(append(buf, '{'), dsv.Path{NS: b.NS, Key: b.Ops[i].Key}, w), '}')
		}
		return append(buf, "]}"...)
	})
}

func (c *call) batchFound(b coordinator.Batch, found []coordinator.Found) error {
	size := 64
	for _, f := range found {
		size += 640 + base64.StdEncoding.EncodedLen(f.Value.Len())
		defer f.Value.Wipe()
	}
	return c.json(http.StatusOK, size, func(buf []byte) []byte {
		buf = append(buf, `{"results":[`...)
		for i, f := range found {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(appendFound(append(buf, '{'), dsv.Path{NS: b.NS, Key: b.Ops[i].Key}, f, true), '}')
		}
		return append(buf, "]}"...)
	})
}

// batchOps reads the operations. Each is judged as soon as it is read; faults
// carry its index.
func (c *call) batchOps(d *decoder, b *coordinator.Batch) error {
	total := 0
	seen := map[dsv.Key]bool{}
	return d.array("operations", func() error {
		index := len(b.Ops) + 1
		if index > dsv.MaxBatchOps {
			return tooMany("operations", dsv.MaxBatchOps)
		}
		op, err := c.batchOp(d)
		if err != nil {
			return indexed(err, index)
		}
		b.Ops = append(b.Ops, op)
		total += op.Value.Len()
		switch {
		case total > dsv.MaxBatchBytes:
			return indexed(tooLarge("operations", dsv.MaxBatchBytes), index)
		case seen[op.Key]:
			return indexed(dsv.Invalid("key", "stands in two operations"), index)
		case (op.Kind == coordinator.BatchGet) != (b.Ops[0].Kind == coordinator.BatchGet):
			return indexed(dsv.Invalid("op", "mixes gets with writes"), index)
		}
		seen[op.Key] = true
		return nil
	})
}

// opFields are the fields of one operation as they are read.
type opFields struct {
	valueFields
	destroyFields
	op, key string
	version *uint64
	present map[string]bool
}

func (f *opFields) field(d *decoder, name string) (err error) {
	f.present[name] = true
	switch name {
	case "op":
		f.op, err = d.text(name, 16)
	case "key":
		f.key, err = d.text(name, 1024)
	case "version":
		f.version, err = d.version(name, 1)
	case "versions", "all":
		err = f.destroyFields.field(d, name)
	default:
		err = f.valueFields.field(d, name)
	}
	return err
}

// opTakes are the fields besides op and key that a verb takes.
var opTakes = map[coordinator.BatchKind][]string{
	coordinator.BatchGet:      {"version"},
	coordinator.BatchCreate:   {"value", "text", "if_version"},
	coordinator.BatchUpdate:   {"value", "text", "if_version"},
	coordinator.BatchPut:      {"value", "text", "if_version"},
	coordinator.BatchDelete:   {"if_version"},
	coordinator.BatchUndelete: {"if_version"},
	coordinator.BatchDestroy:  {"versions", "all", "if_version"},
}

func (c *call) batchOp(d *decoder) (coordinator.BatchOp, error) {
	f := opFields{valueFields: valueFields{limit: c.s.cfg.MaxValue}, present: map[string]bool{}}
	err := d.object("operations", f.field)
	if err != nil {
		f.value.Wipe()
		return coordinator.BatchOp{}, err
	}
	op, err := c.checkedOp(&f)
	if err != nil {
		f.value.Wipe()
	}
	return op, err
}

// checkedOp is what f says, where it says something whole that the caller may
// do.
func (c *call) checkedOp(f *opFields) (coordinator.BatchOp, error) {
	var op coordinator.BatchOp
	verb, ok := batchVerbs[f.op]
	if !ok {
		return op, dsv.Invalid("op", "must be get, create, update, put, delete, undelete or destroy")
	}
	key, err := dsv.ParseKey(f.key)
	if err != nil {
		return op, err
	}
	if err := c.session.Caller.Allow(verb.verbs, c.path.NS, key); err != nil {
		return op, err
	}
	for _, name := range []string{"value", "text", "version", "versions", "all", "if_version"} {
		if f.present[name] && !contains(opTakes[verb.kind], name) {
			return op, dsv.Invalid(name, "does not go with "+f.op)
		}
	}
	op = coordinator.BatchOp{
		Kind: verb.kind, Key: key, Value: f.value, Versions: f.versions, All: f.all, IfVersion: f.ifVersion,
	}
	if f.version != nil {
		op.Version = *f.version
	}
	switch verb.kind {
	case coordinator.BatchCreate, coordinator.BatchUpdate, coordinator.BatchPut:
		err = f.valueFields.complete()
	case coordinator.BatchDestroy:
		err = f.destroyFields.complete()
	}
	return op, err
}
