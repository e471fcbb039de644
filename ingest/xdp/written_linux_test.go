package xdp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"sallyport/ingest/prefilter"
	"sallyport/ingest/prefilter/prefiltertest"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// written is a row of the written rule in README.md.
type written struct {
	name string
	frame
	want    int
	generic int // if it differs in generic mode; 0: it does not
	flags   uint32
}

const (
	livePort  = prefiltertest.Port
	otherPort = livePort + 1 // in the same entry of the array "ports"
)

// writtenRows returns the rows for one version of IP.
func writtenRows(v6 bool) (rows []written) {
	good := prefiltertest.Plain(nil)
	bad := prefiltertest.Plain(nil)
	bad[1] = 'p'
	row := func(name string, want int, change func(f *frame)) {
		f := knockTo(v6, livePort, good)
		change(&f)
		rows = append(rows, written{name: name, frame: f, want: want})
	}
	// both adds a row with a good knock, and one that breaks a rule.
	both := func(name string, want int, change func(f *frame)) {
		row(name, want, change)
		row(name+", bad magic", CountMagic, func(f *frame) {
			f.payload = bad
			change(f)
		})
	}
	udp := func(change func(udp []byte)) func(f *frame) {
		return func(f *frame) { f.change = func(_, udp []byte) { change(udp) } }
	}

	both("plain", CountRing, func(f *frame) {})
	both("padded by the driver", CountRing, func(f *frame) { f.pad = 40 })
	both("bad UDP checksum", CountRing, udp(func(udp []byte) { udp[6] ^= 0xff }))
	both("no UDP checksum", CountRing, udp(func(udp []byte) { udp[6], udp[7] = 0, 0 }))
	both("no source port", CountRing, func(f *frame) { f.source = netip.AddrPortFrom(f.source.Addr(), 0) })
	row("too short for a knock, padded", CountSize, func(f *frame) { f.payload, f.pad = good[:20], 60 })
	row("empty, and nothing captures", CountSize, func(f *frame) { f.payload, f.pad = nil, 18 })
	row("empty, for capture", CountEmpty, func(f *frame) { f.payload, f.pad = nil, 18 })
	rows[len(rows)-1].flags = FlagEmpty
	row("long", CountSize, func(f *frame) { f.payload = make([]byte, 1400) })
	rows[len(rows)-1].generic = CountSocket
	row("jumbo", CountSize, func(f *frame) { f.payload = make([]byte, 3000) })
	rows[len(rows)-1].generic = CountSocket

	row("jumbo in several parts", CountSize, func(f *frame) { f.payload = make([]byte, 8000) })
	rows[len(rows)-1].generic = CountSocket

	row("another hardware address", CountOther, func(f *frame) { f.to = otherMAC })
	row("broadcast", CountOther, func(f *frame) { f.to = [6]byte{255, 255, 255, 255, 255, 255} })
	row("another address", CountOther, func(f *frame) {
		f.target = netip.AddrPortFrom(f.source.Addr(), livePort)
	})
	row("another port", CountOther, func(f *frame) { f.target = netip.AddrPortFrom(f.target.Addr(), otherPort) })
	row("TCP", CountOther, func(f *frame) { f.protocol = 6 })
	row("ICMP", CountOther, func(f *frame) { f.protocol = 1 })
	row("a protocol that nobody knows", CountOther, func(f *frame) { f.protocol = 200 })

	both("one VLAN tag", CountSocket, func(f *frame) { f.tags = []uint16{0x8100} })
	both("two VLAN tags", CountSocket, func(f *frame) { f.tags = []uint16{0x88a8, 0x8100} })
	row("three VLAN tags", CountOther, func(f *frame) { f.tags = []uint16{0x88a8, 0x8100, 0x8100} })
	row("a VLAN tag, to another port", CountOther, func(f *frame) {
		f.tags, f.target = []uint16{0x8100}, netip.AddrPortFrom(f.target.Addr(), otherPort)
	})
	row("a VLAN tag, to another hardware address", CountOther, func(f *frame) { f.tags, f.to = []uint16{0x8100}, otherMAC })

	authentication := extension{51, append([]byte{4, 0, 0}, make([]byte, 20)...)} // 24 bytes
	row("authentication header", CountSocket, func(f *frame) { f.extensions = []extension{authentication} })
	row("authentication header, bad magic", CountSocket, func(f *frame) {
		f.extensions, f.payload = []extension{authentication}, bad
	})
	row("authentication header, to another address", CountOther, func(f *frame) {
		f.extensions, f.target = []extension{authentication}, netip.AddrPortFrom(f.source.Addr(), livePort)
	})
	row("ESP", CountSocket, func(f *frame) { f.protocol = 50 })
	row("ESP, to another address", CountOther, func(f *frame) {
		f.protocol, f.target = 50, netip.AddrPortFrom(f.source.Addr(), livePort)
	})

	row("UDP length below a header", CountSocket, udp(func(udp []byte) { udp[5] = 7 }))
	row("UDP length 0", CountSocket, udp(func(udp []byte) { udp[5] = 0 }))
	row("UDP length beyond the packet", CountSocket, udp(func(udp []byte) { udp[5]++ }))
	row("a UDP datagram that ends before the packet", CountSize, udp(func(udp []byte) { udp[5]-- }))
	row("a malformed one to another port", CountOther, func(f *frame) {
		udp(func(udp []byte) { udp[5] = 7 })(f)
		f.target = netip.AddrPortFrom(f.target.Addr(), otherPort)
	})
	row("truncated in the datagram", CountSocket, func(f *frame) { f.cut = 1 })
	row("truncated in the datagram, tagged", CountSocket, func(f *frame) { f.cut, f.tags = 1, []uint16{0x8100} })
	row("truncated in the UDP header", CountSocket, func(f *frame) { f.cut = 48 + 1 })
	row("truncated in the IP header", CountOther, func(f *frame) { f.cut = 48 + 8 + 1 })
	if v6 {
		rows6(both, row)
	} else {
		rows4(both, row)
	}
	return rows
}

type addRow func(name string, want int, change func(f *frame))

func from(f *frame, address string) {
	f.source = netip.AddrPortFrom(netip.MustParseAddr(address), 40000)
}

// rows4 adds the rows that only IPv4 has.
func rows4(both, row addRow) {
	ip := func(change func(ip []byte)) func(f *frame) {
		return func(f *frame) { f.change = func(ip, _ []byte) { change(ip) } }
	}
	options := func(bytes ...byte) func(f *frame) { return func(f *frame) { f.options = bytes } }
	both("bad IP checksum", CountSocket, ip(func(ip []byte) { ip[10] ^= 0xff }))
	both("a bit of the source differs", CountSocket, ip(func(ip []byte) { ip[15] ^= 1 }))
	both("IP checksum 0", CountSocket, ip(func(ip []byte) { ip[10], ip[11] = 0, 0 }))
	for i := range 4 { // sums of each size, with which the checksum carries
		both(fmt.Sprintf("another header, %d", i), CountRing, func(f *frame) {
			f.identification = uint16(0x3fff * (i + 1))
			from(f, []string{"1.0.0.1", "95.255.255.254", "192.168.255.255", "223.255.255.253"}[i])
		})
	}
	both("do not fragment", CountRing, func(f *frame) { f.fragment = 0x4000 })
	row("first fragment", CountSocket, func(f *frame) { f.fragment = 0x2000 })
	row("last fragment", CountSocket, func(f *frame) { f.fragment = 1 })
	row("fragment of TCP", CountOther, func(f *frame) { f.fragment, f.protocol = 0x2000, 6 })
	row("fragment to another address", CountOther, func(f *frame) {
		f.fragment, f.target = 1, netip.AddrPortFrom(f.source.Addr(), livePort)
	})
	row("options: timestamp", CountSocket, options(68, 8, 5, 0, 0, 0, 0, 0))
	row("options: nothing, router alert, end", CountSocket, options(1, 1, 148, 4, 0, 0, 0, 0))
	both("options: 40 bytes", CountSocket, options(slices.Repeat([]byte{1}, 40)...))
	both("options: what follows the end has no meaning", CountSocket, options(0, 131, 7, 4))
	row("options: loose source route", CountSocket, options(1, 131, 7, 4, 192, 0, 2, 9))
	row("options: strict source route, last", CountSocket, options(append(slices.Repeat([]byte{1}, 33), 137, 7, 4, 192, 0, 2, 9)...))
	row("options: length 0", CountSocket, options(7, 0, 0, 0))
	row("options: no length", CountSocket, options(append(slices.Repeat([]byte{1}, 39), 7)...))
	row("options, to another port", CountOther, func(f *frame) {
		f.options, f.target = []byte{1, 1, 1, 1}, netip.AddrPortFrom(f.target.Addr(), otherPort)
	})
	row("options beyond the frame", CountSocket, func(f *frame) { f.options, f.cut = make([]byte, 40), 48+8+1 })
	row("header length 4", CountSocket, ip(func(ip []byte) { ip[0] = 0x44 }))
	row("version 6", CountOther, ip(func(ip []byte) { ip[0] = 0x65 }))
	row("total length below the headers", CountSocket, ip(func(ip []byte) { ip[3] = 10 }))
	both("total length of the datagram, not of the frame", CountRing, func(f *frame) { f.pad = 1 })
	row("extension header of IPv6", CountOther, func(f *frame) { f.extensions = []extension{{60, make([]byte, 7)}} })
	for _, source := range []string{"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255"} {
		both("from "+source, CountSocket, func(f *frame) { from(f, source) })
	}
	both("from 223.255.255.255", CountRing, func(f *frame) { from(f, "223.255.255.255") })
}

// rows6 adds the rows that only IPv6 has.
func rows6(both, row addRow) {
	headers := func(all ...extension) func(f *frame) { return func(f *frame) { f.extensions = all } }
	hop, destination := extension{0, make([]byte, 7)}, extension{60, append([]byte{1}, make([]byte, 14)...)}
	routing := func(left byte) extension { return extension{43, []byte{0, 4, left, 0, 0, 0, 0}} }
	fragment := extension{44, make([]byte, 7)}
	authentication := extension{51, append([]byte{4, 0, 0}, make([]byte, 20)...)}
	row("authentication header behind others", CountSocket, headers(destination, routing(0), authentication, destination))
	row("too many headers", CountSocket, headers(slices.Repeat([]extension{destination}, 7)...))
	row("an extension header without its end", CountSocket, headers(extension{60, []byte{255, 0, 0}}))
	row("hop by hop", CountSocket, headers(hop))
	row("hop by hop, to another address", CountOther, func(f *frame) {
		f.extensions, f.target = []extension{hop}, netip.AddrPortFrom(f.source.Addr(), livePort)
	})
	both("destination", CountSocket, headers(destination))
	both("routing, arrived", CountSocket, headers(routing(0)))
	both("all other headers in their order", CountSocket, headers(destination, routing(0), destination))
	both("the longest header", CountSocket, headers(extension{60, append([]byte{255}, make([]byte, 2046)...)}))
	row("routing, segments left", CountSocket, headers(routing(1)))
	row("routing behind others", CountSocket, headers(destination, routing(2)))
	row("fragment", CountSocket, headers(fragment))
	row("fragment behind others", CountSocket, headers(destination, fragment))
	row("fragment to another address", CountOther, func(f *frame) {
		f.extensions, f.target = []extension{fragment}, netip.AddrPortFrom(f.source.Addr(), livePort)
	})
	row("no next header", CountOther, func(f *frame) { f.protocol = 59 })
	row("mobility", CountOther, headers(extension{135, make([]byte, 7)}))
	row("version 4", CountOther, func(f *frame) { f.change = func(ip, _ []byte) { ip[0] = 0x40 } })
	row("payload length 0", CountSocket, func(f *frame) { f.change = func(ip, _ []byte) { binary.BigEndian.PutUint16(ip[4:], 0) } })
	for _, source := range []string{"::", "::1", "ff02::1", "::ffff:192.0.2.9", "::192.0.2.9"} {
		both("from "+source, CountSocket, func(f *frame) { from(f, source) })
	}
	both("from 64:ff9b::192.0.2.9", CountRing, func(f *frame) { from(f, "64:ff9b::192.0.2.9") })
	for _, source := range []string{"fe80::1", "febf:ffff::1"} {
		both("from "+source, CountSocket, func(f *frame) { from(f, source) })
	}
	for _, source := range []string{"fe7f:ffff::1", "fec0::1", "fd00::1"} {
		both("from "+source, CountRing, func(f *frame) { from(f, source) })
	}
}

// TestWrittenRule: each frame gets what README.md states, in each variant and
// settings.
func TestWrittenRule(t *testing.T) {
	r := newRig(t, Sizes{Slots: 1 << 10})
	r.setTable(prefilter.Table{Maximum: 2, Ports: map[uint16][]schedule.Place{livePort: {{Minute: prefiltertest.Minute, Index: 1}}}})
	r.setClients(wire.Identifier([]byte("com1")))
	for mode, program := range r.variants() {
		for _, v6 := range []bool{false, true} {
			for _, row := range writtenRows(v6) {
				want := row.want
				if mode == "generic" && row.generic != 0 {
					want = row.generic
				}
				r.gets(program, mode, v6, row, FlagRing|FlagClients|row.flags, want)
				if want == CountRing {
					want = CountSocket
				}
				r.gets(program, mode+", no ring", v6, row, FlagClients|row.flags, want)
				r.gets(program, mode+", mirrored", v6, row, FlagMirror|FlagRing|FlagClients|row.flags, want)
			}
		}
	}
}

func (r *rig) gets(program *ebpf.Program, mode string, v6 bool, row written, flags uint32, want int) {
	r.settings.Flags.Store(flags)
	if got := r.run(program, row.bytes()); got != want {
		r.Errorf("%s, IPv6 %v: %s: counter %d, want %d", mode, v6, row.name, got, want)
	}
	records := 0
	if want == CountRing {
		records = 1
	}
	all := r.drain()
	if len(all) != records {
		r.Fatalf("%s, IPv6 %v: %s: %d records, want %d", mode, v6, row.name, len(all), records)
	}
	for _, got := range all {
		source, port := netip.AddrFrom16(got.Source).Unmap(), got.Port
		if string(got.Datagram[:]) != string(row.payload) || netip.AddrPortFrom(source, port) != row.source ||
			got.To != row.target.Port() || got.Arrival == 0 {
			r.Errorf("%s, IPv6 %v: %s: recorded as %+v", mode, v6, row.name, got)
		}
	}
}
