package nftcheck

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// matchExtension reads a match of iptables.
func (s *state) matchExtension(a attributes) {
	info, _ := a.get(unix.NFTA_MATCH_INFO)
	revision := a.number(unix.NFTA_MATCH_REV)
	switch called := a.text(unix.NFTA_MATCH_NAME); called {
	case "comment":
	case "tcp", "udp":
		s.matchPorts(called, info)
	case "multiport":
		s.matchSeveralPorts(revision, info)
	case "addrtype":
		s.matchType(revision, info)
	case "conntrack":
		s.matchConnection(revision, info)
	case "state":
		if len(info) < 4 || !s.to.stranger {
			s.text = append(s.text, "-m state")
			s.worse(maybe)
			return
		}
		s.matchState(nativeUint32(info), false)
	case "set":
		s.matchSet(info)
	case "mark":
		s.matchMark(info)
	case "pkttype":
		s.matchPacketType(info)
	case "rpfilter":
		s.text = append(s.text, "-m rpfilter")
		const inverted = 1 << 3
		switch {
		case len(info) < 1 || !s.to.stranger:
			s.worse(maybe)
		case info[0]&inverted != 0:
			s.worse(never) // a stranger's source address is not forged
		}
	case "geoip", "mac", "rt", "hbh", "dst", "frag", "ah", "esp": // some sources, or packets with such a header
		s.text = append(s.text, "-m "+called)
		s.worse(rarely)
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

// matchType reads struct xt_addrtype_info, and its later revision.
func (s *state) matchType(revision uint64, info []byte) {
	const invertSource, invertDestination, limitInterface = 1, 2, 4 | 8
	n := 12 // two masks of 16 bits, two inversions of 32
	if revision == 1 {
		n = 8 // two masks, flags of 32 bits
	}
	if len(info) < n {
		s.worse(maybe)
		return
	}
	source, destination := binary.NativeEndian.Uint16(info), binary.NativeEndian.Uint16(info[2:])
	flags := nativeUint32(info[4:])
	if revision != 1 {
		flags = 0
		if nativeUint32(info[4:]) != 0 {
			flags |= invertSource
		}
		if nativeUint32(info[8:]) != 0 {
			flags |= invertDestination
		}
	}
	if source != 0 {
		s.text = append(s.text, "fib saddr type")
		switch unicast := source&(1<<unix.RTN_UNICAST) != 0; {
		case !s.to.stranger || flags&limitInterface != 0:
			s.worse(maybe)
		case unicast == (flags&invertSource != 0):
			s.worse(never)
		}
	}
	if destination == 0 {
		return
	}
	s.text = append(s.text, "fib daddr type "+map[bool]string{false: "", true: "!= "}[flags&invertDestination != 0]+typesText(destination))
	is := uint16(1 << unix.RTN_LOCAL)
	if s.to.elsewhere {
		is = 1 << unix.RTN_UNICAST
	}
	switch {
	case !s.to.local && !s.to.elsewhere, flags&limitInterface != 0:
		s.worse(maybe)
	case (destination&is != 0) == (flags&invertDestination != 0):
		s.worse(never)
	}
}

// typesText writes types of addresses.
func typesText(of uint16) string {
	var names []string
	for i, name := range []string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast"} {
		if of>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
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
		return effect{verdict: &verdict{code: verdictDrop, rejects: true}}, true
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
