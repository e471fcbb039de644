package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/flood"
	"sallyport/bench/netns"
)

// tap is a socket for the frames of an interface: it sends them, and gets those that the
// interface receives.
type tap struct {
	fd   int
	link flood.Link // to the server
}

// newTap opens a tap of an interface; h: of which host, nil: this one.
func newTap(t *testing.T, h *netns.Host, name string) *tap {
	t.Helper()
	var p tap
	open := func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		p.link.From = l.Attrs().HardwareAddr
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Attrs().Index})
	}
	do := func(f func() error) error { return f() }
	if h != nil {
		do = h.Do
	}
	if err := do(open); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p.fd) })
	server, err := netlink.LinkByName(shieldLink)
	if err != nil {
		t.Fatal(err)
	}
	p.link.To, p.link.Host = server.Attrs().HardwareAddr, netip.MustParseAddr(shieldHost)
	return &p
}

func (p *tap) send(t *testing.T, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		if _, err := unix.Write(p.fd, f); err != nil {
			t.Fatal(err)
		}
	}
}

// received returns the frames since the last call. The kernel's reports about multicast
// groups are none of the server's.
func (p *tap) received(t *testing.T) (frames [][]byte) {
	t.Helper()
	b := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(p.fd, b, 0)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err != nil || s.Drops > 0 {
				t.Fatalf("the capture lost frames: %+v, %v", s, err)
			}
			return frames
		case err != nil:
			t.Fatal(err)
		case !multicastReport(b[:n]):
			frames = append(frames, append([]byte(nil), b[:n]...))
		}
	}
}

// multicastReport reports whether a frame is a report of multicast groups.
func multicastReport(f []byte) bool {
	const headers, hopByHop, report2 = 14 + 40, 8, 143
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_IP:
		return f[14+9] == unix.IPPROTO_IGMP
	case unix.ETH_P_IPV6:
		return len(f) > headers+hopByHop && f[14+6] == unix.IPPROTO_HOPOPTS && f[headers] == unix.IPPROTO_ICMPV6 && f[headers+hopByHop] == report2
	}
	return false
}

// udp returns the UDP datagrams among frames, by their destination ports.
func udp(frames [][]byte) map[uint16]int {
	ports := map[uint16]int{}
	for _, f := range frames {
		if len(f) >= flood.HeaderSize && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IP && f[14+9] == unix.IPPROTO_UDP {
			ports[binary.BigEndian.Uint16(f[14+20+2:])]++
		}
	}
	return ports
}

// toAddress reports whether a frame goes to an IPv4 address.
func toAddress(f []byte, address string) bool {
	return len(f) >= 14+20 && binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IP && net.IP(f[14+16:14+20]).Equal(net.ParseIP(address))
}

// bridged puts the server's interface on a bridge, which gets its address and its
// neighbours.
func (w *shieldWorld) bridged(t *testing.T, name string) {
	t.Helper()
	port, err := netlink.LinkByName(shieldLink)
	if err != nil {
		t.Fatal(err)
	}
	b := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	b.Name, b.HardwareAddr = name, port.Attrs().HardwareAddr
	if err := netlink.LinkAdd(b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(b) })
	// No link-local address, and no search for other owners of an address.
	for key, value := range map[string]string{"addr_gen_mode": "1", "accept_dad": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/"+key, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	known, err := netlink.NeighList(port.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(shieldHost + "/24")
	if err == nil {
		err = netlink.AddrDel(port, addr)
	}
	if err == nil {
		err = netlink.LinkSetMaster(port, b)
	}
	if err == nil {
		err = netlink.LinkSetUp(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	addTo(t, name, shieldHost+"/24")
	for _, n := range known {
		n.LinkIndex = b.Attrs().Index
		if err := netlink.NeighSet(&n); err != nil {
			t.Fatal(err)
		}
	}
}

// withChecksum makes the checksum of the IP header of a frame right.
func withChecksum(f []byte) []byte {
	header := f[14 : 14+int(f[14]&15)*4]
	clear(header[10:12])
	binary.BigEndian.PutUint16(header[10:], checksum(header))
	return f
}

// tagged returns a frame with VLAN tags of these types.
func tagged(f []byte, types ...uint16) []byte {
	out := append([]byte(nil), f[:12]...)
	for _, kind := range types {
		out = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, kind), 5)
	}
	return append(out, f[12:]...)
}

func withOptions(f, options []byte) []byte {
	out := append(append(append([]byte(nil), f[:14+20]...), options...), f[14+20:]...)
	out[14] += byte(len(options) / 4)
	binary.BigEndian.PutUint16(out[14+2:], uint16(len(out)-14))
	return withChecksum(out)
}

// fragmentID is the identification of the last packet in fragments.
var fragmentID uint16

// inFragments splits a datagram after 16 bytes.
func inFragments(f []byte) [][]byte {
	const headers, after = 14 + 20, 16
	fragmentID++
	part := func(payload []byte, field uint16) []byte {
		out := append(append([]byte(nil), f[:headers]...), payload...)
		binary.BigEndian.PutUint16(out[14+2:], uint16(20+len(payload)))
		binary.BigEndian.PutUint16(out[14+4:], fragmentID)
		binary.BigEndian.PutUint16(out[14+6:], field)
		return withChecksum(out)
	}
	return [][]byte{part(f[headers:headers+after], 0x2000), part(f[headers+after:], after/8)}
}
