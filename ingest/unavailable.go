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
	places, err := placesOf(live, draw, nil)
	if err != nil {
		return nil, err
	}
	on := udp.Addresses(addresses).OnHost()
	for number := range places {
		for _, a := range on {
			at := netip.AddrPortFrom(a, number)
			fd, err := probe(at, on.V6Only())
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
