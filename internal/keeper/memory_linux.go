package keeper

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// newBuffer maps size bytes of its own pages, kept out of core files and, if
// the system lets us, out of swap.
func newBuffer(size int) *buffer {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return &buffer{b: make([]byte, size)}
	}
	_ = unix.Madvise(b, unix.MADV_DONTDUMP) // an old kernel; Harden stands before it
	return &buffer{b: b, mapped: true, locked: unix.Mlock(b) == nil}
}

func (m *buffer) free() {
	if m == nil || m.b == nil {
		return
	}
	clear(m.b)
	if m.mapped {
		if m.locked {
			_ = unix.Munlock(m.b)
		}
		_ = unix.Munmap(m.b)
	}
	m.b = nil
}

// Harden makes this process leave no core file and lets no other process of
// its user read its memory. Call it once at the start of a node or keeper; an
// error says what could not be done and is worth a warning, no more.
func Harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("keeper: core files stay possible: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keeper: memory stays readable to the same user: %w", err)
	}
	return nil
}
