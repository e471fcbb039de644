package nftcheck

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// matchExtension reads a match of iptables, as iptables-nft stores it.
func (s *state) matchExtension(a attributes) {
	info, _ := a.get(unix.NFTA_MATCH_INFO)
	switch called := a.text(unix.NFTA_MATCH_NAME); called {
	case "comment":
	case "tcp", "udp":
		s.matchPorts(called, info)
	case "multiport":
		s.matchSeveralPorts(a.number(unix.NFTA_MATCH_REV), info)
	case "addrtype":
		s.matchType(a.number(unix.NFTA_MATCH_REV), info)
	default:
		s.text = append(s.text, "-m "+called)
		s.worse(maybe)
	}
}

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
	if word(0) != 0 || word(2) != 1<<16-1 || inverts&^2 != 0 || protocol == "tcp" && (info[8] != 0 || info[9] != 0) {
		s.worse(maybe) // source ports, flags, options
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

// matchSeveralPorts reads struct xt_multiport_v1.
func (s *state) matchSeveralPorts(revision uint64, info []byte) {
	const destinations, most = 1, 15
	const portsAt, rangesAt, invertAt = 2, 2 + 2*most, 2 + 3*most
	s.text = append(s.text, "-m multiport")
	if revision != 1 || len(info) <= invertAt || info[0] != destinations || s.low != s.high {
		s.worse(maybe)
		return
	}
	found := false
	for i := 0; i < min(int(info[1]), most); i++ {
		low := int(binary.NativeEndian.Uint16(info[portsAt+2*i:]))
		high := low
		if info[rangesAt+i] != 0 && i+1 < most { // the next one is the end of the range
			i++
			high = int(binary.NativeEndian.Uint16(info[portsAt+2*i:]))
		}
		found = found || low <= s.low && s.low <= high
	}
	if found == (info[invertAt] != 0) {
		s.worse(never)
	}
}

// matchType reads struct xt_addrtype_info, and its later revision.
func (s *state) matchType(revision uint64, info []byte) {
	const local, invertDestination = 1 << unix.RTN_LOCAL, 2
	n := 12 // two masks of 16 bits, two inversions of 32
	if revision == 1 {
		n = 8 // two masks, flags of 32 bits
	}
	if len(info) < n {
		s.worse(maybe)
		return
	}
	source, destination := binary.NativeEndian.Uint16(info), binary.NativeEndian.Uint16(info[2:])
	inverted := nativeUint32(info[4:])&invertDestination != 0
	plain := nativeUint32(info[4:])&^invertDestination == 0
	if revision != 1 {
		inverted, plain = nativeUint32(info[8:]) != 0, nativeUint32(info[4:]) == 0
	}
	if source != 0 || !plain || destination != local || !s.to.local && !s.to.elsewhere {
		s.text = append(s.text, "-m addrtype")
		s.worse(maybe)
		return
	}
	if s.to.local == inverted {
		s.worse(never)
	}
	s.text = append(s.text, "fib daddr type "+map[bool]string{false: "local", true: "!= local"}[inverted])
}

// targetExtension reads a target of iptables. Ends is false if the packet goes
// on to the next expression or rule.
func (r *ruleset) targetExtension(c *chain, number int, s *state, a attributes) (f effect, ends bool) {
	info, _ := a.get(unix.NFTA_TARGET_INFO)
	switch called := a.text(unix.NFTA_TARGET_NAME); called {
	case "DNAT":
		t := target{how: "dnat to"}
		return effect{target: destinationOf(&t, c.family, a.number(unix.NFTA_TARGET_REV), info)}, true
	case "REDIRECT":
		t := target{how: "redirect to"}
		destinationOf(&t, c.family, 0, info)
		t.address, t.other = netip.Addr{}, false
		return effect{target: &t}, true
	case "NETMAP":
		return effect{target: &target{how: "netmap to", other: true}}, true
	case "TPROXY":
		return effect{target: &target{how: tproxies, unclear: true}, passes: true}, true
	case "SNAT", "MASQUERADE":
		return effect{source: strings.ToLower(called)}, true
	case "REJECT":
		return effect{verdict: &verdict{code: verdictDrop}}, true
	case "LOG", "NFLOG", "MARK", "CONNMARK", "CT", "NOTRACK", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "TCPMSS", "TRACE", "CHECKSUM",
		"SET", "SECMARK", "CONNSECMARK", "AUDIT", "RATEEST", "IDLETIMER", "LED", "TCPOPTSTRIP", "TEE":
		return f, false
	case "NFQUEUE", "SYNPROXY":
		s.worse(maybe)
		return effect{verdict: &verdict{code: verdictQueue}}, true
	default:
		r.cannotReadRule(c, number, fmt.Sprintf("target %q of iptables", called))
		s.worse(maybe)
		return f, false
	}
}

// destinationOf reads struct nf_nat_ipv4_multi_range_compat, nf_nat_range and
// nf_nat_range2. An address or a port that it cannot read is not known.
func destinationOf(t *target, family byte, revision uint64, info []byte) *target {
	const mapsAddresses, hasPorts = 1, 2
	var flags uint32
	var address netip.Addr
	portAt := 0
	switch {
	case family == unix.NFPROTO_IPV4 && revision == 0 && len(info) >= 20: // a number of ranges, and one
		flags, portAt = nativeUint32(info[4:]), 16
		address, _ = netip.AddrFromSlice(info[8:12])
	case (family == unix.NFPROTO_IPV6 || revision >= 1) && len(info) >= 40:
		flags, portAt = nativeUint32(info), 36
		address, _ = netip.AddrFromSlice(info[4:20])
		if family == unix.NFPROTO_IPV4 {
			address, _ = netip.AddrFromSlice(info[4:8])
		}
	default:
		t.other, t.unclear = true, true
		return t
	}
	if flags&mapsAddresses != 0 {
		t.address = address
	}
	if flags&hasPorts != 0 {
		t.port = bigEndian(info[portAt:])
	}
	return t
}
