package firewall

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// TestDrawnListen: the server listens on a drawn port. Its peer gets in, also with
// Stealth. A scan by strangers gets what an unused port answers, also where another
// program's rules drop or reject what is for unused ports; so does the peer of another
// service's lease.
func TestDrawnListen(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const drawn, other, unused = 10000, 10001, 10002
	w.answering(nil, drawn)
	w.answering(nil, other)
	for rules, filtered := range map[string]bool{
		"": false,
		"chain c { type filter hook input priority 0; policy drop; tcp dport 7 accept; icmpv6 type { 133, 134, 135, 136, 137 } accept; };":                                true,
		"chain c { type filter hook input priority 0; policy accept; meta l4proto { tcp, udp } th dport >= 10000 reject with icmpx admin-prohibited; };":                  true,
		"chain c { type filter hook prerouting priority -150; policy accept; meta l4proto { tcp, udp } th dport 10000-10999 drop; };":                                     true,
		"chain c { type filter hook input priority 0; policy drop; meta l4proto { tcp, udp } th dport 7-10999 accept; icmpv6 type { 133, 134, 135, 136, 137 } accept; };": false,
	} {
		for _, stealth := range []bool{false, true} {
			w.nft("flush ruleset\ntable inet others { " + rules + " }")
			w.forget()
			f := w.claim(Config{Ports: []Port{
				{Protocol: TCP, Drawn: drawnRange}, {Protocol: UDP, Drawn: drawnRange},
				{Protocol: TCP, Drawn: drawnRange}, {Protocol: UDP, Drawn: drawnRange, Address: host4},
			}, Stealth: stealth})
			name := fmt.Sprintf("rules %q, stealth %v", rules, stealth)
			var changes []access.Change
			for place, port := range []uint16{drawn, drawn, other, other} {
				changes = append(changes, drawnChange(place, access.PeerOf(client4, 128), port, time.Hour))
				if place != 3 {
					changes = append(changes, drawnChange(place, access.PeerOf(client6, 64), port, time.Hour))
				}
			}
			w.must(f.do(changes...))
			sees := func(when string, all ...[2]netip.Addr) {
				t.Helper()
				for _, of := range all {
					as := scans(of[0], of[1], unused)
					for _, port := range []uint16{drawn, other} {
						if port == other && of[1].Is6() {
							continue // at host4, UDP is another program's
						}
						for name2, packets := range scans(of[0], of[1], port) {
							got, want := normal(w.probe(packets...), port), normal(w.probe(as[name2]...), unused)
							if got != want {
								t.Errorf("%s, %s: %s from %s to port %d:\n%s\nto an unused one:\n%s", name, when, name2, of[0], port, got, want)
							}
						}
					}
				}
			}
			strangers := [][2]netip.Addr{{stranger4, host4}, {stranger6, hostOf(stranger6)}}
			sees("granted", strangers...)
			if filtered {
				continue // the other program decides about all packets
			}
			for _, protocol := range []Protocol{TCP, UDP} {
				for _, from := range []netip.Addr{client4, client6} {
					if got := w.expect(protocol, from, drawn, "open"); got != "open" {
						t.Errorf("%s: %s from %s: %s", name, protocol, from, got)
					}
				}
			}
			// The lease ends, and later the server closes its socket: so does the table.
			for i := range changes {
				changes[i].Until = time.Time{}
			}
			w.must(f.do(changes...))
			w.forget()
			sees("revoked", append(strangers, [2]netip.Addr{client4, host4}, [2]netip.Addr{client6, host6})...)
			w.must(f.Close())
		}
	}
}
