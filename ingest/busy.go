package ingest

import (
	"net/netip"
	"slices"

	"sallyport/verify/schedule"
)

// Busy returns which ports of the live minutes could not be opened now, and
// the reason for one of them. It opens them for a moment, alone.
func Busy(addresses []netip.Addr, draw func(schedule.Minute) ([][]uint16, error), live []schedule.Minute) (busy []netip.AddrPort, why error) {
	wanted, err := wantedPorts(live, draw)
	if err != nil {
		return nil, err
	}
	if len(addresses) == 0 {
		addresses = anyAddress()
	}
	v6only := slices.ContainsFunc(addresses, netip.Addr.Is4)
	for number := range wanted {
		for _, a := range addresses {
			at := netip.AddrPortFrom(a, number)
			fd, err := openSocket(at, v6only, alone, shut)
			if err != nil {
				busy, why = append(busy, at), err
				continue
			}
			closeSockets([]*socket{{fd: fd}})
		}
	}
	slices.SortFunc(busy, netip.AddrPort.Compare)
	return busy, why
}
