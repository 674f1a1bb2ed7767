package meta

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/dsvault/dsv"
)

// Kinds of rows; doc.go describes each.
const (
	kindHead    = 'h'
	kindConfig  = 'c'
	kindStores  = 'j'
	kindSeen    = 'k'
	kindTx      = 't'
	kindDue     = 'd'
	kindIdem    = 'i'
	kindSecret  = 's'
	kindVersion = 'v'
)

const (
	prefixLen     = 4 // 'm', partition, kind
	maxPartitions = 65535
)

// partitionsKey is the one row outside all partitions.
var partitionsKey = []byte{'m', 0xff, 0xff, 'p'}

// Prefix is the common prefix of all rows of a partition: whoever rebuilds
// one from the log deletes it first.
func Prefix(p dsv.Partition) []byte { return []byte{'m', byte(p >> 8), byte(p)} }

func rowKey(p dsv.Partition, kind byte, room int) []byte {
	return append(make([]byte, 0, prefixLen+room), 'm', byte(p>>8), byte(p), kind)
}

func appendTime(b []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t)^(1<<63))
}

func timeAt(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)) }

func headKey(p dsv.Partition) []byte   { return rowKey(p, kindHead, 0) }
func configKey(p dsv.Partition) []byte { return rowKey(p, kindConfig, 0) }
func storesKey(p dsv.Partition) []byte { return rowKey(p, kindStores, 0) }

func seenKey(p dsv.Partition, id dsv.StoreID) []byte {
	return append(rowKey(p, kindSeen, len(id)), id[:]...)
}

func txKey(id dsv.TxID) []byte {
	b := appendTime(rowKey(id.Partition, kindTx, 24), id.T0)
	return append(b, id.Nonce[:]...)
}

// txOfKey is the inverse of txKey.
func txOfKey(p dsv.Partition, key []byte) (dsv.TxID, bool) {
	if len(key) != prefixLen+24 {
		return dsv.TxID{}, false
	}
	id := dsv.TxID{Partition: p, T0: timeAt(key[prefixLen:])}
	copy(id.Nonce[:], key[prefixLen+8:])
	return id, true
}

func dueKey(deadline int64, id dsv.TxID) []byte {
	b := appendTime(rowKey(id.Partition, kindDue, 32), deadline)
	b = appendTime(b, id.T0)
	return append(b, id.Nonce[:]...)
}

// dueOfKey is the inverse of dueKey.
func dueOfKey(p dsv.Partition, key []byte) (deadline int64, id dsv.TxID, ok bool) {
	if len(key) != prefixLen+32 {
		return 0, dsv.TxID{}, false
	}
	id = dsv.TxID{Partition: p, T0: timeAt(key[prefixLen+8:])}
	copy(id.Nonce[:], key[prefixLen+16:])
	return timeAt(key[prefixLen:]), id, true
}

func idemKey(p dsv.Partition, ns, caller, key string) []byte {
	b := make([]byte, 0, 12+len(ns)+len(caller)+len(key))
	for _, s := range [...]string{ns, caller, key} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return append(rowKey(p, kindIdem, len(sum)), sum[:]...)
}

// secretPrefix is the prefix of all secrets of a namespace.
func secretPrefix(p dsv.Partition, ns dsv.Namespace, room int) []byte {
	s := ns.String()
	return append(append(rowKey(p, kindSecret, len(s)+1+room), s...), 0)
}

func secretKey(p dsv.Partition, path dsv.Path) []byte {
	k := path.Key.String()
	return append(secretPrefix(p, path.NS, len(k)), k...)
}

// versionPrefix is the prefix of all versions of a secret.
func versionPrefix(p dsv.Partition, path dsv.Path) []byte {
	ns, k := path.NS.String(), path.Key.String()
	b := append(rowKey(p, kindVersion, len(ns)+len(k)+10), ns...)
	b = append(append(b, 0), k...)
	return append(b, 0)
}

func versionKey(p dsv.Partition, path dsv.Path, n uint64) []byte {
	return binary.BigEndian.AppendUint64(versionPrefix(p, path), n)
}

// versionOfKey is the inverse of versionKey.
func versionOfKey(key []byte) (path dsv.Path, n uint64, ok bool) {
	if len(key) < prefixLen+9 || key[len(key)-9] != 0 {
		return path, 0, false
	}
	path, ok = pathOf(key[prefixLen : len(key)-9])
	return path, binary.BigEndian.Uint64(key[len(key)-8:]), ok
}

// pathOf reads "ns 00 key".
func pathOf(b []byte) (dsv.Path, bool) {
	for i, c := range b {
		if c == 0 {
			path, err := dsv.ParsePath(string(b[:i]), string(b[i+1:]))
			return path, err == nil
		}
	}
	return dsv.Path{}, false
}
