package nftcheck

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// meta reads "meta". Known are a packet's protocols and, in part, its interface.
func (s *state) meta(a attributes) {
	register := a.number(unix.NFTA_META_DREG)
	host := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	if a.has(unix.NFTA_META_SREG) {
		return // it sets a mark, or the like
	}
	switch a.number(unix.NFTA_META_KEY) {
	case unix.NFT_META_L4PROTO:
		s.set(register, []byte{s.to.protocol}, mask(1))
		s.loaded("", protocolText)
	case unix.NFT_META_NFPROTO:
		s.set(register, []byte{s.to.family}, mask(bits.Len8(min(s.to.family, 1))))
		s.loaded("nfproto", func(b []byte) string { return "" })
	case unix.NFT_META_PROTOCOL:
		kind, known := uint16(unix.ETH_P_IP), mask(0)
		if s.to.family != 0 {
			known = mask(2)
		}
		if s.to.family == unix.NFPROTO_IPV6 {
			kind = unix.ETH_P_IPV6
		}
		s.set(register, binary.BigEndian.AppendUint16(nil, kind), known)
		s.loaded("meta protocol", hexadecimal)
	case unix.NFT_META_IIFNAME:
		s.set(register, paddedName(s.to.in.name), s.knownIf(s.to.in.name != "", 16))
		s.loaded("iifname", nameText)
	case unix.NFT_META_OIFNAME:
		s.set(register, make([]byte, 16), 0)
		s.loaded("oifname", nameText)
	case unix.NFT_META_IIF:
		s.set(register, host(s.to.in.index), s.knownIf(s.to.in.index != 0, 4))
		s.loaded("iif", hexadecimal)
	case unix.NFT_META_PKTTYPE:
		s.set(register, []byte{unix.PACKET_HOST}, s.knownIf(s.to.stranger && s.to.local, 1))
		s.loaded("meta pkttype", hexadecimal)
	case metaSecpath:
		s.set(register, []byte{0}, s.knownIf(s.to.stranger, 1))
		s.loaded("meta secpath", hexadecimal)
	case unix.NFT_META_MARK:
		s.set(register, host(0), s.knownIf(s.to.stranger && s.markBits == 0, 4))
		s.loaded(markLabel, hexadecimal)
	default:
		s.forget()
		s.loaded("meta", nil)
	}
}

const markLabel = "meta mark"

// metaSecpath is NFT_META_SECPATH.
const metaSecpath = 25

// knownIf returns the mask of n bytes that are known on a condition.
func (s *state) knownIf(known bool, n int) uint64 {
	if known {
		return mask(n)
	}
	return 0
}

func paddedName(name string) []byte {
	return append([]byte(name), make([]byte, max(0, 16-len(name)))...)[:16]
}

// load stores a part of the packet's headers, and names it.
func (s *state) load(register, base, at, n uint64) {
	if n == 0 || n > registerBytes || at > 1<<16 {
		s.forget()
		s.loaded("a header", nil)
		return
	}
	var header []byte
	var known uint64 // from the beginning of what is loaded
	label, show := "", (func([]byte) string)(nil)
	put := func(where int, value []byte) {
		for i, b := range value {
			if j := where + i - int(at); j >= 0 && j < int(n) {
				header[j] = b
				known |= 1 << j
			}
		}
	}
	header = make([]byte, n)
	port := -1
	switch base {
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		addressAt, protocolAt, length := 16, 9, 4
		if s.to.family == unix.NFPROTO_IPV6 {
			addressAt, protocolAt, length = 24, 6, 16
		}
		put(protocolAt, []byte{s.to.protocol})
		if s.to.address.IsValid() {
			put(addressAt, s.to.address.AsSlice())
		}
		switch {
		case int(at) == addressAt && int(n) <= length:
			label, show = familyName(s.to.family)+" daddr", func(b []byte) string { return addressText(b, length) }
		case int(at) == addressAt-length && int(n) <= length:
			label, show = familyName(s.to.family)+" saddr", func(b []byte) string { return addressText(b, length) }
		case int(at) == protocolAt && n == 1:
			label, show = "", protocolText
		}
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		if s.to.stranger && s.to.protocol == unix.IPPROTO_TCP {
			put(13, []byte{flagSYN})
		}
		if only, ok := s.ports.one(); ok {
			put(2, binary.BigEndian.AppendUint16(nil, uint16(only)))
		} else if at <= 2 && at+n >= 4 {
			port = 2 - int(at)
		}
		switch {
		case at == 2 && n == 2:
			label, show = s.to.protocolName()+" dport", portText
		case at == 0 && n == 2:
			label, show = s.to.protocolName()+" sport", portText
		case at == 13 && n == 1 && s.to.protocol == unix.IPPROTO_TCP:
			label, show = "tcp flags", hexadecimal
		}
	}
	if label == "" && show == nil {
		label, show = fmt.Sprintf("@%d,%d,%d", base, at*8, n*8), hexadecimal
	}
	s.set(register, header, known)
	if where, ok := offset(register); ok && port >= 0 {
		s.registers.port = where + port
	}
	s.loaded(label, show)
}

// flagSYN is the only flag of a connection's first packet.
const flagSYN = 0x02

func addressText(b []byte, length int) string {
	padded := append(append([]byte{}, b...), make([]byte, max(0, length-len(b)))...)
	a, _ := netip.AddrFromSlice(padded)
	if len(b) < length {
		return fmt.Sprintf("%s/%d", a, len(b)*8)
	}
	return a.String()
}

func portText(b []byte) string { return fmt.Sprint(bigEndian(b)) }

func hexadecimal(b []byte) string { return fmt.Sprintf("%#x", b) }

func protocolText(b []byte) string {
	switch {
	case len(b) == 1 && b[0] == unix.IPPROTO_TCP:
		return "tcp"
	case len(b) == 1 && b[0] == unix.IPPROTO_UDP:
		return "udp"
	}
	return "l4proto " + fmt.Sprint(b)
}

func nameText(b []byte) string { return fmt.Sprintf("%q", strings.TrimRight(string(b), "\x00")) }

func bigEndian(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(data))
}
