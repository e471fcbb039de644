package sockfilter

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// peer is another host, whose frames a test writes and reads itself: its kernel
// has none of the addresses, and sends nothing.
type peer struct {
	fd           int
	ours, theirs net.HardwareAddr // of the ends of the link
}

var server = map[bool]netip.Addr{false: netip.MustParseAddr("198.51.100.1"), true: netip.MustParseAddr("2001:db8::1")}

func newPeer(t *testing.T, addresses ...netip.Addr) *peer {
	t.Helper()
	h := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "left", Addresses: []string{server[false].String() + "/24", server[true].String() + "/64"}}, h, netns.End{Name: "right"})
	var p peer
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	left, err := netlink.LinkByName("left")
	ok(err)
	p.ours = left.Attrs().HardwareAddr
	ok(h.Do(func() error {
		right, err := netlink.LinkByName("right")
		if err != nil {
			return err
		}
		p.theirs = right.Attrs().HardwareAddr
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: right.Attrs().Index})
	}))
	t.Cleanup(func() { unix.Close(p.fd) })
	ok(unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}))
	for _, a := range addresses {
		ok(netlink.NeighSet(&netlink.Neigh{LinkIndex: left.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: p.theirs}))
	}
	// A route back to every source, in case the kernel requires one.
	ok(netlink.RouteAdd(&netlink.Route{LinkIndex: left.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(128, 0, 0, 0).To4(), Mask: net.CIDRMask(1, 32)}}))
	return &p
}

// send sends a segment or datagram from an address. Extended: with an option or
// extension header before it.
func (p *peer) send(t *testing.T, from netip.Addr, protocol byte, payload []byte, extended bool) {
	t.Helper()
	payload = append([]byte(nil), payload...)
	at := 16 // of the checksum
	if protocol == unix.IPPROTO_UDP {
		at = 6
	}
	to := server[from.Is6()]
	pseudo := append(append(from.AsSlice(), to.AsSlice()...), 0, protocol, byte(len(payload)>>8), byte(len(payload)))
	binary.BigEndian.PutUint16(payload[at:], checksum(append(pseudo, payload...)))
	var packet []byte
	if from.Is4() {
		packet = make([]byte, 20)
		if extended {
			packet = append(packet, 1, 1, 1, 0) // NOP, NOP, NOP, end
		}
		packet[0], packet[8], packet[9] = 0x40|byte(len(packet)/4), 64, protocol
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)+len(payload)))
		copy(packet[12:], from.AsSlice())
		copy(packet[16:], to.AsSlice())
		binary.BigEndian.PutUint16(packet[10:], checksum(packet))
	} else {
		packet = make([]byte, 40)
		packet[0], packet[6], packet[7] = 0x60, protocol, 64
		copy(packet[8:], from.AsSlice())
		copy(packet[24:], to.AsSlice())
		if extended {
			packet[6] = unix.IPPROTO_DSTOPTS
			packet = append(packet, protocol, 0, 1, 4, 0, 0, 0, 0) // PadN
		}
		binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-40+len(payload)))
	}
	frame := append(append([]byte(nil), p.ours...), p.theirs...)
	if from.Is4() {
		frame = append(frame, 0x08, 0x00)
	} else {
		frame = append(frame, 0x86, 0xdd)
	}
	if _, err := unix.Write(p.fd, append(append(frame, packet...), payload...)); err != nil {
		t.Fatal(err)
	}
}

// answer is a packet of the server.
type answer struct {
	to       netip.Addr
	protocol byte
	payload  []byte
}

// next returns the next answer to any of the peer's addresses.
func (p *peer) next(t *testing.T) answer {
	t.Helper()
	b := make([]byte, 2000)
	for end := netns.Deadline(t); end.IsZero() || time.Now().Before(end); {
		n, from, err := unix.Recvfrom(p.fd, b, 0)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		switch packet := b[14:n]; {
		case b[0]&1 == 1: // the kernel joins its multicast groups
		case packet[0] == 0x45:
			return answer{netip.AddrFrom4([4]byte(packet[16:])), packet[9], append([]byte(nil), packet[20:]...)}
		case packet[0]>>4 == 6:
			return answer{netip.AddrFrom16([16]byte(packet[24:])), packet[6], append([]byte(nil), packet[40:]...)}
		}
	}
	t.Fatal("no answer")
	return answer{}
}

// segment returns a TCP segment without options.
func segment(fromPort, toPort uint16, seq, ack uint32, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, fromPort)
	binary.BigEndian.PutUint16(b[2:], toPort)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12], b[13], b[14] = 5<<4, flags, 0x10
	return b
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i, x := range b {
		sum += uint32(x) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
