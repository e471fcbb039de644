package access

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"sallyport/verify/wire"
)

// The lengths of a prefix that a lease may admit.
const (
	// PrefixMin4 to PrefixHost4 are those of IPv4. A carrier may translate the packets
	// of one client to several addresses of a prefix.
	PrefixMin4, PrefixHost4 = 16, 32
	// PrefixHost admits one address of IPv6.
	PrefixHost = 128
	// PrefixNetwork admits a network of 64 bits: hosts change the rest of their
	// addresses for privacy (RFC 8981).
	PrefixNetwork = 64
)

// Peer is the address or network that a lease admits. Peers are comparable:
// each has one form.
type Peer struct {
	Prefix netip.Prefix
	// Zone is the link of a link-local address, as the decimal index of its
	// interface. A Prefix cannot contain it.
	Zone string
	// ISN is the initial sequence number with which each connection from there must
	// begin; zero: with any. Only the firewall compares it. So two attempts from one
	// address are two peers.
	ISN wire.ISN
	// Port is the drawn port that the lease opens, of a service whose port rotates;
	// zero: the service's own port. So two minutes of one address are two peers.
	Port uint16
}

// Anyone4 and Anyone6 admit every address of their family. A service that is
// open to anyone has both.
var (
	Anyone4 = Peer{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	Anyone6 = Peer{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
)

// AnyAddress is the peer of a lease that admits every address: one of an exchange that is
// for a connection, and not for an address. No enforcer gets it: see Admitted. It is not
// valid, so that an enforcer that gets it all the same admits nothing.
var AnyAddress = Peer{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Zone: "any"}

// Admitted returns the peers that enforcers admit for a lease of the peer: those of both
// families for AnyAddress, and otherwise the peer itself.
func (p Peer) Admitted() []Peer {
	if p == AnyAddress {
		return []Peer{Anyone4, Anyone6}
	}
	return []Peer{p}
}

// PeerOf is PeerIn for one address of IPv4.
func PeerOf(a netip.Addr, prefixLen6 int) Peer { return PeerIn(a, PrefixHost4, prefixLen6) }

// PeerIn returns the peer that a lease of an address admits. For an IPv4 address,
// mapped or not, prefixLen4 bits are significant, PrefixMin4 to PrefixHost4 (0:
// PrefixHost4); for IPv6, prefixLen6 bits, PrefixHost or PrefixNetwork. Link-local
// addresses are significant as a whole, with their link: their first half is the same
// on every link. The address must have its zone as a number (see Numbered). For an
// invalid address, or another length, the result is the zero Peer, which admits
// no address.
func PeerIn(a netip.Addr, prefixLen4, prefixLen6 int) Peer {
	a, prefixLen4 = a.Unmap(), cmp.Or(prefixLen4, PrefixHost4)
	switch {
	case !a.IsValid() || prefixLen6 != PrefixHost && prefixLen6 != PrefixNetwork ||
		prefixLen4 < PrefixMin4 || prefixLen4 > PrefixHost4:
		return Peer{}
	case a.Is6() && a.IsLinkLocalUnicast():
		return Peer{Prefix: netip.PrefixFrom(a.WithZone(""), PrefixHost), Zone: a.Zone()}
	case a.Is6():
		return Peer{Prefix: netip.PrefixFrom(a.WithZone(""), prefixLen6).Masked()}
	}
	return Peer{Prefix: netip.PrefixFrom(a, prefixLen4).Masked()}
}

// Lengths returns the lengths with which PeerIn returns the peer for each of its
// addresses. The one of the other family is that of one address.
func (p Peer) Lengths() (prefixLen4, prefixLen6 int) {
	if p.Prefix.Addr().Is4() {
		return p.Prefix.Bits(), PrefixHost
	}
	return PrefixHost4, p.Prefix.Bits()
}

// Has reports whether an address belongs to the peer.
func (p Peer) Has(a netip.Addr) bool {
	a = a.Unmap()
	if p == AnyAddress {
		return a.IsValid()
	}
	return p.Prefix.Contains(a.WithZone("")) && (p.Zone == a.Zone() || p.IsAnyone() || !a.IsLinkLocalUnicast())
}

// AnyISN returns the peer without a sequence number: connections of both are from
// the same addresses.
func (p Peer) AnyISN() Peer {
	p.ISN = 0
	return p
}

// AnyPort returns the peer without a drawn port: connections of both are from the
// same addresses.
func (p Peer) AnyPort() Peer {
	p.Port = 0
	return p
}

// Source returns the peer without a sequence number and a drawn port: the addresses
// from which its connections are.
func (p Peer) Source() Peer { return p.AnyISN().AnyPort() }

// IsValid reports whether PeerOf could have returned the peer, or it is Anyone4
// or Anyone6. Only the peer of one address has a sequence number, and only one that
// is not anyone has a drawn port.
func (p Peer) IsValid() bool {
	if p.ISN != 0 && p.Prefix.IsSingleIP() {
		p.ISN = 0
	}
	if p.Port != 0 && p.Prefix.Bits() > 0 {
		p.Port = 0
	}
	if p.IsAnyone() {
		return true
	}
	prefixLen4, prefixLen6 := p.Lengths()
	return p.Prefix.IsValid() && p == PeerIn(p.Prefix.Addr().WithZone(p.Zone), prefixLen4, prefixLen6)
}

// IsAnyone reports whether the peer is every address of a family.
func (p Peer) IsAnyone() bool { return p == Anyone4 || p == Anyone6 }

// anyAddress is the text of AnyAddress.
const anyAddress = "any address"

// AddressText returns an address as the log and lists show it, and the text of AnyAddress
// for the zero Addr.
func AddressText(a netip.Addr) string {
	if !a.IsValid() {
		return anyAddress
	}
	return a.String()
}

// String returns the prefix, with the zone if there is one. It omits the sequence
// number, which is secret.
func (p Peer) String() string {
	if p == AnyAddress {
		return anyAddress
	}
	if p.Zone != "" {
		return fmt.Sprintf("%s%%%s", p.Prefix, p.Zone)
	}
	return p.Prefix.String()
}

// Numbered returns a remote address in the form of grants: an IPv4-mapped one
// as IPv4, the zone of a link-local one as the index of the interface.
func Numbered(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Zone() == "" {
		return a
	}
	i, err := net.InterfaceByName(a.Zone())
	if err != nil {
		return a // the interface has no name: it is the index already
	}
	return a.WithZone(strconv.Itoa(i.Index))
}
