package capture

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

var (
	here4, there4 = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	here6, there6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	inTest        = rule{20000, 20099, false}
)

// ip returns a whole UDP packet.
func ip(from, to netip.AddrPort, payload []byte, options int) []byte {
	return packetOf(protocolUDP, from, to, datagram(from, to, payload), options)
}

// packetOf returns a whole packet of a protocol.
func packetOf(protocol byte, from, to netip.AddrPort, d []byte, options int) []byte {
	if from.Addr().Is6() {
		b := make([]byte, ip6Header)
		b[0], b[6], b[7] = 0x60, protocol, 64
		binary.BigEndian.PutUint16(b[4:], uint16(len(d)))
		copy(b[8:], from.Addr().AsSlice())
		copy(b[24:], to.Addr().AsSlice())
		return append(b, d...)
	}
	header := 20 + options
	b := make([]byte, header)
	b[0], b[8], b[9] = 0x40|byte(header/4), 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(header+len(d)))
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	for i := 20; i < header; i++ {
		b[i] = 1 // no operation
	}
	var sum uint32
	for i := 0; i < header; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return append(b, d...)
}

type sample struct {
	name   string
	packet []byte
	knock  bool
}

// samples go through Go, the VM of BPF, and the kernel.
func samples() (all []sample) {
	add := func(name string, knock bool, packet []byte, change func([]byte)) {
		if change != nil {
			change(packet)
		}
		all = append(all, sample{name, packet, knock})
	}
	for _, pair := range [][2]netip.Addr{{there4, here4}, {there6, here6}} {
		family := map[bool]string{true: "IPv6 ", false: "IPv4 "}[pair[0].Is6()]
		packet := func(from, to uint16, n int) []byte {
			return ip(netip.AddrPortFrom(pair[0], from), netip.AddrPortFrom(pair[1], to), make([]byte, n), 0)
		}
		head := len(packet(1, 1, 0)) - udpHeader
		add(family+"first port", true, packet(5000, 20000, 0), nil)
		add(family+"last port", true, packet(1, 20099, 0), nil)
		add(family+"below", false, packet(5000, 19999, 0), nil)
		add(family+"above", false, packet(5000, 20100, 0), nil)
		add(family+"from port 0", false, packet(0, 20000, 0), nil)
		add(family+"a byte", false, packet(5000, 20000, 1), nil)
		add(family+"a knock of the sequence protocol", false, packet(5000, 20000, 48), nil)
		add(family+"a length that is too large", false, packet(5000, 20000, 0), func(b []byte) { b[head+5] = 9 })
		add(family+"a length that is too small", false, packet(5000, 20000, 4), func(b []byte) { b[head+5] = 8 })
		add(family+"cut short", false, packet(5000, 20000, 0)[:head+4], nil)
		add(family+"cut short by a byte", false, packet(5000, 20000, 0)[:head+7], nil)
		protocol := 9
		if pair[0].Is6() {
			protocol = 6
		}
		add(family+"TCP", false, packet(5000, 20000, 0), func(b []byte) { b[protocol] = 6 })
	}
	four := func(options int) []byte {
		return ip(netip.AddrPortFrom(there4, 5000), netip.AddrPortFrom(here4, 20000), nil, options)
	}
	add("IPv4 with options", true, four(8), nil)
	add("IPv4 first fragment", false, four(0), func(b []byte) { b[6] |= 0x20 })
	add("IPv4 later fragment", false, four(0), func(b []byte) { b[7] = 1 })
	add("IPv4 header too short", false, four(0), func(b []byte) { b[0] = 0x44 })
	add("neither", false, four(0), func(b []byte) { b[0] = 0x55 })
	return all
}

// TestRule: Go and the VM agree. The VM has no packet types.
func TestRule(t *testing.T) {
	for r, all := range map[rule][]sample{inTest: samples(), tcpInTest: tcpSamples()} {
		for _, s := range all {
			if _, ok := r.parse(s.packet); ok != s.knock {
				t.Errorf("%s: Go: %v", s.name, ok)
			}
			vm, err := bpf.NewVM(r.program(s.packet[0]>>4 == 6, false))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := vm.Run(s.packet); err != nil || n > 0 != s.knock {
				t.Errorf("%s: the VM: %d, %v", s.name, n, err)
			}
		}
	}
}

func FuzzRule(f *testing.F) { fuzzRule(f, inTest, samples()) }

// FuzzTCPRule is FuzzRule for SYNs.
func FuzzTCPRule(f *testing.F) { fuzzRule(f, tcpInTest, tcpSamples()) }

func fuzzRule(f *testing.F, r rule, seeds []sample) {
	for _, s := range seeds {
		f.Add(s.packet)
	}
	v4, _ := bpf.NewVM(r.program(false, false))
	v6, _ := bpf.NewVM(r.program(true, false))
	f.Fuzz(func(t *testing.T, packet []byte) {
		k, ok := r.parse(packet)
		if ok && (k.Source.Port() == 0 || k.Destination.Port() < 20000 || k.Destination.Port() > 20099) {
			t.Errorf("%v", k)
		}
		n4, _ := v4.Run(packet)
		n6, _ := v6.Run(packet)
		if vm := n4 > 0 || n6 > 0; vm != ok {
			t.Errorf("Go: %v, the VM: %v", ok, vm)
		}
	})
}

func TestSamplesArriveAsTheyAre(t *testing.T) {
	// The checksum of an empty datagram between two known ends, by RFC 768's
	// sum over the pseudo header.
	b := datagram(netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2"), []byte{0xff})
	var sum uint32
	for _, part := range [][]byte{{10, 0, 0, 1, 10, 0, 0, 2, 0, protocolUDP, 0, 9}, append(b, 0)} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if sum != 0xffff {
		t.Errorf("the checksum does not add up: %x", sum)
	}
}
