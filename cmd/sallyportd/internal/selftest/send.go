package selftest

import (
	"fmt"
	"net"
	"net/netip"

	"sallyport/ingest/udp"
	"sallyport/sessions/client"
)

// Targets returns the addresses of a server that a test can reach without leaving the
// host. listen are those at which the server receives; none: all. The unspecified address
// stands for that of the loopback: of IPv4, if the server receives that.
func Targets(listen []netip.Addr) (to []netip.Addr) {
	as := udp.Addresses(listen)
	if len(as) == 0 {
		as = udp.Addresses{netip.IPv6Unspecified()}
	}
	for _, a := range as {
		switch {
		case !a.IsUnspecified():
		case a.Is4() || !as.V6Only():
			a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		default:
			a = netip.IPv6Loopback()
		}
		to = append(to, a)
	}
	return to
}

// Send sends knocks to an address of this host, from the same address. So the kernel never
// sends them to a network: without the address, the socket cannot be bound.
func Send(packets []client.Packet, to netip.Addr) error {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 0)))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, p := range packets {
		if _, err := conn.WriteToUDPAddrPort(p.Datagram, netip.AddrPortFrom(to, p.Port)); err != nil {
			return fmt.Errorf("send a knock to %s: %w", to, err)
		}
	}
	return nil
}
