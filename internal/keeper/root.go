package keeper

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"

	"github.com/dsvault/dsv"
)

// Root is a node's root key in locked memory. It is safe for concurrent use;
// the zero Root refuses.
type Root struct {
	mu    sync.Mutex
	key   *buffer
	check Check
}

const deriveLabel = "dsv root 1 "

// Derive gives the 32-byte key of a label: HKDF-SHA256 of the root key without
// salt. The caller wipes it. It panics on a zero or wiped Root, as nothing may
// ever be sealed under a key that is none.
func (r *Root) Derive(label string) dsv.Secret {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.key == nil {
		panic("keeper: Derive without a root key")
	}
	key, err := hkdf.Key(sha256.New, r.key.b, nil, deriveLabel+label, keySize)
	if err != nil {
		panic("keeper: " + err.Error()) // 32 bytes can always be had
	}
	return dsv.SecretOf(key)
}

// Generation is that of the key, 0 for the zero Root. It survives Wipe.
func (r *Root) Generation() uint64 { return r.Check().Generation }

// Check is what to remember beside the directory. It survives Wipe.
func (r *Root) Check() Check {
	if r == nil {
		return Check{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.check
}

// Locked reports whether the key cannot be swapped out.
func (r *Root) Locked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.key != nil && r.key.locked
}

// Wipe overwrites the key. It may be called more than once.
func (r *Root) Wipe() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.key.free()
	r.key = nil
}

// Format prints a mask.
func (r *Root) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "[root key]") }
