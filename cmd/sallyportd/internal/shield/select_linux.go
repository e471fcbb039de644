package shield

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"sallyport/ingest/udp"
	"sallyport/ingest/xdp"
)

// host is what the kernel has now.
type host struct {
	links     []link
	addresses []address
}

// link is an interface.
type link struct {
	index    int
	name     string
	mac      [6]byte
	ethernet bool
	loopback bool
	port     bool // of a bridge or a bond
	program  bool // it has an XDP program
}

// address is an address of this host.
type address struct {
	ip    netip.Addr
	index int // of its interface
}

// readHost asks the kernel.
func readHost() (h host, err error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return h, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		of := link{
			index: a.Index, name: a.Name, port: a.MasterIndex != 0,
			ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6,
			loopback: a.EncapType == "loopback",
			program:  a.Xdp != nil && a.Xdp.Attached,
		}
		copy(of.mac[:], a.HardwareAddr)
		h.links = append(h.links, of)
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return h, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			h.addresses = append(h.addresses, address{ip.Unmap(), a.LinkIndex})
		}
	}
	slices.SortFunc(h.addresses, func(a, b address) int { return cmp.Or(a.ip.Compare(b.ip), a.index-b.index) })
	return h, nil
}

// selected returns the interfaces that get the program: the named ones, or else those
// with an address at which the server receives. why has those that cannot have it.
func (h host) selected(names []string, listen []netip.Addr) (chosen []link, why map[string]string) {
	why = map[string]string{}
	for _, l := range h.links {
		switch {
		case len(names) > 0 && !slices.Contains(names, l.name):
		case len(names) == 0 && (l.loopback || l.port || !h.has(l.index, listen)):
		case !l.ethernet:
			why[l.name] = "it has no Ethernet header"
		default:
			chosen = append(chosen, l)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(h.links, func(l link) bool { return l.name == name }) {
			why[name] = "there is no such interface"
		}
	}
	return chosen, why
}

// has reports whether an interface has one of the addresses; or any, if the list is
// empty.
func (h host) has(index int, listen []netip.Addr) bool {
	return slices.ContainsFunc(h.addresses, func(a address) bool { return a.index == index && receives(listen, a.ip) })
}

func receives(listen []netip.Addr, ip netip.Addr) bool { return udp.Addresses(listen).Has(ip) }

// pairs returns the own addresses at which the server receives, each with the hardware
// addresses of the interfaces that have the program, and of the interface that has it.
func (h host) pairs(attached []link, listen []netip.Addr) (list []xdp.Address) {
	for _, a := range h.addresses {
		if !receives(listen, a.ip) {
			continue
		}
		add := func(mac [6]byte) {
			if p := (xdp.Address{IP: a.ip, MAC: mac}); !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
		for _, l := range attached {
			add(l.mac)
		}
		for _, l := range h.links {
			if l.index == a.index && l.ethernet {
				add(l.mac)
			}
		}
	}
	return list
}
