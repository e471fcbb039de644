package nftcheck

import (
	"encoding/binary"
	"fmt"
)

// matchPorts reads struct xt_tcp and struct xt_udp.
func (s *state) matchPorts(protocol string, info []byte) {
	invertsAt, n := 8, 9
	if protocol == "tcp" {
		invertsAt, n = 11, 12
	}
	if len(info) < n {
		s.worse(maybe)
		return
	}
	if protocol != s.to.protocolName() {
		s.worse(never)
		return
	}
	word := func(at int) int { return int(binary.NativeEndian.Uint16(info[at:])) }
	low, high, inverts := word(4), word(6), info[invertsAt]
	if word(0) != 0 || word(2) != 1<<16-1 || inverts&1 != 0 {
		s.text = append(s.text, protocol+" sport")
		s.worse(maybe)
	}
	if protocol == "tcp" {
		s.matchFlags(info[8], info[9], info[10], inverts)
	}
	if low == 0 && high == 1<<16-1 {
		return
	}
	ports, op := fmt.Sprint(low), ""
	if high != low {
		ports += fmt.Sprintf("-%d", high)
	}
	if inverts&2 != 0 {
		op = "!= "
		s.except(low, high)
	} else {
		s.narrow(low, high)
	}
	s.text = append(s.text, protocol+" dport "+op+ports)
}

// matchFlags reads the options and flags of struct xt_tcp.
func (s *state) matchFlags(option, of, want, inverts byte) {
	const invertsFlags, invertsOption = 4, 8
	switch {
	case option != 0 || inverts&invertsOption != 0, of != 0 && !s.to.stranger:
		s.text = append(s.text, "tcp options")
		s.worse(maybe)
	case (flagSYN&of == want) == (inverts&invertsFlags != 0):
		s.worse(never)
	}
}

// matchSeveralPorts reads struct xt_multiport_v1.
func (s *state) matchSeveralPorts(revision uint64, info []byte) {
	const destinations, most = 1, 15
	const portsAt, rangesAt, invertAt = 2, 2 + 2*most, 2 + 3*most
	if revision != 1 || len(info) <= invertAt || info[0] != destinations {
		s.text = append(s.text, "-m multiport")
		s.worse(maybe)
		return
	}
	var listed ports
	for i := 0; i < min(int(info[1]), most); i++ {
		low := int(binary.NativeEndian.Uint16(info[portsAt+2*i:]))
		high := low
		if info[rangesAt+i] != 0 && i+1 < most { // the next one is the end of the range
			i++
			high = int(binary.NativeEndian.Uint16(info[portsAt+2*i:]))
		}
		if low <= high {
			listed = listed.or(ports{{low, high}})
		}
	}
	op := ""
	if info[invertAt] != 0 {
		op = "!= "
		s.restrict(listed.others())
	} else {
		s.restrict(listed)
	}
	s.text = append(s.text, fmt.Sprintf("-m multiport %s dports %s%s", s.to.protocolName(), op, listed))
}
