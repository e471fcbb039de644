package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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
		families[tableOf(c.Peer)] = true
	}
	for family := range families {
		if err := forget(family, gone); err != nil {
			return err
		}
	}
	return gone.reset()
}

// reset ends the TCP connections of this host's own sockets. Where another lease
// lets the address in, the kernel would track them anew from the next packet on.
func (f forgotten) reset() error {
	var failed []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} { // also mapped addresses
		sockets, err := netlink.SocketDiagTCP(family)
		if err != nil {
			return fmt.Errorf("look for sockets: %w", err)
		}
		for _, s := range sockets {
			local, remote := socketEnd(s.ID.Source, s.ID.SourcePort), socketEnd(s.ID.Destination, s.ID.DestinationPort)
			if !f.ends(uint8(TCP), local.Port(), remote.Addr()) {
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

// destroy ends the connection of one of this host's sockets (sock_diag(7)). The
// netlink package can do so for IPv4 alone.
func destroy(local, remote netip.AddrPort, link uint32) error {
	// A struct inet_diag_req_v2, with a cookie that fits each socket.
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

// Connected implements helper.Watching: it reads the kernel's table of connections.
func (t *Table) Connected(changes []access.Change) ([]bool, error) {
	connected := make([]bool, len(changes))
	at := map[access.ServiceID]map[netip.Prefix][]int{}
	families := map[netlink.InetFamily]bool{}
	for i, c := range changes {
		if at[c.Service] == nil {
			at[c.Service] = map[netip.Prefix][]int{}
		}
		at[c.Service][c.Peer.Prefix] = append(at[c.Service][c.Peer.Prefix], i)
		families[tableOf(c.Peer)] = true
	}
	for family := range families {
		var flows []*netlink.ConntrackFlow
		var err error
		for range looks {
			if flows, err = netlink.ConntrackTableList(netlink.ConntrackTable, family); !errors.Is(err, netlink.ErrDumpInterrupted) {
				break
			}
		}
		if err != nil {
			return nil, fmt.Errorf("look for connections: %w", err)
		}
		for _, flow := range flows {
			source, _ := netip.AddrFromSlice(flow.Forward.SrcIP)
			for _, p := range t.cfg.Ports {
				if uint8(p.Protocol) != flow.Forward.Protocol || p.Port != flow.Forward.DstPort || at[p.Service] == nil {
					continue
				}
				for _, bits := range []int{access.PrefixNetwork, source.BitLen()} {
					prefix, _ := source.Prefix(bits)
					for _, i := range at[p.Service][prefix] {
						connected[i] = true
					}
				}
			}
		}
	}
	return connected, nil
}

func tableOf(p access.Peer) netlink.InetFamily {
	if p.Prefix.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
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
	return f.ends(to.Protocol, to.DstPort, source)
}

// ends reports whether what comes from an address to a port ends.
func (f forgotten) ends(protocol uint8, port uint16, source netip.Addr) bool {
	for _, p := range f.ports {
		if uint8(p.Protocol) == protocol && p.Port == port {
			gone := f.of[p.Service]
			return gone != nil && gone.Has(source)
		}
	}
	return false
}
