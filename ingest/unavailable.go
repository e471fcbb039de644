package ingest

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"sallyport/ingest/udp"
	"sallyport/verify/schedule"
)

// UnavailablePorts returns which ports of the live minutes could not be opened
// now, and the reason for one of them. It opens them for a moment, each alone.
func UnavailablePorts(addresses []netip.Addr, draw func(schedule.Minute) ([][]uint16, error), live []schedule.Minute) (unavailable []netip.AddrPort, why error) {
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

// orAny returns the addresses, or the one that stands for all of the host's.
func orAny(addresses []netip.Addr) udp.Addresses {
	if len(addresses) == 0 {
		return udp.Addresses{udp.AnyAddress()}
	}
	return addresses
}
