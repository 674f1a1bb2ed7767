package coordinator

import (
	"context"
	"time"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/auth"
)

// ReadWithLiar is a strict read that has already heard of a decided change at
// an offset that no log has.
func (c *Coordinator) ReadWithLiar(s *Session, path dsv.Path, d int64) (dsv.Secret, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	holders, err := c.rep.Holders(path.NS)
	if err != nil {
		return dsv.Secret{}, err
	}
	r := c.newReading(&question{path: path, proof: s.proof(auth.Read), value: true, pick: picker(c.rep.PartitionOf(path.NS), Read{Path: path})}, holders)
	r.maxD = d
	defer r.leave()
	if err := r.look(); err != nil {
		return dsv.Secret{}, err
	}
	a, err := r.run(ctx)
	return a.value, err
}
