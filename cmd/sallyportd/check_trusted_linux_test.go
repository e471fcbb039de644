package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
)

// trustedCodes returns the codes of the warnings about a configuration whose service
// trusts these interfaces.
func trustedCodes(t *testing.T, interfaces string) (codes []string) {
	t.Helper()
	cfg, err := config.Parse("c.toml", []byte("ports = 3\nport_secret = \"x\"\nclients = \"c\"\n"+
		"[[service]]\nname = \"db\"\ntype = \"firewall\"\nlisten = \":5432\"\nallow = ["+interfaces+"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range checkTrusted(cfg, hostLinks()) {
		codes = append(codes, f.Code)
	}
	return codes
}

// TestTrustedInterfaces: "check" warns about an interface of a default route, of each
// form, and about one that does not exist.
func TestTrustedInterfaces(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	other := netns.NewHost(t)
	for i, name := range []string{"docker0", "eth0", "eth1", "eth2", "tun0"} {
		n := fmt.Sprint(i + 1)
		netns.Connect(t, netns.End{Name: name, Addresses: []string{"10." + n + ".0.1/24", "2001:db8:" + n + "::1/64"}}, other,
			netns.End{Name: "o" + name, Addresses: []string{"10." + n + ".0.2/24"}})
	}
	index := func(name string) int {
		link, err := netlink.LinkByName(name)
		must(err)
		return link.Attrs().Index
	}
	gateway := func(network byte) net.IP { return net.IPv4(10, network, 0, 2) }
	must(netlink.RouteAdd(&netlink.Route{LinkIndex: index("eth0"), Gw: gateway(2)}))
	_, all6, err := net.ParseCIDR("::/0")
	must(err)
	must(netlink.RouteAdd(&netlink.Route{LinkIndex: index("eth1"), Dst: all6}))
	must(netlink.RouteAdd(&netlink.Route{Table: 51820, LinkIndex: index("tun0"), Gw: gateway(5)}))
	_, all4, err := net.ParseCIDR("0.0.0.0/0")
	must(err)
	must(netlink.RouteAdd(&netlink.Route{Dst: all4, Priority: 10, MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: index("eth2"), Gw: gateway(4)}, {LinkIndex: index("eth0"), Gw: gateway(2)},
	}}))
	for interfaces, want := range map[string]string{
		`"docker0"`: "", `"lo", "10.0.0.0/8"`: "", `"eth9", "docker0"`: "allow-interface-missing",
		`"eth0"`: "allow-default-route", `"eth1"`: "allow-default-route", `"eth2"`: "allow-default-route", `"tun0"`: "allow-default-route",
	} {
		if got := trustedCodes(t, interfaces); strings.Join(slices.Compact(got), ",") != want {
			t.Errorf("%s: %q, want %s", interfaces, got, want)
		}
	}
}
