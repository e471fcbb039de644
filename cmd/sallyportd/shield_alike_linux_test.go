package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/verify/wire"
)

// answeredAlike expects an answer of each port to options that the kernel finds wrong, and
// to an authentication header. It looks at the options before any filter, and the header
// is not UDP for a filter: a port that were silent would be a live knock port.
// The kernel loses some answers on a busy host, so the probes are repeated. It answers
// none over IPv6 that arrives at a bridge.
func (p *prober) answeredAlike(t *testing.T, ports []uint16, bridge bool) {
	t.Helper()
	empty := make([]byte, wire.Size)
	probes := map[string]func(port uint16) []byte{}
	if !bridge {
		probes[fmt.Sprintf("ICMPv6 type %d for %s", parameterProblem6, rejectedOption)] = func(port uint16) []byte {
			return p.frame6(rejectedOption, port, empty, unix.IPPROTO_HOPOPTS, 0, 0xc2, 4, 0, 0, 0, 0)
		}
	}
	for name, options := range map[string][]byte{
		malformedOptions: {7, 99, 0, 0}, "IP options: wrong pointer": {7, 7, 3, 0, 0, 0, 0, 0},
		"IP options: wrong timestamp": {68, 4, 1, 0}, "IP options: wrong router alert": {148, 3, 0, 1},
	} {
		probes[fmt.Sprintf("ICMP type %d for %s", parameterProblem, name)] = func(port uint16) []byte {
			return withOptions(p.frame(name, port, empty), options)
		}
	}
	// With these modules, the kernel answers the header at no port.
	if _, err := os.Stat("/sys/module/ah6"); err != nil && !bridge {
		probes[fmt.Sprintf("ICMPv6 type %d for %s", parameterProblem6, authentication)] = func(port uint16) []byte {
			return p.frame6(authentication, port, empty, authentication6...)
		}
	}
	if _, err := os.Stat("/sys/module/ah4"); err != nil {
		probes[fmt.Sprintf("ICMP type %d for %s", unreachableType, authentication)] = func(port uint16) []byte {
			return withAuthentication(p.frame(authentication, port, empty))
		}
	}
	for answer, frame := range probes {
		answered := map[string]bool{}
		netns.Until(t, "each port answers: "+answer, func() bool {
			for _, f := range p.tap.received(t) {
				answered[p.answer(f)] = true
			}
			all := true
			for _, port := range ports {
				if !answered[fmt.Sprintf("%s to port %d", answer, port)] {
					p.tap.send(t, frame(port))
					all = false
				}
			}
			return all
		}, func() string { return fmt.Sprint(answered) })
	}
}

// authentication6 is an authentication header of 8 bytes, for frame6.
var authentication6 = []byte{unix.IPPROTO_AH, 0, 0, 0, 0, 0, 0, 9}

// withAuthentication puts an authentication header (RFC 4302) before the UDP header of a
// frame, which the program could follow.
func withAuthentication(f []byte) []byte {
	const ip, udp = 14, 14 + 20
	f = slices.Insert(f, udp, unix.IPPROTO_UDP, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1)
	f[ip+9] = unix.IPPROTO_AH
	binary.BigEndian.PutUint16(f[ip+2:], uint16(len(f)-ip))
	return withChecksum(f)
}
