package nftcheck

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes of the expression "legacy".
const (
	legacyHeader = 1
	legacyFamily = 2
)

func made(list ...attribute) attributes { return attributes{list: list, whole: true} }

// matchHeader reads the addresses, interfaces and the protocol of an entry.
func (s *state) matchHeader(a attributes) {
	header, _ := a.get(legacyHeader)
	l := legacyLayouts[0]
	if byte(a.number(legacyFamily)) == unix.NFPROTO_IPV6 {
		l = legacyLayouts[1]
	}
	const invertsIn, invertsOut, invertsSource, invertsDestination, invertsFragment, invertsProtocol = 1, 2, 8, 16, 32, 64
	inverts := func(bit byte) bool { return header[l.flagsAt+1]&bit != 0 }
	field := func(i int) []byte { return header[i*l.addressLen:][:l.addressLen] }
	source, destination, sourceMask, destinationMask := field(0), field(1), field(2), field(3)
	op := map[bool]string{false: " ", true: " != "}
	if slices.Max(sourceMask) > 0 || inverts(invertsSource) {
		s.text = append(s.text, familyName(l.family)+" saddr"+op[inverts(invertsSource)]+prefixText(source, sourceMask))
		s.worse(map[bool]match{false: rarely, true: mostly}[inverts(invertsSource)])
	}
	if slices.Max(destinationMask) > 0 || inverts(invertsDestination) {
		s.text = append(s.text, familyName(l.family)+" daddr"+op[inverts(invertsDestination)]+prefixText(destination, destinationMask))
		if !s.to.address.IsValid() {
			s.worse(maybe)
		} else if sameMasked(s.to.address.AsSlice(), destination, destinationMask) == inverts(invertsDestination) {
			s.worse(never)
		}
	}
	nameMask := header[l.maskAt:][:16]
	if slices.Max(nameMask) > 0 || inverts(invertsIn) {
		want := header[l.interfaceAt:][:16]
		s.text = append(s.text, "iifname"+op[inverts(invertsIn)]+nameText(want))
		switch {
		case s.to.in.name == "":
			code := uint64(unix.NFT_CMP_EQ)
			if inverts(invertsIn) {
				code = unix.NFT_CMP_NEQ
			}
			s.compareInterface(code, want)
		case sameMasked(paddedName(s.to.in.name), want, nameMask) == inverts(invertsIn):
			s.worse(never)
		}
	}
	if slices.Max(header[l.maskAt+16:][:16]) > 0 || inverts(invertsOut) {
		s.text = append(s.text, "oifname"+op[inverts(invertsOut)]+nameText(header[l.interfaceAt+16:][:16]))
		s.worse(maybe)
	}
	const fragments = 1
	if l.family == unix.NFPROTO_IPV4 && header[l.flagsAt]&fragments != 0 && !inverts(invertsFragment) {
		s.worse(never) // the first fragment is no later one
	}
	if protocol := binary.NativeEndian.Uint16(header[l.protocolAt:]); protocol != 0 {
		s.text = append(s.text, strings.TrimSpace(op[inverts(invertsProtocol)]+protocolText([]byte{byte(protocol)})))
		if (byte(protocol) == s.to.protocol) == inverts(invertsProtocol) {
			s.worse(never)
		}
	}
}

func sameMasked(a, b, by []byte) bool {
	for i := range min(len(a), len(b), len(by)) {
		if (a[i]^b[i])&by[i] != 0 {
			return false
		}
	}
	return len(a) == len(b)
}

func prefixText(address, by []byte) string {
	a, _ := netip.AddrFromSlice(address)
	n := 0
	for _, b := range by {
		for ; b != 0; b <<= 1 {
			n++
		}
	}
	if n == a.BitLen() {
		return a.String()
	}
	return fmt.Sprintf("%s/%d", a, n)
}
