package xdp

import (
	"encoding/binary"
	"net/netip"
)

// The hosts of the tests.
var (
	hostMAC  = [6]byte{2, 0, 0, 0, 0, 1}
	otherMAC = [6]byte{2, 0, 0, 0, 0, 2}
	host4    = netip.MustParseAddr("192.0.2.1")
	host6    = netip.MustParseAddr("2001:db8::1")
	away4    = netip.MustParseAddr("198.51.100.7")
	away6    = netip.MustParseAddr("2001:db8:7:8::9")
)

// extension is an extension header of IPv6, or an authentication header of IPv4.
type extension struct {
	kind byte
	body []byte // all but its first byte, which is the type of the next one
}

// frame describes a frame. Sizes that are not set are right.
type frame struct {
	to             [6]byte
	tags           []uint16 // the types of the VLAN tags
	source         netip.AddrPort
	target         netip.AddrPort
	protocol       byte // 0: UDP
	options        []byte
	fragment       uint16
	identification uint16 // of IPv4
	extensions     []extension
	payload        []byte

	change func(ip, udp []byte) // of the finished headers
	pad    int
	cut    int
}

// knockTo returns a frame with a payload from a usual host to this one.
func knockTo(v6 bool, port uint16, payload []byte) frame {
	f := frame{to: hostMAC, payload: payload}
	f.source, f.target = netip.AddrPortFrom(away4, 40000), netip.AddrPortFrom(host4, port)
	if v6 {
		f.source, f.target = netip.AddrPortFrom(away6, 40000), netip.AddrPortFrom(host6, port)
	}
	return f
}

func (f frame) bytes() []byte {
	udp := binary.BigEndian.AppendUint16(nil, f.source.Port())
	udp = binary.BigEndian.AppendUint16(udp, f.target.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(f.payload)))
	udp = append(append(udp, 0xba, 0xd0), f.payload...) // the checksum is not judged
	protocol := f.protocol
	if protocol == 0 {
		protocol = 17
	}
	upper := udp
	for i := len(f.extensions) - 1; i >= 0; i-- {
		e := f.extensions[i]
		upper = append(append([]byte{protocol}, e.body...), upper...)
		protocol = e.kind
	}
	var ip []byte
	kind := uint16(0x0800)
	if f.target.Addr().Is4() {
		ip = make([]byte, 20, 60)
		ip[0] = byte(0x45 + len(f.options)/4)
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(f.options)+len(upper)))
		binary.BigEndian.PutUint16(ip[4:], f.identification)
		binary.BigEndian.PutUint16(ip[6:], f.fragment)
		ip[8], ip[9] = 64, protocol
		copy(ip[12:], f.source.Addr().AsSlice())
		copy(ip[16:], f.target.Addr().AsSlice())
		ip = append(ip, f.options...)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	} else {
		kind = 0x86dd
		ip = make([]byte, 40)
		ip[0] = 0x60
		binary.BigEndian.PutUint16(ip[4:], uint16(len(upper)))
		ip[6], ip[7] = protocol, 64
		copy(ip[8:], f.source.Addr().AsSlice())
		copy(ip[24:], f.target.Addr().AsSlice())
	}
	packet := append(ip, upper...)
	if f.change != nil {
		f.change(packet, packet[len(packet)-len(udp):])
	}
	all := append(f.to[:], otherMAC[:]...)
	for i, tag := range f.tags {
		all = binary.BigEndian.AppendUint16(all, tag)
		all = binary.BigEndian.AppendUint16(all, uint16(5+i))
	}
	all = binary.BigEndian.AppendUint16(all, kind)
	all = append(append(all, packet...), make([]byte, f.pad)...)
	return all[:len(all)-f.cut]
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
