package real

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// join connects a host that has an address in each lane with the relay's namespace,
// in which the thread must be.
func join(h *netns.Host, here, there string, hereAddress netip.Addr, address func(lane int) netip.Addr) (*port, error) {
	const prefix = "/24"
	end := netns.End{Name: there}
	for lane := range lanes {
		end.Addresses = append(end.Addresses, address(lane).String()+prefix)
	}
	pair, err := netns.Join(netns.End{Name: here, Addresses: []string{hereAddress.String() + prefix}}, h, end)
	if err != nil {
		return nil, err
	}
	ours, err := net.InterfaceByIndex(pair.Attrs().Index)
	if err != nil {
		return nil, fmt.Errorf("find the interface %s: %w", here, err)
	}
	var theirs net.HardwareAddr
	err = h.Do(func() error {
		link, err := netlink.LinkByName(there)
		if err != nil {
			return fmt.Errorf("find the interface %s: %w", there, err)
		}
		theirs = link.Attrs().HardwareAddr
		return netns.PlainLink(there)
	})
	if err != nil {
		return nil, err
	}
	if err := netns.PlainLink(here); err != nil {
		return nil, err
	}
	return openPort(ours.Index, ours.HardwareAddr, theirs)
}

// routeLanes routes each address of the server from the client's address of its lane.
func routeLanes() error {
	for lane := range lanes {
		if err := route(serverAddress(lane), 32, nearAddress, clientAddress(lane)); err != nil {
			return err
		}
	}
	return nil
}

func route(to netip.Addr, bits int, by, from netip.Addr) error {
	r := &netlink.Route{
		Dst: &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(bits, 32)}, Gw: by.AsSlice(),
	}
	if bits < 32 {
		r.Dst.IP = r.Dst.IP.Mask(r.Dst.Mask)
	}
	if from.IsValid() {
		r.Src = from.AsSlice()
	}
	if err := netlink.RouteAdd(r); err != nil {
		return fmt.Errorf("add a route to %s: %w", to, err)
	}
	return nil
}

// sysctl sets a sysctl of the thread's network namespace.
func sysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", key, value, err)
	}
	return nil
}
