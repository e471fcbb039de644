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
		s.set(register, host(0), s.knownIf(s.to.stranger && s.unmarked, 4))
		s.loaded("meta mark", hexadecimal)
	default:
		s.forget()
		s.loaded("meta", nil)
	}
}

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

// The states of connections, as nft_ct has them.
const (
	stateNew       = 1 << 3
	stateUntracked = 1 << 6
)

// stateText writes states of connections as nft would.
func stateText(b []byte) string {
	var names []string
	bits := nativeUint32(b)
	for i, name := range []string{"invalid", "established", "related", "new", "", "", "untracked"} {
		if bits>>i&1 != 0 && name != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return hexadecimal(b)
	}
	return strings.Join(names, ",")
}

// connection reads "ct". Known are the values for a stranger's first packet.
func (s *state) connection(a attributes) {
	register := a.number(unix.NFTA_CT_DREG)
	if a.has(unix.NFTA_CT_SREG) {
		return
	}
	known := mask(0)
	if s.to.stranger {
		known = mask(4)
	}
	switch key := a.number(unix.NFTA_CT_KEY); {
	case key == unix.NFT_CT_STATE:
		bit := uint32(stateNew)
		if s.to.untracked {
			bit = stateUntracked
		}
		s.set(register, binary.NativeEndian.AppendUint32(nil, bit), known)
		s.loaded("ct state", stateText)
	case key == unix.NFT_CT_STATUS:
		s.set(register, make([]byte, 4), known)
		s.loaded("ct status", hexadecimal)
	case key == unix.NFT_CT_DIRECTION:
		s.set(register, []byte{0}, known)
		s.loaded("ct direction", hexadecimal)
	default:
		s.forget()
		s.loaded("ct", nil)
	}
}

// route reads "fib". Known is the type of the destination.
func (s *state) route(a attributes) {
	const result, flags = unix.NFT_FIB_RESULT_ADDRTYPE, unix.NFTA_FIB_F_DADDR
	if s.to.stranger && a.number(unix.NFTA_FIB_FLAGS)&unix.NFTA_FIB_F_SADDR != 0 {
		s.routeBack(a)
		return
	}
	kind, known := uint32(unix.RTN_LOCAL), mask(0)
	if s.to.elsewhere {
		kind = unix.RTN_UNICAST
	}
	if s.to.local || s.to.elsewhere {
		known = mask(4)
	}
	register := a.number(unix.NFTA_FIB_DREG)
	if a.number(unix.NFTA_FIB_RESULT) != result || a.number(unix.NFTA_FIB_FLAGS)&^unix.NFTA_FIB_F_IIF != flags {
		s.forget()
		s.loaded("fib", nil)
		return
	}
	s.set(register, binary.NativeEndian.AppendUint32(nil, kind), known)
	s.loaded("fib daddr type", func(b []byte) string {
		if len(b) == 4 && binary.NativeEndian.Uint32(b) == unix.RTN_LOCAL {
			return "local"
		}
		return hexadecimal(b)
	})
}

// routeBack reads "fib" of the source address. A stranger's address is another
// host's, and the way back is the interface on which the packet came in.
func (s *state) routeBack(a attributes) {
	register, value := a.number(unix.NFTA_FIB_DREG), uint32(1)
	switch result := a.number(unix.NFTA_FIB_RESULT); {
	case result == unix.NFT_FIB_RESULT_ADDRTYPE:
		value = unix.RTN_UNICAST
	case a.number(unix.NFTA_FIB_FLAGS)&unix.NFTA_FIB_F_PRESENT != 0:
	case result == unix.NFT_FIB_RESULT_OIFNAME && s.to.in.name != "":
		s.set(register, paddedName(s.to.in.name), mask(16))
		s.loaded("fib saddr oifname", nameText)
		return
	case result == unix.NFT_FIB_RESULT_OIFNAME:
		s.forget()
		s.loaded("fib", nil)
		return
	case s.to.in.index != 0:
		value = s.to.in.index
	}
	s.set(register, binary.NativeEndian.AppendUint32(nil, value), mask(4))
	s.loaded("fib saddr", hexadecimal)
}

// extension reads "exthdr". Packets to a service have neither extension headers
// nor options of IP; they may have options of TCP.
func (s *state) extension(a attributes) {
	const presentFlag, ipv6, ipv4 = 1, 0, 2
	op := a.number(unix.NFTA_EXTHDR_OP)
	isOfIP := (op == ipv6 || op == ipv4) && s.to.stranger
	switch {
	case a.has(extensionSource):
		return // it changes an option
	case isOfIP && a.number(unix.NFTA_EXTHDR_FLAGS)&presentFlag != 0:
		s.set(a.number(unix.NFTA_EXTHDR_DREG), []byte{0}, mask(1))
	case isOfIP:
		s.forget()
		s.worse(rarely)
	default:
		s.forget()
	}
	s.loaded("exthdr", hexadecimal)
}

// extensionSource is NFTA_EXTHDR_SREG.
const extensionSource = 7

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
