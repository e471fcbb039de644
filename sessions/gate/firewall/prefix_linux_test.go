package firewall

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
)

// TestNetworksOfIPv4: a grant for a network of IPv4 lets in its addresses, and no
// others, at a fixed port and at a drawn one, until it is revoked. A grant of another
// length is refused.
func TestNetworksOfIPv4(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	const fixed, drawn = 2000, 10007
	w.echo(fixed)
	w.echo(2001) // the real port of the drawn one
	for _, bits := range []int{16, 20, 24, 31, 32} {
		for _, cut := range []bool{false, true} {
			ports := []Port{{Protocol: TCP, Port: fixed, Cut: cut, PrefixLen4: bits}}
			if bits%8 == 0 {
				ports = append(ports, Port{Protocol: TCP, Port: 2001, Cut: cut, PrefixLen4: bits, Drawn: drawnRange})
			}
			f := w.claim(Config{Ports: ports})
			for place := range ports {
				port := uint16(fixed)
				if place == 1 {
					port = drawn
				}
				peer := func(text string) access.Peer {
					p := access.PeerIn(netip.MustParseAddr(text), bits, access.PrefixHost)
					if place == 1 {
						p.Port = drawn
					}
					return p
				}
				in := func(when string, want bool) {
					t.Helper()
					for _, from := range []netip.Addr{client4, stranger4} {
						got := w.outcome(TCP, from, host4, port) == "open"
						if got != (want && (bits < 32 || from == client4)) {
							t.Errorf("%d bits, cut %v, port %d, %s: %s gets in: %v", bits, cut, port, when, from, got)
						}
					}
				}
				in("closed", false)
				w.must(f.do(changeOf(place, peer("198.52.100.2"), time.Hour), changeOf(place, peer("198.51.100.2"), time.Hour)))
				in("granted", true)
				prefix := access.Peer{Prefix: peer("198.51.100.2").Prefix}
				reached, err := f.Connected([]access.Change{{Service: serviceOf(place), Peer: prefix}})
				if err != nil || !reached[0] {
					t.Errorf("%d bits: connected: %v, %v", bits, reached, err)
				}
				for _, from := range []netip.Addr{client4, stranger4} {
					if bits == 32 && from != client4 {
						continue
					}
					c := w.connect(from, port)
					if c == nil || !w.alive(c) {
						t.Fatalf("%d bits, port %d: %s cannot connect", bits, port, from)
					}
					w.must(f.Disconnect([]access.Change{{Service: serviceOf(place), Peer: prefix}}))
					if w.alive(c) {
						t.Errorf("%d bits, port %d: the connection of %s is not cut", bits, port, from)
					}
				}
				other := changeOf(place, access.PeerIn(client4, 25, access.PrefixHost), time.Hour)
				if other.Peer.Port = peer("198.51.100.2").Port; f.do(other) == nil {
					t.Errorf("%d bits: a grant of 25 bits was made", bits)
				}
				w.must(f.do(changeOf(place, peer("198.51.100.2"), 0)))
				in("revoked", false)
			}
		}
	}
}

func TestPrefixConfig(t *testing.T) {
	for name, p := range map[string]Port{
		"15 bits": {Protocol: TCP, Port: 1, PrefixLen4: 15}, "33 bits": {Protocol: TCP, Port: 1, PrefixLen4: 33},
		"a number of a network": {Protocol: TCP, Port: 1, PrefixLen4: 24, RequireISN: true},
		"drawn, 20 bits":        {Protocol: TCP, Port: 1, PrefixLen4: 20, Drawn: drawnRange},
	} {
		if (Config{Ports: []Port{p}}).Validate() == nil {
			t.Errorf("%s is valid", name)
		}
	}
}
