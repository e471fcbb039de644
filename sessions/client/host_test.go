package client

import (
	"strings"
	"testing"
)

func TestValidHost(t *testing.T) {
	for _, good := range []string{
		"gate.example", "gate.example.", "xn--bcher-kva.example", "bücher.example", "my_host", "4.gate.example", "gate7", "203.0.113.5", "2001:db8::1", "::ffff:203.0.113.5",
		"fe80::1", "fe80::1%eth0", "fe80::1%br-lan.7", "fe80::1%wlan_0", "fe80::1%3", "fe80::1%" + strings.Repeat("x", 15),
	} {
		if !ValidHost(good) {
			t.Errorf("%q is rejected", good)
		}
	}
	for _, bad := range []string{
		"", "-gate", "$(id)", "a;b", "a b", "a|b", "a`b`", "a\nb", "a\x1b[2J", "a/b", "a:1", "[::1]", "a'b", `a"b`, "a\u202eb", "{port}", "a%b", strings.Repeat("a", 254),
		"::1%eth0", "2001:db8::1%eth0", "fe80::1%$(id)", "fe80::1%a b", "fe80::1%;id", "fe80::1%{port}", "fe80::1%é", "fe80::1%" + strings.Repeat("x", 16), "127.0.0.1%eth0", "fe80::1%",
		"10.0.0.300", "10.0.0.300.", "10.0.0", "1.2.3.4.5", "300", "gate.7", ".", "gate..",
	} {
		if ValidHost(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
}
