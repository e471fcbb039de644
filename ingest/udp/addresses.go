package udp

import (
	"net/netip"
	"slices"
)

// Addresses are the addresses of this host on which datagrams are received; an
// empty list means all. The unspecified IPv6 address also receives IPv4, unless
// the list has an IPv4 address. The methods make no system call.
type Addresses []netip.Addr

// V6Only reports whether a socket at the unspecified IPv6 address must not
// receive IPv4 (IPV6_V6ONLY).
func (as Addresses) V6Only() bool { return slices.ContainsFunc(as, netip.Addr.Is4) }

// Families reports whether IPv4 and IPv6 datagrams are received.
func (as Addresses) Families() (v4, v6 bool) {
	v6 = len(as) == 0 || slices.ContainsFunc(as, netip.Addr.Is6)
	return as.coversIPv4() || as.V6Only(), v6
}

// Has reports whether a datagram to an address is received, provided that the
// host has that address. It ignores zones.
func (as Addresses) Has(a netip.Addr) bool {
	if a = a.Unmap().WithZone(""); a.Is4() && as.coversIPv4() {
		return true
	}
	return len(as) == 0 || slices.ContainsFunc(as, func(own netip.Addr) bool {
		return own.WithZone("") == a || own.IsUnspecified() && own.Is4() == a.Is4()
	})
}

// on returns the addresses on which a host can receive, with or without IPv6. An
// empty list becomes the unspecified address. Without IPv6, the unspecified IPv6
// address becomes that of IPv4; other IPv6 addresses stay.
func (as Addresses) on(six bool) Addresses {
	if len(as) == 0 {
		as = Addresses{netip.IPv6Unspecified()}
	}
	if six {
		return as
	}
	var all Addresses
	for _, a := range as {
		if a == netip.IPv6Unspecified() {
			if as.V6Only() {
				continue // the list has its own IPv4 addresses
			}
			a = netip.IPv4Unspecified()
		}
		all = append(all, a)
	}
	return all
}

// coversIPv4 reports whether the unspecified IPv6 address stands for IPv4 too.
func (as Addresses) coversIPv4() bool {
	return len(as) == 0 || !as.V6Only() && slices.Contains(as, netip.IPv6Unspecified())
}
