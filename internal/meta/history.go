package meta

import (
	"errors"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/meta/metapb"
	"github.com/dsvault/dsv/internal/store"
)

// Secret is what the machine knows of a secret as a whole.
type Secret struct {
	LastVersion   uint64 // versions 1 to this exist
	Live          bool   // an interval, of LastVersion, is open
	Boundary      int64  // the latest valid_from or valid_to, µs
	ChangedOffset int64  // of the record that decided its newest change, of any kind
}

// Version is one version of a secret.
type Version struct {
	Path            dsv.Path
	Number          uint64
	ShareSet        dsv.ShareSet
	Intervals       []Interval // ordered, disjoint
	RequestedAt     int64      // the request's own time, µs
	Author          string
	PaddedSize      int
	Digests         [][]byte // SHA-256 of each shard, rank order; nil once destroyed
	Destroyed       bool     // its share set is gone for good
	CommittedOffset int64    // of its own COMMIT
	CommittedAt     int64    // T there
	ShareSetE       int64    // E at the COMMIT of ShareSet (a repair's moves it)
	Acks            []Ack    // that COMMIT's; nil once destroyed
}

// Interval is [From, To) in µs; To 0 = open.
type Interval struct{ From, To int64 }

// Live reports whether the version is current.
func (v Version) Live() bool {
	return len(v.Intervals) > 0 && v.Intervals[len(v.Intervals)-1].To == 0
}

// Covers reports whether the version was current at an instant.
func (v Version) Covers(t int64) bool {
	for _, iv := range v.Intervals {
		if iv.From <= t && (iv.To == 0 || t < iv.To) {
			return true
		}
	}
	return false
}

// LookupSecret returns a secret; false if it never existed.
func LookupSecret(tx store.Txn, path dsv.Path) (Secret, bool, error) {
	p, ok, err := partitionOf(tx, path.NS)
	if err != nil || !ok {
		return Secret{}, false, err
	}
	return secretAt(tx, p, path)
}

func secretAt(tx store.Txn, p dsv.Partition, path dsv.Path) (Secret, bool, error) {
	row := new(metapb.SecretRow)
	old, err := get(tx, secretKey(p, path), row)
	if err != nil || old == nil {
		return Secret{}, false, err
	}
	return Secret{row.GetLastVersion(), row.GetLive(), row.GetBoundaryUs(), row.GetChangedOffset()}, true, nil
}

// LookupVersion returns a version, also a destroyed one; false if it never
// existed.
func LookupVersion(tx store.Txn, path dsv.Path, n uint64) (Version, bool, error) {
	p, ok, err := partitionOf(tx, path.NS)
	if err != nil || !ok {
		return Version{}, false, err
	}
	return versionAt(tx, p, path, n)
}

func versionAt(tx store.Txn, p dsv.Partition, path dsv.Path, n uint64) (Version, bool, error) {
	it, err := tx.Get(versionKey(p, path, n))
	if errors.Is(err, store.ErrNotFound) {
		return Version{}, false, nil
	}
	if err != nil {
		return Version{}, false, err
	}
	v, err := versionOf(path, n, it)
	return v, err == nil, err
}

func versionOf(path dsv.Path, n uint64, it store.Item) (Version, error) {
	row := new(metapb.VersionRow)
	if err := unmarshal(it, row); err != nil {
		return Version{}, err
	}
	set, err := dsv.ShareSetFromBytes(row.GetShareSet())
	if err != nil {
		return Version{}, corrupt(it.Key, err)
	}
	v := Version{
		Path: path, Number: n, ShareSet: set, RequestedAt: row.GetRequestedAtUs(), Author: row.GetAuthor(),
		PaddedSize: int(row.GetPaddedSize()), Digests: row.GetDigests(), Destroyed: row.GetDestroyed(),
		CommittedOffset: row.GetCommittedOffset(), CommittedAt: row.GetCommittedAtUs(), ShareSetE: row.GetShareSetEUs(),
		Intervals: make([]Interval, len(row.GetIntervals())),
	}
	for i, iv := range row.GetIntervals() {
		v.Intervals[i] = Interval{iv.GetFromUs(), iv.GetToUs()}
	}
	if len(row.GetAcks()) > 0 {
		v.Acks = acksOf(row.GetAcks())
	}
	return v, nil
}

// Newest returns the live version; false if the secret is not live.
func Newest(tx store.Txn, path dsv.Path) (Version, bool, error) {
	p, ok, err := partitionOf(tx, path.NS)
	if err != nil || !ok {
		return Version{}, false, err
	}
	return NewestIn(tx, p, path)
}

// SecretIn is LookupSecret for a caller who knows the namespace's partition: it
// saves a row read.
func SecretIn(tx store.Txn, p dsv.Partition, path dsv.Path) (Secret, bool, error) {
	return secretAt(tx, p, path)
}

// NewestIn is Newest for a caller who knows the namespace's partition.
func NewestIn(tx store.Txn, p dsv.Partition, path dsv.Path) (Version, bool, error) {
	s, ok, err := secretAt(tx, p, path)
	if err != nil || !ok || !s.Live {
		return Version{}, false, err
	}
	v, ok, err := versionAt(tx, p, path, s.LastVersion)
	if err == nil && !ok {
		err = corrupt(versionKey(p, path, s.LastVersion), "missing")
	}
	return v, ok, err
}

// AsOf returns the version that was current at an instant, destroyed or not;
// false if none was. The answer is final for t below the head's T.
func AsOf(tx store.Txn, path dsv.Path, t int64) (Version, bool, error) {
	p, ok, err := partitionOf(tx, path.NS)
	if err != nil || !ok {
		return Version{}, false, err
	}
	s, ok, err := secretAt(tx, p, path)
	if err != nil || !ok {
		return Version{}, false, err
	}
	// Only the last version ever gets another interval, so all intervals of
	// one version lie before those of the next: bisect for the last version
	// that began by t.
	var found Version
	lo, hi := uint64(0), s.LastVersion
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		v, ok, err := versionAt(tx, p, path, mid)
		if err == nil && (!ok || len(v.Intervals) == 0) {
			err = corrupt(versionKey(p, path, mid), "no version or interval")
		}
		if err != nil {
			return Version{}, false, err
		}
		if v.Intervals[0].From <= t {
			lo, found = mid, v
		} else {
			hi = mid - 1
		}
	}
	if lo == 0 || !found.Covers(t) {
		return Version{}, false, nil
	}
	return found, true, nil
}

// History returns all versions of a secret, oldest first; none if it never
// existed.
func History(tx store.Txn, path dsv.Path) ([]Version, error) {
	p, ok, err := partitionOf(tx, path.NS)
	if err != nil || !ok {
		return nil, err
	}
	var out []Version
	err = scan(tx, versionPrefix(p, path), store.Page{Limit: scanPage}, func(it store.Item) (bool, error) {
		_, n, ok := versionOfKey(it.Key)
		if !ok {
			return false, corrupt(it.Key, "not a version")
		}
		v, err := versionOf(path, n, it)
		out = append(out, v)
		return true, err
	})
	return out, err
}
