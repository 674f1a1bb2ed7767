//go:build !linux

package keeper

import "errors"

func newBuffer(size int) *buffer { return &buffer{b: make([]byte, size)} }

func (m *buffer) free() {
	if m != nil {
		clear(m.b)
		m.b = nil
	}
}

// Harden is for Linux; here it says that nothing was done.
func Harden() error { return errors.New("keeper: memory is not protected on this system") }
