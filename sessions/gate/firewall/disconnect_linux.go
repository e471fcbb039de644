package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// dumpAttempts is how often the conntrack table is read if it changes during
// the dump, which may then lack entries.
const dumpAttempts = 3

// Disconnect ends connections from the peers of changes to their services: it
// deletes their conntrack entries, so that further packets require a grant as
// new connections do. It may take seconds, and may run at the same time as
// Apply.
func (t *Table) Disconnect(changes []access.Change) error {
	ended := flowMatcher{ports: t.cfg.Ports, of: map[access.ServiceID]*access.Set{}, drawn: drawnPeers{}}
	families := map[netlink.InetFamily]bool{}
	for _, c := range changes {
		ended.add(c)
		families[tableOf(c.Peer)] = true
	}
	// The sockets of redirected connections first, while conntrack still translates
	// their resets.
	if err := ended.resetDrawn(families); err != nil {
		return err
	}
	for family := range families {
		if err := deleteFlows(family, ended); err != nil {
			return err
		}
	}
	return ended.reset()
}

// reset ends the TCP connections of this host's sockets. If another lease lets
// the address in, conntrack would otherwise track them again from the next
// packet on.
func (m flowMatcher) reset() error {
	return resetSockets(func(local, remote netip.AddrPort) bool { return m.ends(uint8(TCP), local.Port(), remote.Addr()) })
}

// resetSockets ends the connections of sockets for which ends returns true.
func resetSockets(ends func(local, remote netip.AddrPort) bool) error {
	var failed []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} { // also mapped addresses
		sockets, err := netlink.SocketDiagTCP(family)
		if err != nil {
			return fmt.Errorf("list TCP sockets: %w", err)
		}
		for _, s := range sockets {
			local, remote := socketEnd(s.ID.Source, s.ID.SourcePort), socketEnd(s.ID.Destination, s.ID.DestinationPort)
			if !ends(local, remote) {
				continue
			}
			err := destroy(local, remote, s.ID.Interface)
			switch {
			case errors.Is(err, unix.EOPNOTSUPP): // CONFIG_INET_DIAG_DESTROY
				return nil
			case err != nil && !errors.Is(err, unix.ENOENT):
				failed = append(failed, fmt.Errorf("end a connection: %w", err))
			}
		}
	}
	return errors.Join(failed...)
}

// destroy ends the connection of a socket of this host (sock_diag(7)). The
// netlink package can do so only for IPv4.
func destroy(local, remote netip.AddrPort, link uint32) error {
	// A struct inet_diag_req_v2, with a cookie that matches each socket.
	request := []byte{unix.AF_INET, unix.IPPROTO_TCP, 0, 0, 0, 0, 0, 0}
	if local.Addr().Is6() {
		request[0] = unix.AF_INET6
	}
	request = binary.BigEndian.AppendUint16(request, local.Port())
	request = binary.BigEndian.AppendUint16(request, remote.Port())
	for _, end := range []netip.AddrPort{local, remote} {
		field := make([]byte, 16)
		copy(field, end.Addr().AsSlice())
		request = append(request, field...)
	}
	request = binary.NativeEndian.AppendUint32(request, link)
	request = append(request, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	message := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	message.AddRawData(request)
	_, err := message.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

func socketEnd(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}

// Connected implements holder.ConnTracker: it reads the conntrack table.
func (t *Table) Connected(changes []access.Change) ([]bool, error) {
	connected := make([]bool, len(changes))
	at := map[access.ServiceID]map[netip.Prefix][]int{}
	families := map[netlink.InetFamily]bool{}
	lengths := map[int]bool{}
	for i, c := range changes {
		if at[c.Service] == nil {
			at[c.Service] = map[netip.Prefix][]int{}
		}
		at[c.Service][c.Peer.Prefix] = append(at[c.Service][c.Peer.Prefix], i)
		families[tableOf(c.Peer)] = true
		lengths[c.Peer.Prefix.Bits()] = true
	}
	for family := range families {
		flows, err := listFlows(family)
		if err != nil {
			return nil, err
		}
		for _, flow := range flows {
			source, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
			for _, p := range t.cfg.Ports {
				if at[p.Service] == nil || !p.carries(flow) {
					continue
				}
				for bits := range lengths {
					prefix, _ := source.Prefix(bits) // zero if it has no such length
					for _, i := range at[p.Service][prefix] {
						port := changes[i].Peer.Port
						connected[i] = connected[i] || port == 0 || port == flow.Forward.DstPort
					}
				}
			}
		}
	}
	return connected, nil
}

// listFlows reads the conntrack table.
func listFlows(family netlink.InetFamily) (flows []*netlink.ConntrackFlow, err error) {
	for range dumpAttempts {
		flows, err = netlink.ConntrackTableList(netlink.ConntrackTable, family)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return flows, nil
}

// carries reports whether a connection is one of the port's clients: to the port, or
// redirected to it.
func (p Port) carries(flow *netlink.ConntrackFlow) bool {
	if uint8(p.Protocol) != flow.Forward.Protocol {
		return false
	}
	if p.redirects() {
		return p.redirected(flow)
	}
	return p.has(flow.Forward.DstPort)
}

func tableOf(p access.Peer) netlink.InetFamily {
	if p.Prefix.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// flowMatcher matches connections to end, by their services and peers.
type flowMatcher struct {
	ports []Port
	of    map[access.ServiceID]*access.Set
	drawn drawnPeers // of services whose drawn ports are redirected
}

func (m *flowMatcher) add(c access.Change) {
	ofService := func(p Port) bool { return p.Service == c.Service && p.redirects() }
	if slices.ContainsFunc(m.ports, ofService) {
		m.drawn.add(c)
		return
	}
	if m.of[c.Service] == nil {
		m.of[c.Service] = new(access.Set)
	}
	m.of[c.Service].Add(access.Peer{Prefix: c.Peer.Prefix}) // packets have no zone
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m flowMatcher) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to := flow.Forward
	source, _ := netip.AddrFromSlice(to.SrcIP)
	return m.ends(to.Protocol, to.DstPort, source) || m.endsDrawn(flow)
}

// ends reports whether a connection from an address to a port ends.
func (m flowMatcher) ends(protocol uint8, port uint16, source netip.Addr) bool {
	for _, p := range m.ports {
		if uint8(p.Protocol) == protocol && p.has(port) {
			peers := m.of[p.Service]
			return peers != nil && peers.Has(source)
		}
	}
	return false
}
