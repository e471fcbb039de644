package nftcheck

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// packet is a packet of a protocol, to one of a range of ports. A zero field is
// not known.
type packet struct {
	protocol  byte // unix.IPPROTO_TCP or IPPROTO_UDP
	low, high int
	somewhere bool       // to one of the ports, and it is not known which
	family    byte       // unix.NFPROTO_IPV4 or NFPROTO_IPV6; 0: of either
	address   netip.Addr // the destination; invalid: not known
	local     bool       // to an address of this host
	elsewhere bool       // to an address of another host
	// stranger is the first packet of a connection from another host, which
	// nothing has translated.
	stranger bool
	// redirected: our table has changed the port of a stranger's packet.
	redirected bool
	untracked  bool        // our table exempts it from conntrack
	in         anInterface // on which it comes in
}

// anInterface is a network interface of this host; zero: not known.
type anInterface struct {
	name  string
	index uint32
}

func (p packet) protocolName() string {
	if p.protocol == unix.IPPROTO_UDP {
		return "udp"
	}
	return "tcp"
}

// ports are the ports to one of which the packet goes.
func (p packet) ports() ports { return ports{{p.low, p.high}} }

// seenBy returns the packet as a chain of a family sees it; ok is false if the
// chain does not see it.
func (p packet) seenBy(family byte) (_ packet, ok bool) {
	switch family {
	case unix.NFPROTO_INET, unix.NFPROTO_NETDEV:
	case unix.NFPROTO_IPV4, unix.NFPROTO_IPV6:
		if p.family != 0 && p.family != family {
			return p, false
		}
		p.family = family
	default:
		return p, false
	}
	return p, true
}
