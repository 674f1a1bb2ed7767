package node

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

func between[T int | time.Duration](f *Faults, path string, v, low, high T) {
	if v < low || v > high {
		f.Add(path, "%v must be %v to %v", v, low, high)
	}
}

func oneOf(f *Faults, path, v string, words ...string) {
	for _, w := range words {
		if v == w {
			return
		}
	}
	f.Add(path, "%q must be one of %s", v, strings.Join(words, ", "))
}

func checkTelemetry(f *Faults, t TelemetryConfig) {
	oneOf(f, "telemetry.log_level", t.LogLevel, "debug", "info", "warn", "error")
	oneOf(f, "telemetry.log_format", t.LogFormat, "json", "text")
}

func required(f *Faults, path, v string) {
	if v == "" {
		f.Add(path, "is missing")
	}
}

func checkFiles(f *Faults, path string, x Files) {
	required(f, path+".ca", x.CA)
	required(f, path+".cert", x.Cert)
	required(f, path+".key", x.Key)
}

// checkName holds v to 1 to limit characters of [a-z0-9-].
func checkName(f *Faults, path, v string, limit int) {
	switch {
	case v == "":
		f.Add(path, "is missing")
	case len(v) > limit:
		f.Add(path, "has %d characters: at most %d", len(v), limit)
	case strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		f.Add(path, "%q has a character outside [a-z0-9-]", v)
	}
}

// checkDial holds v to an address that others can dial: host:port with both.
// With seen, no two may be equal.
func checkDial(f *Faults, path, v string, seen map[string]string) {
	host, port, err := net.SplitHostPort(v)
	ip, ipErr := netip.ParseAddr(host)
	switch {
	case v == "":
		f.Add(path, "is missing: use host:port")
	case err != nil || host == "" || !IsHost(host):
		f.Add(path, "%q must be host:port", v)
	case !goodPort(port):
		f.Add(path, "%q must have a port of 1 to 65535", v)
	case ipErr == nil && ip.IsUnspecified():
		f.Add(path, "%q is every interface: give an address that others can dial", v)
	case seen[v] != "":
		f.Add(path, "%q is also %s: addresses must differ", v, seen[v])
	case seen != nil:
		seen[v] = path
	}
}

// checkListen holds v to an address to listen on: an empty host is every
// interface.
func checkListen(f *Faults, path, v string) {
	host, port, err := net.SplitHostPort(v)
	switch {
	case v == "":
		f.Add(path, "is missing: use :port or address:port")
	case err != nil || host != "" && !IsHost(host):
		f.Add(path, "%q must be :port or address:port", v)
	case !goodPort(port):
		f.Add(path, "%q must have a port of 1 to 65535", v)
	}
}

// overlap reports whether two listeners meet: one port, and one host or one
// of them every interface.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	every := func(h string) bool { return h == "" || h == "0.0.0.0" || h == "::" }
	return errA == nil && errB == nil && portA == portB && (hostA == hostB || every(hostA) || every(hostB))
}

func loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// IsHost reports whether h is a DNS name or an IP address.
func IsHost(h string) bool {
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	if len(h) > 253 {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		ok := label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		if !ok || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func goodPort(p string) bool {
	n, err := strconv.Atoi(p)
	return err == nil && n >= 1 && n <= 65535 && strconv.Itoa(n) == p
}
