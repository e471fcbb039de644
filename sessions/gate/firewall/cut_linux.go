package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// cut ends connections to guarded ports that no grant has let in, and says how
// many there were: they were made while the table was not there.
//
// The rules alone keep them out: only what a grant has let in has the label by
// which a connection lives on. So a connection of TCP is forgotten, and its next
// packet needs a grant as a new one does, from whichever end it comes. A flow of
// UDP stays tracked: the kernel remembers in that way who began it; forgotten,
// it would be taken for the host's own as soon as the host sends. Where the
// kernel has no labels, both are forgotten, and so are connections whose lease
// is over: nothing tells them apart.
func (t *Table) cut() (int, error) {
	s := &strangers{table: t, local: map[netip.Addr]bool{}}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return 0, fmt.Errorf("end connections: %w", err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			ip, _ := netip.AddrFromSlice(n.IP)
			s.local[ip.Unmap()] = true
		}
	}
	total := 0
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		if err := forget(family, s); err != nil && !t.can.labels {
			return total, err
		}
		total += s.found
	}
	return total, nil
}

// forget has the kernel forget connections. It begins anew with its count.
func forget(family netlink.InetFamily, which netlink.CustomConntrackFilter) (err error) {
	for range looks {
		if s, ok := which.(*strangers); ok {
			s.found = 0
		}
		if _, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, which); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("end connections: %w", err)
	}
	return nil
}

// strangers are connections to guarded ports that no grant has let in.
type strangers struct {
	table *Table
	local map[netip.Addr]bool // addresses of this host
	found int
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s *strangers) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	for _, p := range s.table.cfg.Ports {
		if uint8(p.Protocol) != flow.Forward.Protocol || !s.reaches(p, flow) {
			continue
		}
		source, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
		source = source.Unmap()
		if s.local[source] || source.IsLoopback() || has(flow.Labels, labelGranted) || s.table.lets(p, source) {
			return false
		}
		s.found++
		return p.Protocol == TCP || !s.table.can.labels
	}
	return false
}

// reaches reports whether a connection is one to a port, as its client asked
// for it, or as it arrives.
func (s *strangers) reaches(p Port, flow *netlink.ConntrackFlow) bool {
	at := func(ip net.IP, port uint16) bool {
		a, _ := netip.AddrFromSlice(ip)
		a = a.Unmap()
		return port == p.Port && (a == p.Address || !p.Address.IsValid() && s.local[a])
	}
	return p.Hook != HookInput && at(flow.Forward.DstIP, flow.Forward.DstPort) || at(flow.Reverse.SrcIP, flow.Reverse.SrcPort)
}

// has reports whether a label of the kernel has a bit.
func has(label []byte, l label) bool {
	for i, b := range l.bits() {
		if b != 0 {
			return i < len(label) && label[i]&b != 0
		}
	}
	return false
}

// lets reports whether a grant lets a source reach a port now.
func (t *Table) lets(p Port, source netip.Addr) bool {
	if !source.IsValid() {
		return false
	}
	now, own := t.clock.Monotonic(), t.ports[p.Service]
	anyone := access.Anyone6
	if source.Is4() {
		anyone = access.Anyone4
	}
	for _, peer := range []access.Peer{anyone, access.PeerOf(source, access.PrefixHost), access.PeerOf(source, access.PrefixNetwork)} {
		if end, ok := t.open[own.grant(peer)]; ok && now.Before(end) {
			return true
		}
	}
	return false
}
