package helper

import (
	"errors"
	"fmt"
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

// looks is how often the table of connections is read, if it changes meanwhile
// so that something may have been missed.
const looks = 3

// Disconnect implements Firewall: it has the kernel forget that there were
// connections, so that what comes needs a grant as new ones do.
func (t Table) Disconnect(changes []Change) error {
	gone := forgotten{table: t, of: map[Change]bool{}}
	families := map[netlink.InetFamily]bool{}
	for _, c := range changes {
		gone.of[gone.client(int(c.Number), c.Address)] = true
		families[unix.AF_INET] = families[unix.AF_INET] || !c.Address.Is6()
		families[unix.AF_INET6] = families[unix.AF_INET6] || !c.Address.Is4()
	}
	for family, any := range families {
		if !any {
			continue
		}
		var err error
		for range looks {
			if _, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, gone); !errors.Is(err, netlink.ErrDumpInterrupted) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("end connections: %w", err)
		}
	}
	return nil
}

// forgotten are connections to end, by their services and clients.
type forgotten struct {
	table Table
	of    map[Change]bool
}

// client is what stands for an address, or for everyone, at a service.
func (f forgotten) client(service int, a netip.Addr) Change {
	if bits := f.table.Ports[service].Prefix6; a.Is6() && !a.IsLinkLocalUnicast() {
		if p, err := a.Prefix(bits); err == nil {
			a = p.Addr()
		}
	}
	return Change{Number: uint16(service), Address: a}
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f forgotten) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to := flow.Forward
	source, _ := netip.AddrFromSlice(to.SrcIP)
	for i, p := range f.table.Ports {
		if uint8(p.Protocol) == to.Protocol && p.Port == to.DstPort {
			return f.of[f.client(i, source.Unmap())] || f.of[f.client(i, netip.Addr{})]
		}
	}
	return false
}
