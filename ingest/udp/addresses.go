package udp

import (
	"net/netip"
	"slices"
)

// Addresses are addresses of this host on which datagrams are received; none
// means all that it has. The unspecified IPv6 address takes IPv4 too, unless an
// IPv4 address stands beside it. The methods make no system call.
type Addresses []netip.Addr

// V6Only reports whether a socket at the unspecified IPv6 address must not take
// IPv4 (IPV6_V6ONLY).
func (as Addresses) V6Only() bool { return slices.ContainsFunc(as, netip.Addr.Is4) }

// Families returns whether IPv4 datagrams, and IPv6 ones, are received.
func (as Addresses) Families() (v4, v6 bool) {
	v6 = len(as) == 0 || slices.ContainsFunc(as, netip.Addr.Is6)
	return as.takesAll4() || as.V6Only(), v6
}

// Has reports whether a datagram to an address is received, if the host has
// that address. Zones do not count.
func (as Addresses) Has(a netip.Addr) bool {
	if a = a.Unmap().WithZone(""); a.Is4() && as.takesAll4() {
		return true
	}
	return len(as) == 0 || slices.ContainsFunc(as, func(own netip.Addr) bool {
		return own.WithZone("") == a || own.IsUnspecified() && own.Is4() == a.Is4()
	})
}

// takesAll4 reports whether the unspecified IPv6 address stands for IPv4 too.
func (as Addresses) takesAll4() bool {
	return len(as) == 0 || !as.V6Only() && slices.Contains(as, netip.IPv6Unspecified())
}
