//go:build unix

package peer

import (
	"errors"
	"net"
	"syscall"
)

// tryWriter writes to a socket, which is non-blocking here, past the runtime's
// waiting for it.
func tryWriter(c net.Conn) func([]byte) (int, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func(b []byte) (n int, err error) {
		cerr := rc.Write(func(fd uintptr) bool {
			n, err = syscall.Write(int(fd), b)
			return true // done, whatever came of it
		})
		n = max(n, 0)
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
			err = nil
		}
		return n, errors.Join(err, cerr)
	}
}
