package client

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxAddresses is how many addresses of the server a profile may have.
const MaxAddresses = 8

// ParseAddresses parses the addresses of a server, for Profile.Addresses. The error is
// about the first text that cannot be one.
func ParseAddresses(server string, texts []string) ([]netip.Addr, error) {
	if len(texts) > MaxAddresses {
		return nil, fmt.Errorf("got %d addresses", len(texts))
	}
	var all []netip.Addr
	for i, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("got %q, which is not an address (entry %d)", text, i+1)
		}
		all = append(all, a.Unmap())
	}
	return all, checkAddresses(server, all)
}

func checkAddresses(server string, all []netip.Addr) error {
	if len(all) > MaxAddresses {
		return fmt.Errorf("got %d addresses", len(all))
	}
	for i, a := range all {
		fault := WhyNotServer(server, a)
		if slices.Contains(all[:i], a) {
			fault = "a second time"
		}
		if fault != "" {
			return fmt.Errorf("got %q, %s (entry %d)", a, fault, i+1)
		}
	}
	return nil
}

// WhyNotServer returns why a cannot be an address of a server; empty: it can. Profiles
// come from other hosts: a loopback address is one of the client's own host, unless the
// profile names that as the server.
func WhyNotServer(server string, a netip.Addr) string {
	switch {
	case !a.IsValid() || a != a.Unmap():
		return "which is not an address"
	case a.IsUnspecified():
		return "which is no host's address"
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "which is the address of several hosts"
	case a.IsLoopback() && !isLoopback(server):
		return "which is an address of the client's own host"
	case !ValidHost(a.String()):
		return "whose zone is not valid"
	}
	return ""
}

// isLoopback reports whether the name of a server is one of the client's own host
// (RFC 6761, section 6.3).
func isLoopback(server string) bool {
	if a, err := netip.ParseAddr(server); err == nil {
		return a.Unmap().IsLoopback()
	}
	name := strings.ToLower(strings.TrimSuffix(server, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
