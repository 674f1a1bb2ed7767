package keeper

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/dsvault/dsv"
)

// Paths and headers of the protocol, see the package comment.
const (
	pathShare  = "/v1/share"
	pathStatus = "/v1/status"

	headGeneration  = "Dsv-Generation"
	headClaimed     = "Dsv-Claimed"
	headClaim       = "Dsv-Claim"
	headIncarnation = "Dsv-Incarnation"
	headNode        = "Dsv-Node" // without TLS only

	maxHeader = 8 << 10
)

// claimID names one attempt to make a new root key.
type claimID [16]byte

func newClaimID() (c claimID) { _, _ = rand.Read(c[:]); return c }

func (c claimID) String() string { return hex.EncodeToString(c[:]) }

func parseID(s string) (id [16]byte, ok bool) {
	if len(s) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// parseGeneration reads a decimal number; "" and 0 are 0.
func parseGeneration(s string) (uint64, bool) {
	if s == "" {
		return 0, true
	}
	g, err := strconv.ParseUint(s, 10, 64)
	return g, err == nil
}

// Status is what a keeper tells a node about the node's share: the body of
// GET /v1/status.
type Status struct {
	Held        bool      `json:"held"`
	Generation  uint64    `json:"generation"` // of the share held, 0 = none
	Claimed     uint64    `json:"claimed"`    // generation a bootstrap has claimed, 0 = none
	Incarnation string    `json:"incarnation"`
	StartedAt   time.Time `json:"started_at"`
	Locked      bool      `json:"locked"` // the share cannot be swapped out
}

// answer is what a keeper said to a request about a share.
type answer struct {
	held        bool
	body        []byte // secret; only in answers that carry the share
	generation  uint64
	claimed     uint64
	incarnation dsv.Incarnation
}

// wipe overwrites the share in a.
func (a answer) wipe() { clear(a.body) }

// answerOf reads the headers of a response.
func answerOf(h http.Header) (answer, bool) {
	var a answer
	var ok1, ok2, ok3 bool
	a.generation, ok1 = parseGeneration(h.Get(headGeneration))
	a.claimed, ok2 = parseGeneration(h.Get(headClaimed))
	inc, ok3 := parseID(h.Get(headIncarnation))
	a.incarnation = inc
	a.held = a.generation > 0
	return a, ok1 && ok2 && ok3
}
