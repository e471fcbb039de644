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
	portAt, lastAt := 0, 0
	switch {
	case family == unix.NFPROTO_IPV4 && revision == 0 && len(info) >= 20: // a number of ranges, and one
		flags, portAt, lastAt = nativeUint32(info[4:]), 16, 18
		address, _ = netip.AddrFromSlice(info[8:12])
	case (family == unix.NFPROTO_IPV6 || revision >= 1) && len(info) >= 40:
		flags, portAt, lastAt = nativeUint32(info), 36, 38
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
		t.last = max(bigEndian(info[lastAt:]), t.port)
	}
	return t
}
