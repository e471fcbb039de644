package carriers

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sallyport/verify/challenge/carrier"
)

const (
	maxName = 253
	// maxZone leaves room for a label with a part of a message, and its dot.
	maxZone = maxName - carrier.MaxLabel - 1
	// MaxServers is how many servers of a zone a client asks at most.
	MaxServers = 8
)

// ParseZone returns the name of a zone as carrier.ServerOf requires it.
func ParseZone(s string) (string, error) {
	zone := strings.ToLower(strings.TrimSuffix(s, "."))
	if len(zone) > maxZone || !isName(zone) {
		return "", fmt.Errorf("expected the name of a zone of at most %d characters, such as k.example.org, got %q", maxZone, s)
	}
	return zone, nil
}

// isName reports whether a name in lower case has only labels of letters, digits, - and _.
func isName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > carrier.MaxLabel || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// ParseServer returns host and port of a zone's server: a name or an address, and a port
// if it is not 53.
func ParseServer(s string) (host string, port uint16, err error) {
	host, text := strings.Trim(s, "[]"), "53"
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, text = h, p
	}
	n, err := strconv.ParseUint(text, 10, 16)
	_, notAddress := netip.ParseAddr(host)
	if err != nil || n == 0 || len(host) > maxName || notAddress != nil && !isName(strings.ToLower(strings.TrimSuffix(host, "."))) {
		return "", 0, fmt.Errorf("expected a name or an address, and a port if it is not 53, got %q", s)
	}
	return host, uint16(n), nil
}
