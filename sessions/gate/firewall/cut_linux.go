package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// endUngranted ends connections to guarded ports that no grant let in, and
// returns their number: they were made while the table was missing.
//
// The rules alone already exclude them: a connection continues only if it has
// the label of a grant. endUngranted deletes the conntrack entry of a TCP
// connection, so that the next packet of either end requires a grant as a new
// connection does. A UDP flow stays tracked: the entry is the only record of
// which end began it; without it, the kernel would take the flow for one of
// this host as soon as this host sends. If the kernel has no labels,
// endUngranted deletes both kinds, and also connections whose lease has ended,
// because it cannot distinguish them.
func (t *Table) endUngranted() (int, error) {
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
		if err := deleteFlows(family, s); err != nil && !t.can.labels {
			return total, err
		}
		total += s.found
	}
	return total, nil
}

// deleteFlows deletes the conntrack entries that match. It counts again from
// zero after an interrupted dump.
func deleteFlows(family netlink.InetFamily, which netlink.CustomConntrackFilter) (err error) {
	for range dumpAttempts {
		if s, ok := which.(*strangers); ok {
			s.found = 0
		}
		_, err = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, which)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("end connections: %w", err)
	}
	return nil
}

// strangers matches connections to guarded ports that no grant let in.
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
		if s.table.cfg.onTrial(p) {
			return false // earlier connections continue
		}
		source, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
		source = source.Unmap()
		granted := hasLabelBit(flow.Labels, labelGranted) || s.table.grants(p, source) ||
			s.table.cfg.Trusted[p.Service].lets(source, hasLabelBit(flow.Labels, labelTrusted))
		if granted || s.local[source] || source.IsLoopback() {
			return false
		}
		s.found++
		return p.Protocol == TCP || !s.table.can.labels
	}
	return false
}

// reaches reports whether a connection leads to a port, as its client addressed
// it, or after translation.
func (s *strangers) reaches(p Port, flow *netlink.ConntrackFlow) bool {
	isPort := func(ip net.IP, port uint16) bool {
		a, _ := netip.AddrFromSlice(ip)
		a = a.Unmap()
		return p.has(port) && slices.ContainsFunc(p.All(), func(at At) bool {
			return at.Ports.Has(port) && (a == at.Address || !at.Address.IsValid() && s.local[a])
		})
	}
	return p.Hook != HookInput && isPort(flow.Forward.DstIP, flow.Forward.DstPort) ||
		isPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort)
}

// hasLabelBit reports whether a connection's labels include l.
func hasLabelBit(label []byte, l label) bool {
	for i, b := range l.bits() {
		if b != 0 {
			return i < len(label) && label[i]&b != 0
		}
	}
	return false
}

// grants reports whether a grant lets a source reach a port now.
func (t *Table) grants(p Port, source netip.Addr) bool {
	// Conntrack does not know the number of a connection. Where packets are
	// redirected, all connections that a grant let in have a label.
	if !source.IsValid() || p.RequireISN || p.rotates() || p.proxied() {
		return false
	}
	now, sets := t.clock.Monotonic(), t.ports[p.Service]
	anyone := access.Anyone6
	if source.Is4() {
		anyone = access.Anyone4
	}
	host, network := access.PeerIn(source, p.prefixLen4(), access.PrefixHost), access.PeerIn(source, p.prefixLen4(), access.PrefixNetwork)
	for _, peer := range []access.Peer{anyone, host, network} {
		if end, ok := t.confirmed[sets.grant(peer)]; ok && now.Before(end) {
			return true
		}
	}
	return false
}
