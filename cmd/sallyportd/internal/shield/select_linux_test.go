package shield

import (
	"net/netip"
	"reflect"
	"testing"

	"sallyport/ingest/xdp"
)

var (
	here4, here6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	other4       = netip.MustParseAddr("198.51.100.1")
	routed       = netip.MustParseAddr("203.0.113.7") // at the loopback
)

// sample is a host with a bridge, whose port has no address, and a tunnel.
var sample = host{
	links: []link{
		{index: 1, name: "lo", loopback: true},
		{index: 2, name: "eth0", mac: [6]byte{2}, ethernet: true},
		{index: 3, name: "eth1", mac: [6]byte{3}, ethernet: true, port: true},
		{index: 4, name: "br0", mac: [6]byte{4}, ethernet: true},
		{index: 5, name: "wg0"},
		{index: 6, name: "spare", mac: [6]byte{6}, ethernet: true},
	},
	addresses: []address{
		{netip.MustParseAddr("127.0.0.1"), 1}, {here4, 2}, {here6, 2}, {other4, 4}, {netip.MustParseAddr("10.8.0.1"), 5}, {routed, 1},
	},
}

func TestSelected(t *testing.T) {
	for name, row := range map[string]struct {
		names  []string
		listen []netip.Addr
		want   []string
		why    map[string]string
	}{
		"all":           {nil, nil, []string{"eth0", "br0"}, map[string]string{"wg0": "it has no Ethernet header"}},
		"by an address": {nil, []netip.Addr{here6}, []string{"eth0"}, nil},
		"of the bridge": {nil, []netip.Addr{other4}, []string{"br0"}, nil},
		"no interface":  {nil, []netip.Addr{routed}, nil, nil},
		"named": {[]string{"eth1", "spare", "lo", "gone"}, []netip.Addr{here4}, []string{"eth1", "spare"},
			map[string]string{"lo": "it has no Ethernet header", "gone": "there is no such interface"}},
	} {
		chosen, why := sample.selected(row.names, row.listen)
		var got []string
		for _, l := range chosen {
			got = append(got, l.name)
		}
		if row.why == nil {
			row.why = map[string]string{}
		}
		if !reflect.DeepEqual(got, row.want) || !reflect.DeepEqual(why, row.why) {
			t.Errorf("%s: chose %v, not %v; want %v, not %v", name, got, why, row.want, row.why)
		}
	}
}

// TestPairs: frames for an own address may arrive at each interface with the program;
// frames for the hardware address of a bridge at its port.
func TestPairs(t *testing.T) {
	eth0, eth1 := sample.links[1], sample.links[2]
	for name, row := range map[string]struct {
		attached []link
		listen   []netip.Addr
		want     []xdp.Address
	}{
		"an own address":               {[]link{eth0}, []netip.Addr{here4}, []xdp.Address{{IP: here4, MAC: eth0.mac}}},
		"an address of another one":    {[]link{eth0}, []netip.Addr{other4}, []xdp.Address{{IP: other4, MAC: eth0.mac}, {IP: other4, MAC: [6]byte{4}}}},
		"an address of the loopback":   {[]link{eth0, eth1}, []netip.Addr{routed}, []xdp.Address{{IP: routed, MAC: eth0.mac}, {IP: routed, MAC: eth1.mac}}},
		"all of IPv4":                  {[]link{eth0}, []netip.Addr{netip.IPv4Unspecified(), here6}, []xdp.Address{{IP: netip.MustParseAddr("127.0.0.1"), MAC: eth0.mac}, {IP: here4, MAC: eth0.mac}, {IP: here6, MAC: eth0.mac}, {IP: other4, MAC: eth0.mac}, {IP: other4, MAC: [6]byte{4}}, {IP: netip.MustParseAddr("10.8.0.1"), MAC: eth0.mac}, {IP: routed, MAC: eth0.mac}}},
		"all of IPv6, and one of IPv4": {[]link{eth0}, []netip.Addr{netip.IPv6Unspecified(), here4}, []xdp.Address{{IP: here4, MAC: eth0.mac}, {IP: here6, MAC: eth0.mac}}},
		"an address of another host":   {[]link{eth0}, []netip.Addr{netip.MustParseAddr("192.0.2.99")}, nil},
		"no interface, so no program":  {nil, []netip.Addr{routed}, nil},
	} {
		if got := sample.pairs(row.attached, row.listen); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
	if got := sample.pairs([]link{eth0}, nil); len(got) != 7 {
		t.Errorf("at all addresses: %v", got)
	}
}
