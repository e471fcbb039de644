package xdp

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// pair connects this host, alone in its namespace, with another one.
func pair(t *testing.T) (here, there netlink.Link, away *netns.Host) {
	t.Helper()
	away = netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "here", Addresses: []string{"198.18.0.1/15", "2001:db8::1/64"}},
		away, netns.End{Name: "there", Addresses: []string{"198.18.0.2/15", "2001:db8::2/64"}})
	here, err := netlink.LinkByName("here")
	if err != nil {
		t.Fatal(err)
	}
	if err := away.Do(func() error {
		there, err = netlink.LinkByName("there")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return here, there, away
}

func TestAttach(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	here, _, _ := pair(t)
	p := load1(t, Sizes{})
	l, err := p.Attach(here.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	if l.Mode() != Native || l.Lost() {
		t.Errorf("%s, lost: %v, want native", l.Mode(), l.Lost())
	}
	_, unknown := netlink.GenlFamilyGet(netdevFamily) // before Linux 6.3
	i, err := ProbeInterface("here")
	if err != nil || i.Program == 0 || i.Owner != ThisPackage || (i.Mode != Native && unknown == nil) {
		t.Errorf("the interface: %+v, %v, want this program", i, err)
	}
	if _, err := p.Attach(here.Attrs().Index); !errors.Is(err, ErrBusy) {
		t.Errorf("a second time: %v, want ErrBusy", err)
	}
	if _, err := p.Attach(1); !errors.Is(err, ErrEthernet) {
		t.Errorf("to the loopback: %v, want ErrEthernet", err)
	}
	if _, err := p.Attach(1 << 20); err == nil {
		t.Error("to no interface")
	}
	generic := &netlink.Macvlan{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.MACVLAN_MODE_BRIDGE}
	generic.Name, generic.ParentIndex = "generic", here.Attrs().Index
	if err := netlink.LinkAdd(generic); err != nil {
		t.Fatal(err)
	}
	if i, err := ProbeInterface("generic"); err != nil || i.Program != 0 || i.Owner != NoOwner || i.Mode == Native {
		t.Errorf("a driver without XDP: %+v, %v", i, err)
	}
	other, err := attach(passAll(t), generic.Attrs().Index, link.XDPGenericMode)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := ProbeInterface("generic"); err != nil || i.Program == 0 || i.Owner != OtherOwner {
		t.Errorf("with another program: %+v, %v", i, err)
	}
	other.Close()
	g, err := p.Attach(generic.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	if g.Mode() != Generic || g.Lost() {
		t.Errorf("a driver without XDP: %s, lost: %v, want generic", g.Mode(), g.Lost())
	}
	if err := g.link.Detach(); err != nil {
		t.Fatal(err)
	}
	if !g.Lost() || l.Lost() {
		t.Errorf("one link is detached, lost are: %v, %v", g.Lost(), l.Lost())
	}
	g.Close()
	if err := netlink.LinkDel(here); err != nil {
		t.Fatal(err)
	}
	if !l.Lost() {
		t.Error("the interface is gone, the link is not lost")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// passAll returns a program of another owner, with a name of this package.
func passAll(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: genericFlows, Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestSetAddresses(t *testing.T) {
	p := load1(t, Sizes{})
	address := func(ip string, last byte) Address {
		return Address{netip.MustParseAddr(ip), [6]byte{2, 0, 0, 0, 0, last}}
	}
	a, b, c := address("192.0.2.1", 1), address("192.0.2.1", 2), address("2001:db8::1", 1)
	for i, set := range [][]Address{{a}, {a, b, c}, {c}, {c, c}, {a, b}, {}} {
		if err := p.SetAddresses(set); err != nil {
			t.Fatal(err)
		}
		for _, one := range []Address{a, b, c} {
			want, value := false, uint32(0)
			for _, other := range set {
				want = want || other == one
			}
			if got := p.addresses.Lookup(one.key(), &value) == nil; got != want {
				t.Errorf("set %d: %v is there: %v, want %v", i, one, got, want)
			}
		}
	}
	var many []Address
	for i := range maxAddresses + 100 {
		many = append(many, Address{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), a.MAC})
	}
	const want = "100 addresses do not fit into the shield, which has room for 4096"
	for range 2 { // the holder tries it again and again, and logs an error that is new
		err := p.SetAddresses(many)
		if err == nil || err.Error() != want {
			t.Errorf("too many addresses: %.200v, want %s", err, want)
		}
		if !p.present[many[0].key()] || p.present[many[maxAddresses].key()] {
			t.Error("the first addresses are not those that fit")
		}
	}
	if err := p.SetAddresses([]Address{a}); err != nil {
		t.Error(err)
	}
	if n := len(p.present); n != 1 {
		t.Errorf("%d addresses at the end", n)
	}
}

func TestProbe(t *testing.T) {
	if _, err := Probe(); err != nil && !(errors.Is(err, ErrPrivilege) && !netns.Privileged()) {
		t.Fatal(err)
	}
	if _, err := ProbeInterface("lo"); !errors.Is(err, ErrEthernet) {
		t.Errorf("the loopback: %v, want ErrEthernet", err)
	}
	if _, err := ProbeInterface("none such"); err == nil {
		t.Error("an interface that does not exist is no error")
	}
}
