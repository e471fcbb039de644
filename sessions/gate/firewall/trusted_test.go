package firewall

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzTrusted: peers that were parsed print as texts that parse to the same peers,
// and no list includes a whole half of the addresses of a family.
func FuzzTrusted(f *testing.F) {
	for _, text := range []string{"10.8.0.0/24 docker0", "2001:db8::/64 fc00::/7", "::ffff:10.0.0.1", "0.0.0.0/0", "br-* lo", "fe80::1%eth0", "10.0.0.1 10.0.0.1/32"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		peers, err := ParseTrusted(strings.Split(text, " "))
		if err != nil {
			return
		}
		again, err := ParseTrusted(peers.Texts())
		if err != nil || !again.Equal(peers) {
			t.Errorf("%q is %+v, printed and read again %+v: %v", text, peers, again, err)
		}
		for _, halves := range [][2]string{{"1.0.0.1", "129.0.0.1"}, {"2001:db8::1", "ff00::1"}} {
			if peers.lets(netip.MustParseAddr(halves[0]), false) && len(peers.Networks) == 1 &&
				peers.lets(netip.MustParseAddr(halves[1]), false) {
				t.Errorf("%q includes both halves of a family", text)
			}
		}
		for _, name := range peers.Interfaces {
			if len(name) > 15 || strings.ContainsAny(name, "*\"/ \\") {
				t.Errorf("%q is no interface", name)
			}
		}
	})
}
