package client

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/dsvault/dsv"
)

// TimeLayout is the form of every time on the wire.
const TimeLayout = "2006-01-02T15:04:05.000000Z"

// Time is an instant on the wire: RFC 3339, UTC, microseconds. The zero Time
// is null.
type Time struct{ time.Time }

// MarshalJSON writes the form of TimeLayout, null for zero.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		*t = Time{}
		return nil
	}
	return json.Unmarshal(b, &t.Time)
}

// String is the form of TimeLayout, "" for zero.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(TimeLayout)
}

// Interval is half open; a zero To is open.
type Interval struct {
	From Time `json:"valid_from"`
	To   Time `json:"valid_to"`
}

// Written is the answer of a write.
type Written struct {
	Namespace       string `json:"namespace,omitempty"`
	Key             string `json:"key,omitempty"`
	Version         uint64 `json:"version"`
	ValidFrom       Time   `json:"valid_from"`        // of the interval this write opened
	PreviousValidTo Time   `json:"previous_valid_to"` // of the interval this write closed
	Unchanged       bool   `json:"unchanged,omitempty"`
	Operation       string `json:"operation,omitempty"`
	// Position is the place of the decision in the log: sent back as
	// ReadOptions.MinPosition it gives read-your-writes on any node.
	Position dsv.Position `json:"-"`
}

// States of a version.
const (
	StateCurrent   = "current"
	StatePast      = "past"
	StateDestroyed = "destroyed"
)

// Version describes one version without its value.
type Version struct {
	Version     uint64     `json:"version"`
	State       string     `json:"state"` // current past destroyed
	Intervals   []Interval `json:"intervals"`
	RequestedAt Time       `json:"requested_at"`
	Author      string     `json:"author"`
	PaddedSize  int        `json:"padded_size"`
}

// History is the answer of Client.History, versions ascending.
type History struct {
	Namespace string       `json:"namespace"`
	Key       string       `json:"key"`
	Versions  []Version    `json:"versions"`
	Position  dsv.Position `json:"-"`
}

// Found is the answer of a read. Value is empty after Head.
type Found struct {
	Namespace   string     `json:"namespace"`
	Key         string     `json:"key"`
	Version     uint64     `json:"version"`
	Value       dsv.Secret `json:"-"`
	ValidFrom   Time       `json:"valid_from"`
	ValidTo     Time       `json:"valid_to"`
	RequestedAt Time       `json:"requested_at"`
	Author      string     `json:"author"`
	PaddedSize  int        `json:"padded_size"`
	State       string     `json:"state"`
	NotFinal    bool       `json:"not_final,omitempty"` // the instant asked for is not over in the log's time
	FromHint    bool       `json:"from_hint,omitempty"` // local existence told by gossip

	Position dsv.Position  `json:"-"`
	Lag      time.Duration `json:"-"` // of the node's log reading, for local answers
}

// Name is one secret of a list.
type Name struct {
	Key     string `json:"key"`
	Version uint64 `json:"version"`
	Deleted bool   `json:"deleted,omitempty"`
}

// Names is a page of a list, in byte order.
type Names struct {
	Namespace string        `json:"namespace"`
	Names     []Name        `json:"names"`
	Next      string        `json:"next,omitempty"` // After of the next page, "" = last
	Position  dsv.Position  `json:"-"`
	Lag       time.Duration `json:"-"`
}

// States of an operation.
const (
	Pending   = "pending"
	Committed = "committed"
	Rejected  = "rejected"
	Aborted   = "aborted"
	Expired   = "expired"
)

// Outcome is what became of an operation.
type Outcome struct {
	Operation string       `json:"operation"`
	State     string       `json:"state"`          // pending committed rejected aborted expired
	Code      dsv.Code     `json:"code,omitempty"` // why it was rejected or aborted
	Results   []Written    `json:"results,omitempty"`
	Position  dsv.Position `json:"-"`
}

// Token describes a token. Text is set only in the answer that made it.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Prefixes  []string   `json:"prefixes"`
	Verbs     []string   `json:"verbs"`
	Created   Time       `json:"created"`
	CreatedBy string     `json:"created_by"`
	Expires   Time       `json:"expires"`
	Text      dsv.Secret `json:"-"`
}
