package ingest

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// UnavailablePorts returns the ports of the live minutes that cannot be opened
// now, and the error of one of them. It opens each port for a moment, exclusively.
func UnavailablePorts(
	addresses []netip.Addr, draw func(schedule.Minute) ([][]uint16, error), live []schedule.Minute,
) (unavailable []netip.AddrPort, why error) {
	places, err := placesOf(live, draw)
	if err != nil {
		return nil, err
	}
	at := orAny(addresses)
	for number := range places {
		for _, a := range at {
			at := netip.AddrPortFrom(a, number)
			fd, err := probe(at, udp.Addresses(addresses).V6Only())
			if err != nil {
				unavailable, why = append(unavailable, at), err
				continue
			}
			unix.Close(fd)
		}
	}
	slices.SortFunc(unavailable, netip.AddrPort.Compare)
	return unavailable, why
}

// orAny returns the addresses, or if there are none, the unspecified one that
// stands for all addresses of the host.
func orAny(addresses []netip.Addr) udp.Addresses {
	if len(addresses) == 0 {
		return udp.Addresses{udp.AnyAddress()}
	}
	return addresses
}
