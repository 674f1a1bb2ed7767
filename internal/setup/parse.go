package setup

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/node"
)

// ParseNodes reads the form of `dsvctl init --nodes`: ID=HOST or
// ID=HOST:PORT, separated by commas; PORT is the API's and the next two are
// those between nodes and of gossip.
func ParseNodes(s string) ([]Node, error) {
	var out []Node
	err := parseList("nodes", s, func(id, host string, port int) {
		n := Node{ID: dsv.NodeID(id), Host: host, Ports: Ports{API: port}}
		out = append(out, n)
	})
	return out, err
}

// ParseKeepers reads the form of `dsvctl init --keepers`: ID=HOST or
// ID=HOST:PORT, separated by commas.
func ParseKeepers(s string) ([]Keeper, error) {
	var out []Keeper
	err := parseList("keepers", s, func(id, host string, port int) {
		out = append(out, Keeper{ID: dsv.NodeID(id), Host: host, Port: port})
	})
	return out, err
}

// ParseQuorum reads the form of `dsvctl init --quorum`: N,K,W. "" is no quorum,
// which Check fills in or refuses.
func ParseQuorum(s string) (node.QuorumConfig, error) {
	parts := strings.Split(s, ",")
	var n [3]int
	for i := range n {
		var err error
		if len(parts) == len(n) {
			n[i], err = strconv.Atoi(strings.TrimSpace(parts[i]))
		}
		if s != "" && (err != nil || len(parts) != len(n)) {
			return node.QuorumConfig{}, dsv.Invalid("--quorum", "must be N,K,W, like 5,3,4")
		}
	}
	return node.QuorumConfig{N: n[0], K: n[1], W: n[2]}, nil
}

func parseList(flag, s string, add func(id, host string, port int)) error {
	f := &node.Faults{}
	for i, item := range strings.Split(s, ",") {
		at := fmt.Sprintf("%s[%d]", flag, i)
		id, host, ok := strings.Cut(strings.TrimSpace(item), "=")
		port := 0
		if h, p, err := net.SplitHostPort(host); err == nil {
			n, err := strconv.Atoi(p)
			ok = ok && err == nil && n > 0
			host, port = h, n
		}
		if !ok || id == "" || host == "" {
			f.Add(at, "%q must be ID=HOST or ID=HOST:PORT", item)
			continue
		}
		add(id, strings.Trim(host, "[]"), port)
	}
	return f.Err("--"+flag, "")
}
