package udp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestAddressesOnAHost: without IPv6, "::" becomes IPv4, or is left out beside it.
func TestAddressesOnAHost(t *testing.T) {
	for _, row := range []struct{ listen, with, without string }{
		{"", "[::]", "[0.0.0.0]"}, {"::", "[::]", "[0.0.0.0]"}, {"0.0.0.0", "[0.0.0.0]", "[0.0.0.0]"},
		{":: 0.0.0.0", "[:: 0.0.0.0]", "[0.0.0.0]"}, {"192.0.2.1 ::", "[192.0.2.1 ::]", "[192.0.2.1]"},
		{":: 2001:db8::1", "[:: 2001:db8::1]", "[0.0.0.0 2001:db8::1]"}, {"2001:db8::1", "[2001:db8::1]", "[2001:db8::1]"},
	} {
		var as Addresses
		for _, a := range strings.Fields(row.listen) {
			as = append(as, netip.MustParseAddr(a))
		}
		with, without := fmt.Sprint(as.on(true)), fmt.Sprint(as.on(false))
		if with != row.with || without != row.without {
			t.Errorf("%q: %s with IPv6, %s without", row.listen, with, without)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, row := range []struct {
		addresses      []string
		v4, v6, v6only bool
		has, hasNot    []string
	}{
		{nil, true, true, false, []string{"192.0.2.1", "2001:db8::1", "fe80::1%eth0"}, nil},
		{[]string{"::"}, true, true, false, []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"}, nil},
		{[]string{"0.0.0.0"}, true, false, true, []string{"192.0.2.1"}, []string{"2001:db8::1"}},
		{[]string{"::", "0.0.0.0"}, true, true, true, []string{"192.0.2.1", "2001:db8::1"}, nil},
		{[]string{"::", "192.0.2.1"}, true, true, true, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.2", "::ffff:192.0.2.2"}},
		{[]string{"::", "2001:db8::1"}, true, true, false, []string{"192.0.2.2", "2001:db8::2"}, nil},
		{[]string{"2001:db8::1"}, false, true, false, []string{"2001:db8::1"}, []string{"192.0.2.1", "2001:db8::2"}},
		{[]string{"192.0.2.1"}, true, false, true, []string{"192.0.2.1"}, []string{"192.0.2.2", "2001:db8::1"}},
		{[]string{"fe80::1%eth0"}, false, true, false, []string{"fe80::1%eth0", "fe80::1"}, []string{"fe80::2%eth0"}},
	} {
		var as Addresses
		for _, a := range row.addresses {
			as = append(as, netip.MustParseAddr(a))
		}
		if v4, v6 := as.Families(); v4 != row.v4 || v6 != row.v6 || as.V6Only() != row.v6only {
			t.Errorf("%v: IPv4 %v, IPv6 %v, only %v", as, v4, v6, as.V6Only())
		}
		for want, list := range map[bool][]string{true: row.has, false: row.hasNot} {
			for _, a := range list {
				if got := as.Has(netip.MustParseAddr(a)); got != want {
					t.Errorf("%v: %s: %v", as, a, got)
				}
			}
		}
	}
}
