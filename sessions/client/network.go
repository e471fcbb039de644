package client

import "net/netip"

// The addresses that a carrier gives to computers behind its NAT: of RFC 6598, and of RFC
// 7335 for those that have IPv6 only.
var (
	sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
	ipv4Service = netip.MustParsePrefix("192.0.0.0/29")
)

// translator is the prefix of RFC 6052 for the addresses of IPv4 hosts in networks that have
// IPv6 only.
var translator = netip.MustParsePrefix("64:ff9b::/96")

// translated returns the address of a server as it has it itself: in networks with a NAT64,
// the resolver gives an IPv6 address of a server that has IPv4 only.
func translated(server netip.Addr) netip.Addr {
	if !translator.Contains(server) {
		return server
	}
	b := server.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

// nat is what the address of this computer shows about a NAT on the way to the server.
type nat uint8

const (
	natUnknown nat = iota // there may be one
	natNone               // there is none, unless the server is behind one
	natPresent
	natOfCarrier // it may send the packets of one computer from several addresses
)

// natTo returns what a local address shows. A VPN may use the same ranges: then the
// server has an address of it too, and there is no NAT.
func natTo(local, server netip.Addr) nat {
	local, server = local.Unmap(), server.Unmap()
	switch {
	case !local.IsValid() || local.Is4() != server.Is4():
		return natUnknown
	case !local.Is4(), local.IsLoopback(), private(server):
		return natNone
	case sharedSpace.Contains(local), ipv4Service.Contains(local):
		return natOfCarrier
	case local.IsPrivate():
		return natPresent
	}
	return natNone
}

func private(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a)
}
