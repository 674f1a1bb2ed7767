package keeper

import (
	"fmt"
	"io"
)

// buffer is memory for key material: never moved, wiped by free, masked when
// printed. Its owner keeps free and every use apart.
type buffer struct {
	b      []byte // nil after free
	mapped bool
	locked bool // cannot be swapped out
}

// Format prints a mask.
func (*buffer) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "[locked memory]") }
