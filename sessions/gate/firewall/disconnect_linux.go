package firewall

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// looks is how often the table of connections is read, if it changes meanwhile
// so that something may have been missed.
const looks = 3

// Disconnect ends what is connected from the peers of changes to their services:
// the kernel forgets that there were connections, so that what comes needs a
// grant as new ones do. It may take seconds, and run beside Apply.
func (t *Table) Disconnect(changes []access.Change) error {
	gone := forgotten{ports: t.cfg.Ports, of: map[access.ServiceID]*access.Set{}}
	families := map[netlink.InetFamily]bool{}
	for _, c := range changes {
		gone.add(c)
		if c.Peer.Prefix.Addr().Is4() {
			families[unix.AF_INET] = true
		} else {
			families[unix.AF_INET6] = true
		}
	}
	for family := range families {
		if err := forget(family, gone); err != nil {
			return err
		}
	}
	return nil
}

// forgotten are connections to end, by their services and peers.
type forgotten struct {
	ports []Port
	of    map[access.ServiceID]*access.Set
}

func (f forgotten) add(c access.Change) {
	if f.of[c.Service] == nil {
		f.of[c.Service] = new(access.Set)
	}
	f.of[c.Service].Add(access.Peer{Prefix: c.Peer.Prefix}) // as packets have it
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f forgotten) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to := flow.Forward
	source, _ := netip.AddrFromSlice(to.SrcIP)
	for _, p := range f.ports {
		if uint8(p.Protocol) == to.Protocol && p.Port == to.DstPort {
			gone := f.of[p.Service]
			return gone != nil && gone.Has(source)
		}
	}
	return false
}
