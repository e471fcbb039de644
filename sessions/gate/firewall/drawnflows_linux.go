package firewall

import (
	"net/netip"

	"github.com/vishvananda/netlink"

	"sallyport/sessions/gate/access"
)

// Connections to drawn ports, as conntrack has them: the original direction leads to
// the drawn port, and the answers come from the real port. Connections to the real
// port itself are those of trusted peers: the end of a lease does not concern them.

// redirected reports whether this table has redirected a connection to the port.
func (p Port) redirected(flow *netlink.ConntrackFlow) bool {
	return p.redirects() && uint8(p.Protocol) == flow.Forward.Protocol &&
		flow.Reverse.SrcPort == p.Port && hasLabelBit(flow.Labels, labelDrawn)
}

// drawnPeers are peers by service and drawn port; 0: at each port.
type drawnPeers map[access.ServiceID]map[uint16]*access.Set

func (d drawnPeers) add(c access.Change) {
	if d[c.Service] == nil {
		d[c.Service] = map[uint16]*access.Set{}
	}
	if d[c.Service][c.Peer.Port] == nil {
		d[c.Service][c.Peer.Port] = new(access.Set)
	}
	d[c.Service][c.Peer.Port].Add(access.Peer{Prefix: c.Peer.Prefix}) // packets have no zone
}

// endsDrawn reports whether a redirected connection ends.
func (m flowMatcher) endsDrawn(flow *netlink.ConntrackFlow) bool {
	if len(m.drawn) == 0 {
		return false
	}
	source, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
	for _, p := range m.ports {
		if m.drawn[p.Service] == nil || !p.redirected(flow) {
			continue
		}
		for _, port := range []uint16{0, flow.Forward.DstPort} {
			if peers := m.drawn[p.Service][port]; peers != nil && peers.Has(source) {
				return true
			}
		}
	}
	return false
}

// resetDrawn ends the redirected TCP connections of this host's sockets. A socket
// does not know the drawn port: conntrack does.
func (m flowMatcher) resetDrawn(families map[netlink.InetFamily]bool) error {
	if len(m.drawn) == 0 {
		return nil
	}
	type ends struct{ local, remote netip.AddrPort }
	ending := map[ends]bool{}
	for family := range families {
		flows, err := listFlows(family)
		if err != nil {
			return err
		}
		for _, f := range flows {
			if f.Forward.Protocol == uint8(TCP) && m.endsDrawn(f) {
				ending[ends{socketEnd(f.Reverse.SrcIP, f.Reverse.SrcPort), socketEnd(f.Reverse.DstIP, f.Reverse.DstPort)}] = true
			}
		}
	}
	if len(ending) == 0 {
		return nil
	}
	return resetSockets(func(local, remote netip.AddrPort) bool { return ending[ends{local, remote}] })
}
