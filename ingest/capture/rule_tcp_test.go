package capture

import (
	"encoding/binary"
	"net/netip"
)

var tcpInTest = rule{20000, 20099, true}

// segment returns a whole TCP packet. Options is their size in bytes.
func segment(from, to netip.AddrPort, flags byte, options int, payload []byte) []byte {
	b := make([]byte, tcpHeader+options, tcpHeader+options+len(payload))
	binary.BigEndian.PutUint16(b, from.Port())
	binary.BigEndian.PutUint16(b[2:], to.Port())
	b[12], b[13] = byte(len(b)/4)<<4, flags
	for i := tcpHeader; i < len(b); i++ {
		b[i] = 1 // no operation
	}
	return append(b, payload...)
}

// tcpSamples go through Go, the VM of BPF, and the kernel.
func tcpSamples() (all []sample) {
	const fin, rst, psh, ack, urg, ece, cwr = 0x01, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
	for _, pair := range [][2]netip.Addr{{there4, here4}, {there6, here6}} {
		family := map[bool]string{true: "IPv6 ", false: "IPv4 "}[pair[0].Is6()]
		head := map[bool]int{true: ip6Header, false: 20}[pair[0].Is6()]
		add := func(name string, knock bool, from, to uint16, flags byte, options, n int, change func([]byte)) {
			a, b := netip.AddrPortFrom(pair[0], from), netip.AddrPortFrom(pair[1], to)
			p := packetOf(protocolTCP, a, b, segment(a, b, flags, options, make([]byte, n)), 0)
			if change != nil {
				change(p[head:])
			}
			all = append(all, sample{family + name, p, knock})
		}
		add("SYN to the first port", true, 5000, 20000, syn, 0, 0, nil)
		add("SYN to the last port", true, 1, 20099, syn, 20, 0, nil)
		add("SYN with all options", true, 5000, 20000, syn, 40, 0, nil)
		add("SYN for congestion notification", true, 5000, 20000, syn|ece|cwr, 20, 0, nil)
		add("SYN with a reserved bit", true, 5000, 20000, syn, 0, 0, func(b []byte) { b[12] |= 1 })
		add("SYN below", false, 5000, 19999, syn, 0, 0, nil)
		add("SYN above", false, 5000, 20100, syn, 0, 0, nil)
		add("SYN from port 0", false, 0, 20000, syn, 0, 0, nil)
		add("SYN with data", false, 5000, 20000, syn, 20, 1, nil)
		add("SYN with the data of a fast open", false, 5000, 20000, syn, 12, 48, nil)
		add("SYN with a header too short", false, 5000, 20000, syn, 0, 0, func(b []byte) { b[12] = 0x40 })
		add("SYN with a header too long", false, 5000, 20000, syn, 0, 0, func(b []byte) { b[12] = 0x60 })
		add("SYN whose options count as data", false, 5000, 20000, syn, 4, 0, func(b []byte) { b[12] = 0x50 })
		for name, flags := range map[string]byte{
			"nothing": 0, "SYN-ACK": syn | ack, "ACK": ack, "RST": rst, "FIN": fin, "SYN and FIN": syn | fin,
			"SYN and RST": syn | rst, "SYN and PSH": syn | psh, "SYN and URG": syn | urg, "all flags": 0xff,
		} {
			add(name, false, 5000, 20000, flags, 0, 0, nil)
		}
		a, b := netip.AddrPortFrom(pair[0], 5000), netip.AddrPortFrom(pair[1], 20000)
		all = append(all,
			sample{family + "SYN cut short", packetOf(protocolTCP, a, b, segment(a, b, syn, 0, nil)[:tcpHeader-1], 0), false},
			sample{family + "UDP", packetOf(protocolUDP, a, b, segment(a, b, syn, 0, nil), 0), false},
			sample{family + "an empty datagram", ip(a, b, nil, 0), false})
	}
	four := func(options int) []byte {
		a, b := netip.AddrPortFrom(there4, 5000), netip.AddrPortFrom(here4, 20000)
		return packetOf(protocolTCP, a, b, segment(a, b, syn, 40, nil), options)
	}
	changed := func(name string, change func([]byte)) {
		p := four(0)
		change(p)
		all = append(all, sample{name, p, false})
	}
	all = append(all, sample{"IPv4 SYN with options of both headers", four(40), true})
	changed("IPv4 SYN, first fragment", func(b []byte) { b[6] |= 0x20 })
	changed("IPv4 SYN, later fragment", func(b []byte) { b[7] = 1 })
	changed("IPv4 SYN, header too short", func(b []byte) { b[0] = 0x44 })
	return all
}
