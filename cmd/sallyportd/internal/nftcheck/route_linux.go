package nftcheck

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

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
