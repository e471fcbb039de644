package shield

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
	"sallyport/ingest/xdp"
	"sallyport/sessions/gate/holder"
)

func TestMain(m *testing.M) {
	netns.Together(4)
	os.Exit(m.Run())
}

// recorder is a program that records, and its attachments.
type recorder struct {
	mu       sync.Mutex
	pairs    []xdp.Address
	attached map[int]bool
	lost     map[int]bool
	busy     bool
	closed   bool

	addressesFail, flowsFail error
}

func (r *recorder) Files() map[string]*os.File { return nil }

func (r *recorder) SetAddresses(all []xdp.Address) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pairs = all
	return r.addressesFail
}

func (r *recorder) CheckFlows() error { return r.flowsFail }

func (r *recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}

func (r *recorder) attach(index int) (attachment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy {
		return nil, errors.New("another program is attached")
	}
	if r.attached[index] {
		return nil, errors.New("attached twice")
	}
	r.attached[index], r.lost[index] = true, false
	return &recorded{r, index}, nil
}

func (r *recorder) has(ip string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.pairs, func(p xdp.Address) bool { return p.IP == netip.MustParseAddr(ip) })
}

type recorded struct {
	r     *recorder
	index int
}

func (a *recorded) Mode() xdp.Mode { return xdp.Generic }

func (a *recorded) Lost() bool {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	return a.r.lost[a.index]
}

func (a *recorded) Close() error {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	delete(a.r.attached, a.index)
	return nil
}

// makeLink makes an interface that is connected to another host.
func makeLink(t *testing.T, there *netns.Host, name string, addresses ...string) netlink.Link {
	t.Helper()
	l, err := netns.Join(netns.End{Name: name, Addresses: addresses}, there, netns.End{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func addAddress(t *testing.T, l netlink.Link, address string) {
	t.Helper()
	a, err := netlink.ParseAddr(address)
	if err == nil {
		err = netlink.AddrAdd(l, a)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// removeAddresses removes the IPv4 addresses of an interface.
func removeAddresses(t *testing.T, l netlink.Link) {
	t.Helper()
	for { // the kernel removes a secondary address with the primary one
		list, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err == nil && len(list) == 0 {
			return
		}
		if err == nil {
			err = netlink.AddrDel(l, &list[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// on returns the interfaces that have the program, as "NAME:MODE", and the failed ones
// as "NAME!".
func on(s *Shield) string {
	var all []string
	for _, at := range s.State().Interfaces {
		if at.Error != "" {
			all = append(all, at.Name+"!")
		} else {
			all = append(all, at.Name+":"+at.Mode)
		}
	}
	return strings.Join(all, " ")
}

// TestFollowsTheHost: interfaces and addresses that come later get the program; those
// that go lose it, but not an interface that loses its addresses. Another program may be
// in the way for a while.
func TestFollowsTheHost(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	there := netns.NewHost(t)
	first := makeLink(t, there, "first", "192.0.2.1/24")
	r := &recorder{attached: map[int]bool{}, lost: map[int]bool{}}
	s := newShield(holder.ShieldPolicy{}, holder.ShieldRequest{}, r, r.attach, slog.New(slog.DiscardHandler))
	if err := s.Attach(); err != nil {
		t.Fatal(err)
	}
	if got := on(s); got != "first:generic" || !r.has("192.0.2.1") {
		t.Errorf("at first: %q, with %v", got, r.pairs)
	}
	await := func(what, want string, ok func() bool) {
		t.Helper()
		netns.Until(t, what, func() bool { return on(s) == want && ok() }, func() string { return on(s) })
	}
	addAddress(t, first, "192.0.2.2/24")
	await("an address came", "first:generic", func() bool { return r.has("192.0.2.2") })
	second := makeLink(t, there, "second", "198.51.100.1/24")
	await("an interface came", "first:generic second:generic", func() bool { return r.has("198.51.100.1") })
	if err := netlink.LinkDel(second); err != nil {
		t.Fatal(err)
	}
	await("the interface went", "first:generic", func() bool { return !r.has("198.51.100.1") })
	makeLink(t, there, "second", "198.51.100.1/24")
	await("it came again", "first:generic second:generic", func() bool { return r.has("198.51.100.1") })
	r.mu.Lock()
	r.lost[first.Attrs().Index], r.busy = true, true
	r.mu.Unlock()
	await("another program took its place", "first! second:generic", func() bool { return true })
	r.mu.Lock()
	r.busy = false
	r.mu.Unlock()
	await("the other program went", "first:generic second:generic", func() bool { return true })
	removeAddresses(t, first)
	await("an interface without an address keeps it", "first:generic second:generic", func() bool {
		return !r.has("192.0.2.1") && !r.has("192.0.2.2") && r.has("198.51.100.1")
	})
	b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}}
	add(t, b)
	if err := netlink.LinkSetMaster(first, b); err != nil {
		t.Fatal(err)
	}
	await("the port of a bridge does not", "second:generic", func() bool { return true })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !r.closed || len(r.attached) != 0 {
		t.Errorf("closed %t, attached to %v", r.closed, r.attached)
	}
}

// TestFollowsNamesAndListen: the interfaces and addresses of the configuration limit it.
func TestFollowsNamesAndListen(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	there := netns.NewHost(t)
	makeLink(t, there, "first", "192.0.2.1/24", "192.0.2.2/24")
	makeLink(t, there, "second", "198.51.100.1/24")
	r := &recorder{attached: map[int]bool{}, lost: map[int]bool{}}
	request := holder.ShieldRequest{Listen: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}
	s := newShield(holder.ShieldPolicy{Interfaces: []string{"second", "third"}}, request, r, r.attach, slog.New(slog.DiscardHandler))
	if err := s.Attach(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := on(s)
	if got != "second:generic third!" || !r.has("192.0.2.2") || r.has("192.0.2.1") || r.has("198.51.100.1") {
		t.Errorf("at first: %q, with %v", got, r.pairs)
	}
	makeLink(t, there, "third")
	netns.Until(t, "a named interface came", func() bool { return on(s) == "second:generic third:generic" })
}

// hasProgram reports whether an interface has an XDP program.
func hasProgram(t *testing.T, name string) bool {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached
}

// TestLoad: the program itself, at a driver that runs it natively. A second holder does
// not get the interface, until the first one has ended.
func TestLoad(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	there := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "eth0", Addresses: []string{"192.0.2.1/24"}}, there, netns.End{Name: "far", Addresses: []string{"192.0.2.2/24"}})
	load := func() *Shield {
		t.Helper()
		s, err := Load(holder.ShieldPolicy{}, holder.ShieldRequest{Clients: 100}, slog.New(slog.DiscardHandler))
		if err == nil {
			err = s.Attach()
		}
		if err != nil {
			t.Fatal(err)
		}
		return s.(*Shield)
	}
	s := load()
	if got := on(s); got != "eth0:native" || !hasProgram(t, "eth0") {
		t.Errorf("attached to %q, eth0 has a program: %t", got, hasProgram(t, "eth0"))
	}
	for i, a := range s.Arrays() {
		if a.Name != xdp.ArrayNames[i] || a.File == nil {
			t.Errorf("array %d is %+v", i, a)
		}
	}
	looksUp := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.program.(*xdp.Program).LooksUp()
	}
	if looksUp() {
		t.Error("it looks up flows, although the host translates no address")
	}
	rule := exec.Command("nft", "add table ip nat; add chain ip nat p { type nat hook postrouting priority 100; }")
	if out, err := rule.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	netns.Until(t, "it looks up flows", looksUp)
	second := load()
	if got := on(second); got != "eth0!" {
		t.Errorf("the second holder is attached to %q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	netns.Until(t, "the second holder gets the interface", func() bool { return on(second) == "eth0:native" })
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if hasProgram(t, "eth0") {
		t.Error("eth0 has a program after the end")
	}
}

// TestEarlyServesOneAtATime: a program that was loaded early is not given to a second
// Shield while the first one has it, whose server reads its arrays.
func TestEarlyServesOneAtATime(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	p, err := xdp.Load(xdp.Sizes{Clients: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	early := &Early{program: p}
	load := func() (holder.Shield, error) {
		return early.Load(holder.ShieldPolicy{}, holder.ShieldRequest{}, slog.New(slog.DiscardHandler))
	}
	for range 2 {
		first, err := load()
		if err == nil {
			err = first.Attach()
		}
		if err != nil {
			t.Fatal(err)
		}
		if second, err := load(); err == nil {
			t.Error("it serves two")
			second.Close()
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
}
