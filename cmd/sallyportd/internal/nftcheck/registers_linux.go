package nftcheck

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// registerBytes is how much the registers of a rule hold.
const registerBytes = 64

// registers are what a rule has loaded of a packet, as far as it is known.
type registers struct {
	bytes [registerBytes]byte
	known uint64 // a bit for each byte
	port  int    // where the port lies, if it is one of several; -1: nowhere
}

// offset returns where a register begins: there are 4 of 16 bytes, and 16 of 4
// in the same place.
func offset(register uint64) (at int, ok bool) {
	switch {
	case register >= unix.NFT_REG_1 && register <= unix.NFT_REG_4:
		return int(register-unix.NFT_REG_1) * 16, true
	case register >= unix.NFT_REG32_00 && register <= unix.NFT_REG32_15:
		return int(register-unix.NFT_REG32_00) * registerWord, true
	}
	return 0, false
}

// set stores a value, of which some bytes may not be known: those not in the
// mask. A value that does not fit is not known.
func (r *registers) set(register uint64, value []byte, mask uint64) {
	at, ok := offset(register)
	if !ok || at+len(value) > registerBytes {
		r.forget()
		return
	}
	for i, b := range value {
		r.bytes[at+i] = b
		r.known &^= 1 << (at + i)
		r.known |= mask >> i & 1 << (at + i)
	}
	// The kernel fills up the word.
	for i := at + len(value); i%registerWord != 0; i++ {
		r.bytes[i] = 0
		r.known |= 1 << i
	}
	if r.port >= at && r.port < at+max(len(value), registerWord) {
		r.port = -1
	}
}

// forget is for what loads values that are not followed here.
func (r *registers) forget() { r.known, r.port = 0, -1 }

// get returns n bytes; whole is false if some are not known.
func (r *registers) get(register uint64, n int) (value []byte, known uint64, whole bool) {
	at, ok := offset(register)
	if !ok || n <= 0 || at+n > registerBytes {
		return nil, 0, false
	}
	known = r.known >> at & mask(n)
	return r.bytes[at : at+n], known, known == mask(n)
}

// holdsPort reports whether a register holds the port, where that is one of
// several, and nothing else.
func (r *registers) holdsPort(register uint64, n int) bool {
	at, ok := offset(register)
	return ok && n == 2 && r.port == at
}

// mask has a bit for each of n bytes.
func mask(n int) uint64 {
	if n >= 64 {
		return ^uint64(0)
	}
	return 1<<n - 1
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
	label, show := fmt.Sprintf("@%d,%d,%d", base, at*8, n*8), hexadecimal
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
		if s.low == s.high {
			put(2, binary.BigEndian.AppendUint16(nil, uint16(s.low)))
		} else if at <= 2 && at+n >= 4 {
			port = 2 - int(at)
		}
		switch {
		case at == 2 && n == 2:
			label, show = s.to.protocolName()+" dport", portText
		case at == 0 && n == 2:
			label, show = s.to.protocolName()+" sport", portText
		}
	}
	s.set(register, header, known)
	if where, ok := offset(register); ok && port >= 0 {
		s.registers.port = where + port
	}
	s.loaded(label, show)
}

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
