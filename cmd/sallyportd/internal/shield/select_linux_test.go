package shield

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

var (
	here4, here6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	other4       = netip.MustParseAddr("198.51.100.1")
	docker       = netip.MustParseAddr("172.17.0.1")
	routed       = netip.MustParseAddr("203.0.113.7") // at the loopback
	cluster      = netip.MustParseAddr("10.96.0.1")
)

// sample is a host with a bridge, whose port has no address, and a tunnel.
var sample = host{
	links: []link{
		{index: 1, name: "lo", loopback: true},
		{index: 2, name: "eth0", mac: [6]byte{2}, ethernet: true},
		{index: 3, name: "eth1", mac: [6]byte{3}, ethernet: true, master: 4},
		{index: 4, name: "br0", kind: "bridge", mac: [6]byte{4}, ethernet: true},
		{index: 5, name: "wg0"},
		{index: 6, name: "spare", mac: [6]byte{6}, ethernet: true},
	},
	addresses: []address{
		{netip.MustParseAddr("127.0.0.1"), 1}, {here4, 2}, {here6, 2}, {other4, 4}, {netip.MustParseAddr("10.8.0.1"), 5}, {routed, 1},
	},
}

// containers is sample with a VRF, and with containers and virtual machines, at a bridge
// and without one. The kernel has given their interfaces link-local addresses.
var containers = host{
	links: append(slices.Clip(sample.links), []link{
		{index: 7, name: "docker0", kind: "bridge", mac: [6]byte{7}, ethernet: true},
		{index: 8, name: "veth8", kind: "veth", mac: [6]byte{8}, ethernet: true, master: 7},
		{index: 9, name: "tap9", kind: "tuntap", mac: [6]byte{9}, ethernet: true, master: 7},
		{index: 10, name: "cali10", kind: "veth", mac: [6]byte{10}, ethernet: true},
		{index: 11, name: "lxdbr0", kind: "bridge", mac: [6]byte{11}, ethernet: true},
		{index: 12, name: "blue", kind: "vrf", mac: [6]byte{12}, ethernet: true},
		{index: 13, name: "eth3", mac: [6]byte{13}, ethernet: true, master: 12},
		{index: 14, name: "kube-ipvs0", kind: "dummy", mac: [6]byte{14}, ethernet: true},
	}...),
	addresses: append(slices.Clip(sample.addresses), []address{
		{docker, 7}, {netip.MustParseAddr("fe80::8"), 8}, {netip.MustParseAddr("fe80::a"), 10}, {netip.MustParseAddr("10.9.0.1"), 11},
		{netip.MustParseAddr("192.0.2.13"), 13}, {cluster, 14},
	}...),
}

func TestSelected(t *testing.T) {
	for name, row := range map[string]struct {
		names  []string
		listen []netip.Addr
		want   []string
		why    map[string]string
	}{
		"all":           {nil, nil, []string{"eth0", "br0", "eth3"}, map[string]string{"wg0": "it has no Ethernet header"}},
		"all of IPv6":   {nil, []netip.Addr{netip.IPv6Unspecified(), other4}, []string{"eth0", "br0"}, nil},
		"of containers": {nil, []netip.Addr{netip.IPv6Unspecified(), docker}, []string{"eth0", "docker0"}, nil},
		"link-local":    {nil, []netip.Addr{netip.MustParseAddr("fe80::a")}, []string{"cali10"}, nil},
		"by an address": {nil, []netip.Addr{here6}, []string{"eth0"}, nil},
		"of the bridge": {nil, []netip.Addr{other4}, []string{"br0"}, nil},
		"no interface":  {nil, []netip.Addr{routed}, nil, nil},
		"of a dummy":    {nil, []netip.Addr{cluster}, nil, nil},
		"named": {[]string{"eth1", "spare", "cali10", "lo", "gone"}, []netip.Addr{here4}, []string{"eth1", "spare", "cali10"},
			map[string]string{"lo": "it has no Ethernet header", "gone": "there is no such interface"}},
	} {
		chosen, why := containers.selected(row.names, row.listen)
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

// TestKeeps: an interface that has lost its addresses keeps the program, unless frames for
// this host no longer arrive there.
func TestKeeps(t *testing.T) {
	h := containers
	h.addresses = nil
	var got []string
	for _, l := range h.links {
		if h.keeps(nil, l) {
			got = append(got, l.name)
		}
		if h.keeps([]string{"eth0"}, l) {
			t.Errorf("%s, which is not named, keeps it", l.name)
		}
	}
	if want := []string{"eth0", "br0", "wg0", "spare", "cali10", "blue", "eth3"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestComplete: an interrupted list is read again, and is an error if there is no end.
func TestComplete(t *testing.T) {
	other := errors.New("no memory")
	for name, row := range map[string]struct {
		errs []error // of one attempt after another
		want error
	}{
		"at once":           {[]error{nil}, nil},
		"at the fifth time": {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, nil},
		"never":             {slices.Repeat([]error{netlink.ErrDumpInterrupted}, 5), netlink.ErrDumpInterrupted},
		"another error":     {[]error{netlink.ErrDumpInterrupted, other}, other},
	} {
		attempts := 0
		got, err := complete(func() ([]int, error) {
			attempts++
			return []int{attempts}, row.errs[attempts-1]
		})
		if !errors.Is(err, row.want) || attempts != len(row.errs) || err == nil && got[0] != attempts {
			t.Errorf("%s: the list of attempt %v, %v, after %d attempts; want %v after %d", name, got, err, attempts, row.want, len(row.errs))
		}
	}
}

// TestPairsInOrder: if there are more than fit, those of the interfaces with the program
// are first, and those of a dummy last, without its hardware address.
func TestPairsInOrder(t *testing.T) {
	eth0, dummy := sample.links[1], link{index: 9, name: "kube-ipvs0", kind: "dummy", mac: [6]byte{9}, ethernet: true}
	h := host{
		links:     []link{dummy, eth0, sample.links[3]},
		addresses: []address{{cluster, 9}, {other4, 4}, {here4, 2}, {here6, 2}, {here6, 9}},
	}
	want := []xdp.Address{
		{IP: here4, MAC: eth0.mac}, {IP: here6, MAC: eth0.mac}, {IP: other4, MAC: eth0.mac}, {IP: other4, MAC: [6]byte{4}},
		{IP: cluster, MAC: eth0.mac},
	}
	if got := h.pairs([]link{eth0}, nil); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
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
		"all of IPv4":                  {[]link{eth0}, []netip.Addr{netip.IPv4Unspecified(), here6}, []xdp.Address{{IP: here4, MAC: eth0.mac}, {IP: here6, MAC: eth0.mac}, {IP: netip.MustParseAddr("127.0.0.1"), MAC: eth0.mac}, {IP: other4, MAC: eth0.mac}, {IP: other4, MAC: [6]byte{4}}, {IP: netip.MustParseAddr("10.8.0.1"), MAC: eth0.mac}, {IP: routed, MAC: eth0.mac}}},
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

// TestPreviewsBesideContainers: the kernel reports a host with containers as those of
// TestSelected are.
func TestPreviewsBesideContainers(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	there := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "uplink", Addresses: []string{"192.0.2.1/24"}}, there, netns.End{Name: "up"})
	netns.Connect(t, netns.End{Name: "cali1", Addresses: []string{"fe80::1/64"}}, there, netns.End{Name: "first"})
	netns.Connect(t, netns.End{Name: "veth2", Addresses: []string{"fe80::2/64"}}, there, netns.End{Name: "second"})
	add(t, &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}}) // instead of a driver's
	for _, bridge := range []struct{ name, address, port string }{
		{"docker0", "172.17.0.1/16", "veth2"}, {"br0", "198.51.100.1/24", "eth1"},
	} {
		add(t, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge.name}})
		a, err := netlink.ParseAddr(bridge.address)
		if err == nil {
			err = errors.Join(netlink.AddrAdd(linkOf(t, bridge.name), a), netlink.LinkSetMaster(linkOf(t, bridge.port), linkOf(t, bridge.name)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	previews, err := Previews(holder.ShieldPolicy{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range previews {
		got = append(got, p.Name)
	}
	if want := []string{"br0", "uplink"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func linkOf(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t *testing.T, l netlink.Link) {
	t.Helper()
	if err := netlink.LinkAdd(l); err != nil {
		t.Fatal(err)
	}
}
