package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

const redoVersion = 1

// redoKey of the i-th redo row; that of the first is keyRedo.
func redoKey(i int) []byte {
	if i == 0 {
		return keyRedo
	}
	return binary.BigEndian.AppendUint16(bytes.Clone(keyRedo), uint16(i))
}

// redoRows cuts an encoded batch into pieces too small for the value log, which
// need not be whole after a crash, in the order in which they are written: the
// first redo row comes last, so that where it is the others are.
func redoRows(encoded []byte, piece int) []row {
	var rows []row
	for i := 0; len(encoded) > 0; i++ {
		n := min(piece, len(encoded))
		rows = append(rows, row{key: redoKey(i), value: encoded[:n]})
		encoded = encoded[n:]
	}
	slices.Reverse(rows)
	return rows
}

// encodeBatch is the value of the redo row: a version byte, the tick, then for
// each row a byte (1: deleted), the slot, the key and the value.
func encodeBatch(b *batch) []byte {
	size := 16
	for i := range b.rows {
		size += len(b.rows[i].key) + len(b.rows[i].value) + 10
	}
	out := append(make([]byte, 0, size), redoVersion)
	out = binary.BigEndian.AppendUint64(out, b.tick)
	for i := range b.rows {
		r := &b.rows[i]
		del := byte(0)
		if r.del {
			del = 1
		}
		out = appendBytes(appendBytes(append(out, del, r.slot), r.key), r.value)
	}
	return out
}

func decodeBatch(b []byte) (*batch, error) {
	bad := fmt.Errorf("%w: redo row", ErrCorrupt)
	if len(b) < 9 || b[0] != redoVersion {
		return nil, bad
	}
	out := &batch{tick: binary.BigEndian.Uint64(b[1:])}
	for b = b[9:]; len(b) > 0; {
		if len(b) < 2 || b[0] > 1 {
			return nil, bad
		}
		r := row{del: b[0] == 1, slot: b[1]}
		var err error
		if r.key, b, err = cutBytes(b[2:]); err != nil {
			return nil, bad
		}
		if r.value, b, err = cutBytes(b); err != nil {
			return nil, bad
		}
		out.rows = append(out.rows, r)
	}
	return out, nil
}
