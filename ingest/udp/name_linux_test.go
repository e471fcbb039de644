package udp

import (
	"net/netip"
	"testing"
)

// TestNameSet: an address as the kernel's program writes it becomes that of the sender,
// as a socket reports it, except for the zone, which the program does not know.
func TestNameSet(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8::1": "2001:db8::1",
		"fe80::1": "fe80::1", "::c000:207": "::c000:207",
	} {
		var n Name
		n.Set(netip.MustParseAddr(text).As16(), 40_000)
		if got := n.Addr().String(); got != want || n.Port() != 40_000 {
			t.Errorf("%s: %s, port %d, want %s", text, got, n.Port(), want)
		}
	}
	// A name that had an IPv6 address before keeps nothing of it.
	var n Name
	n.Set(netip.MustParseAddr("fe80::1").As16(), 1)
	n.Set(netip.MustParseAddr("192.0.2.7").As16(), 40_000)
	if got := n.Addr(); got != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("got %s", got)
	}
	a := netip.MustParseAddr("2001:db8::1").As16()
	if got := testing.AllocsPerRun(100, func() { n.Set(a, 1); n.Addr() }); got != 0 {
		t.Errorf("%g allocations", got)
	}
}
