package main

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/verify/wire"
)

// answeredAlike expects an answer of each port to options that the kernel finds wrong. It
// looks at these before any filter: a port that were silent would be a live knock port.
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
