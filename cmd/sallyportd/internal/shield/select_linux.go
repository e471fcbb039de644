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
	kind     string // of package netlink, such as "bridge"
	mac      [6]byte
	ethernet bool
	loopback bool
	master   int  // the bridge, the bond or the VRF that it belongs to; 0: none
	program  bool // it has an XDP program
}

// address is an address of this host.
type address struct {
	ip    netip.Addr
	index int // of its interface
}

// readHost asks the kernel.
func readHost() (h host, err error) {
	links, err := complete(netlink.LinkList)
	if err != nil {
		return h, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		of := link{
			index: a.Index, name: a.Name, kind: l.Type(), master: a.MasterIndex,
			ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6,
			loopback: a.EncapType == "loopback",
			program:  a.Xdp != nil && a.Xdp.Attached,
		}
		copy(of.mac[:], a.HardwareAddr)
		h.links = append(h.links, of)
	}
	addresses, err := complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
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

// complete repeats a list that the kernel has interrupted, because a change came between
// its parts: an interface or an address can miss in it.
func complete[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// selected returns the interfaces that get the program: the named ones, or else those
// at which the server's datagrams arrive. why has those that cannot have it.
func (h host) selected(names []string, listen []netip.Addr) (chosen []link, why map[string]string) {
	why = map[string]string{}
	for _, l := range h.links {
		switch {
		case len(names) > 0 && !slices.Contains(names, l.name):
		case len(names) == 0 && (!h.receivesFrames(l) || !h.serves(l, listen)):
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

// keeps reports whether an interface that has the program keeps it, although it has none
// of the addresses now. Many drivers interrupt the link while they detach the program; then
// a DHCP client removes the address, and soon sets it again.
func (h host) keeps(names []string, l link) bool {
	return len(names) == 0 && h.receivesFrames(l) && !h.inner(l)
}

// receivesFrames reports whether frames for this host arrive at an interface. At a dummy,
// which only has addresses, none do.
func (h host) receivesFrames(l link) bool { return !l.loopback && l.kind != "dummy" && !h.port(l) }

// port reports whether an interface is a port of a bridge or a bond, where the frames for
// this host arrive. In a VRF, they arrive at the interface itself.
func (h host) port(l link) bool {
	return l.master != 0 && !slices.ContainsFunc(h.links, func(master link) bool {
		return master.index == l.master && master.kind == "vrf"
	})
}

// serves reports whether an interface has an address of the list; or, if the list has
// the unspecified address or is empty, one that other hosts can reach through it.
// The kernel gives each interface a link-local address, also the ends of a container.
func (h host) serves(l link, listen []netip.Addr) bool {
	return slices.ContainsFunc(h.addresses, func(a address) bool {
		return a.index == l.index &&
			(slices.Contains(listen, a.ip) || receives(listen, a.ip) && !a.ip.IsLinkLocalUnicast() && !h.inner(l))
	})
}

// inner reports whether only containers and virtual machines of this host are at an
// interface: at a bridge without another port. The program would copy their packets.
func (h host) inner(l link) bool {
	return l.kind == "bridge" && !slices.ContainsFunc(h.links, func(port link) bool {
		return port.master == l.index && port.kind != "veth" && port.kind != "tuntap"
	})
}

func receives(listen []netip.Addr, ip netip.Addr) bool { return udp.Addresses(listen).Has(ip) }

// pairs returns the own addresses at which the server receives, each with the hardware
// addresses of the interfaces that have the program, and of the interface that has it.
// The addresses of the former come first, and those of dummies last: if not all fit into
// the program, a dummy for the services of a cluster (kube-ipvs0) has thousands.
func (h host) pairs(attached []link, listen []netip.Addr) (list []xdp.Address) {
	links, rank := map[int]link{}, map[int]int{}
	for _, l := range h.links {
		links[l.index] = l
		if l.kind == "dummy" {
			rank[l.index] = 1
		}
	}
	for _, l := range attached {
		rank[l.index] = -1
	}
	ordered := slices.Clone(h.addresses)
	slices.SortStableFunc(ordered, func(a, b address) int { return rank[a.index] - rank[b.index] })
	there := map[xdp.Address]bool{}
	for _, a := range ordered {
		if !receives(listen, a.ip) {
			continue
		}
		add := func(mac [6]byte) {
			if p := (xdp.Address{IP: a.ip, MAC: mac}); !there[p] {
				there[p] = true
				list = append(list, p)
			}
		}
		for _, l := range attached {
			add(l.mac)
		}
		if l := links[a.index]; l.ethernet && l.kind != "dummy" {
			add(l.mac)
		}
	}
	return list
}
