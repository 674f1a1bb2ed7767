package meta

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/dsvault/dsv/internal/meta/metapb"
)

// RecordVersion is the version of the log's language that this machine
// speaks; records of any other are void.
const RecordVersion = 1

// MaxRecord is the greatest length of an encoded record in bytes.
const MaxRecord = 1 << 20

// ErrRecord is wrapped by the errors of Decode and Encode.
var ErrRecord = errors.New("meta: not a record")

var deterministic = proto.MarshalOptions{Deterministic: true}

// Decode reads a record. It is total: whatever is no record of this version,
// has fields that this version does not know, or is longer than MaxRecord is
// an error that wraps ErrRecord, and the caller applies a nil record.
func Decode(body []byte) (*metapb.Record, error) {
	if len(body) > MaxRecord {
		return nil, fmt.Errorf("%w: %d bytes", ErrRecord, len(body))
	}
	rec := new(metapb.Record)
	if err := proto.Unmarshal(body, rec); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if rec.GetVersion() != RecordVersion {
		return nil, fmt.Errorf("%w: version %d", ErrRecord, rec.GetVersion())
	}
	if rec.GetBody() == nil || strange(rec) || strangeBody(rec) {
		return nil, fmt.Errorf("%w: a body or field of another version", ErrRecord)
	}
	return rec, nil
}

// Encode sets the record's version and marshals it. A record that Decode
// would refuse for its length is an error.
func Encode(rec *metapb.Record) ([]byte, error) {
	if rec.GetBody() == nil {
		return nil, fmt.Errorf("%w: no body", ErrRecord)
	}
	rec.Version = RecordVersion
	b, err := deterministic.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("%w: %d bytes", ErrRecord, len(b))
	}
	return b, nil
}

// strange reports fields that this version does not know. They would reach
// rows, and nodes that do know them would judge otherwise.
func strange(m proto.Message) bool { return len(m.ProtoReflect().GetUnknown()) > 0 }

func anyStrange[M proto.Message](ms []M) bool {
	for _, m := range ms {
		if strange(m) {
			return true
		}
	}
	return false
}

func strangeBody(rec *metapb.Record) bool {
	switch b := rec.GetBody().(type) {
	case *metapb.Record_Prepare:
		return strange(b.Prepare) || anyStrange(b.Prepare.GetOps())
	case *metapb.Record_Commit:
		return strange(b.Commit) || anyStrange(b.Commit.GetAcks())
	case *metapb.Record_Abort:
		return strange(b.Abort)
	case *metapb.Record_Join:
		return strange(b.Join)
	case *metapb.Record_Tick:
		return strange(b.Tick)
	case *metapb.Record_Config:
		return strange(b.Config)
	case *metapb.Record_Checkpoint:
		return strange(b.Checkpoint)
	case *metapb.Record_Setting:
		return strange(b.Setting)
	}
	return true
}
