package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/client"
	"sallyport/verify/wire"
)

var shieldHost6, stranger6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")

// probe6 sends frames to the IPv6 address of the interface with the shield.
func (p *prober) probe6(t *testing.T, name string, ports []uint16, replayed, own []client.Packet) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: stranger6.AsSlice(), HardwareAddr: p.tap.link.From,
	}); err != nil {
		t.Fatal(err)
	}
	send := func(name string, port uint16, payload []byte, extension ...byte) {
		t.Helper()
		p.tap.send(t, p.frame6("over IPv6: "+name, port, payload, extension...))
	}
	empty := make([]byte, wire.Size)
	for _, port := range ports {
		for _, size := range []int{0, 1, 47, 48, 49, 1400} {
			send(fmt.Sprintf("%d bytes", size), port, make([]byte, size))
		}
		for name, k := range spoiled(port, own) {
			send(name, port, k)
			// The kernel looks at these headers after the firewall.
			send(name+", destination options", port, k, unix.IPPROTO_DSTOPTS, 0, 0xc2, 4, 0, 0, 0, 0)
			send(name+", routing header", port, k, unix.IPPROTO_ROUTING, 0, 0, 1, 0, 0, 0, 0)
		}
		send("hop-by-hop options: padding", port, empty, unix.IPPROTO_HOPOPTS, 0, 1, 4, 0, 0, 0, 0)
		send(rejectedOption, port, empty, unix.IPPROTO_HOPOPTS, 0, 0xc2, 4, 0, 0, 0, 0)
		send("destination options: one that the host must reject", port, empty, unix.IPPROTO_DSTOPTS, 0, 0xc2, 4, 0, 0, 0, 0)
		send(authentication, port, empty, authentication6...)
		send("routing header", port, empty, unix.IPPROTO_ROUTING, 0, 0, 1, 0, 0, 0, 0)
		send("last fragment", port, empty, unix.IPPROTO_FRAGMENT, 0, 0, 16, 0, 0, 0, 9)
		send("one fragment", port, empty, unix.IPPROTO_FRAGMENT, 0, 0, 0, 0, 0, 0, 10)
	}
	for i, k := range replayed {
		send(fmt.Sprintf("replay %d", i), k.Port, k.Datagram)
	}
}

// frame6 is frame over IPv6. extension is the type of an extension header of 8 bytes, and
// all but the first one of these; empty: there is none.
func (p *prober) frame6(name string, port uint16, payload []byte, extension ...byte) []byte {
	f := p.frame(name, port, payload) // for its UDP header
	datagram := f[14+20:]
	source, target := stranger6.As16(), shieldHost6.As16()
	pseudo := append(append(append([]byte(nil), source[:]...), target[:]...), 0, 0, byte(len(datagram)>>8), byte(len(datagram)), 0, 0, 0, unix.IPPROTO_UDP)
	binary.BigEndian.PutUint16(datagram[6:], checksum(append(pseudo, datagram...)))
	out := append([]byte(nil), f[:12]...)
	out = binary.BigEndian.AppendUint16(out, unix.ETH_P_IPV6)
	header := make([]byte, 8)
	header[0], header[6], header[7] = 0x60, unix.IPPROTO_UDP, 64
	if len(extension) > 0 {
		header[6] = extension[0]
		datagram = append(append([]byte{unix.IPPROTO_UDP}, extension[1:]...), datagram...)
	}
	binary.BigEndian.PutUint16(header[4:], uint16(len(datagram)))
	return append(append(append(append(out, header...), source[:]...), target[:]...), datagram...)
}

// checksum returns the internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	if len(b)%2 > 0 {
		b = append(b, 0)
	}
	var sum uint32
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}
