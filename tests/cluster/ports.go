package cluster

import (
	"errors"
	"math/rand/v2"
	"net"
)

// Ports are taken below the range from which the kernel gives outgoing
// connections theirs (32768 on, by default): a port that was free when it was
// chosen, or whose node is down for a while, would be lost to one of them.
const (
	firstPort  = 10000
	firstBlock = 28000 // above the single ports, so that they never meet
	lastPort   = 32700
)

// freePorts are n ports of loopback that nobody listens on now.
func freePorts(n int) ([]int, error) {
	out := make([]int, 0, n)
	seen := map[int]bool{}
	for range 100 * n {
		p := firstPort + rand.IntN(firstBlock-firstPort)
		if seen[p] || !free(p) {
			continue
		}
		seen[p] = true
		if out = append(out, p); len(out) == n {
			return out, nil
		}
	}
	return nil, errors.New("no free ports")
}

// freeBlock is the first of n ports in a row that nobody listens on now.
func freeBlock(n int) (int, error) {
	for range 100 {
		base := (firstBlock + rand.IntN(lastPort-firstBlock-n)) / 10 * 10
		ok := true
		for p := base; ok && p < base+n; p++ {
			ok = free(p)
		}
		if ok {
			return base, nil
		}
	}
	return 0, errors.New("no block of free ports")
}

// free reports whether one can listen on a port, on every address, by TCP and
// by UDP.
func free(port int) bool {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err != nil {
		return false
	}
	u, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err == nil {
		err = u.Close()
	}
	return l.Close() == nil && err == nil
}
