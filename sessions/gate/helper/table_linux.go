package helper

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/firewall"
)

// Table is the firewall's table as a Firewall. A service's number is its
// port's place.
type Table struct {
	*firewall.Table
	Ports []firewall.Port
}

// Apply implements Firewall.
func (t Table) Apply(changes []Change) error {
	apply := make([]firewall.Change, len(changes))
	for i, c := range changes {
		apply[i] = firewall.Change{Port: int(c.Number), Address: c.Address, For: c.For}
		switch c.Kind {
		case Open:
			apply[i].Kind = firewall.Open
		case Knock:
			apply[i].Kind = firewall.Knock
		default:
			apply[i].Kind = firewall.Close
		}
	}
	return t.Table.Apply(apply)
}

// CloseAll implements Firewall. Nobody knocks any more, either.
func (t Table) CloseAll() error { return errors.Join(t.Table.CloseAll(), t.Table.Deaf()) }

// Disconnect implements Firewall: it has the kernel forget that there were
// connections, so that what comes needs a grant as new ones do.
func (t Table) Disconnect(service uint16, a netip.Addr) error {
	p := t.Ports[service]
	filter := new(netlink.ConntrackFilter)
	err := errors.Join(filter.AddProtocol(uint8(p.Protocol)), filter.AddPort(netlink.ConntrackOrigDstPort, p.Port))
	families := []netlink.InetFamily{unix.AF_INET, unix.AF_INET6}
	if a.IsValid() {
		bits := a.BitLen()
		families = families[:1]
		if a.Is6() {
			families[0] = unix.AF_INET6
			if !a.IsLinkLocalUnicast() {
				bits = p.Prefix6
			}
		}
		err = errors.Join(err, filter.AddIPNet(netlink.ConntrackOrigSrcIP, &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}))
	}
	if err != nil {
		return fmt.Errorf("name the connections to end: %w", err)
	}
	for _, family := range families {
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter); err != nil {
			return fmt.Errorf("end connections: %w", err)
		}
	}
	return nil
}
