package stay

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/mdlayher/netlink"
	links "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

var (
	near = netip.MustParseAddr("198.51.100.1")
	far  = netip.MustParseAddr("203.0.113.5") // behind a gateway
	six  = netip.MustParseAddr("2001:db8::1")
)

// connected makes a network: this host is 198.51.100.2 and 2001:db8::2, and has a default
// route.
func connected(t *testing.T) links.Link {
	t.Helper()
	netns.Connect(t, netns.End{Name: "toserver", Addresses: []string{"198.51.100.2/24", "2001:db8::2/64"}}, netns.NewHost(t),
		netns.End{Name: "server", Addresses: []string{"198.51.100.1/24", "198.51.100.9/24", "2001:db8::1/64"}})
	link, err := links.LinkByName("toserver")
	if err != nil {
		t.Fatal(err)
	}
	must(t, links.RouteAdd(via(link, "198.51.100.1")))
	return link
}

func via(link links.Link, gateway string) *links.Route {
	return &links.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func address(t *testing.T, text string) *links.Addr {
	t.Helper()
	a, err := links.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = unix.IFA_F_NODAD
	return a
}

// cable makes a link that leads back to this host.
func cable(t *testing.T, name string) links.Link {
	t.Helper()
	pair := &links.Veth{LinkAttrs: links.NewLinkAttrs(), PeerName: name + "-peer"}
	pair.Name = name
	must(t, links.LinkAdd(pair))
	peer, err := links.LinkByName(pair.PeerName)
	must(t, err, links.LinkSetUp(peer), links.LinkSetUp(pair))
	return pair
}

// seen does something, and returns whether the ways have changed, by the events of the
// kernel. A link that is made afterwards marks their end.
func seen(t *testing.T, w *ways, events *netlink.Conn, do func()) bool {
	t.Helper()
	do()
	mark := cable(t, "mark")
	must(t, links.LinkDel(mark))
	for {
		messages, err := events.Receive()
		must(t, err)
		for _, m := range messages {
			w.broken = w.broken || w.breaks(m)
			if m.Header.Type == unix.RTM_DELLINK && int(binary.NativeEndian.Uint32(m.Data[4:])) == mark.Attrs().Index {
				return w.look()
			}
		}
	}
}

// TestRouteEvents: the changes of a host's network that make a knock due, and those that
// do not.
func TestRouteEvents(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	link := connected(t)
	routes, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	must(t, err)
	defer routes.Close()
	events, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	must(t, err)
	defer events.Close()
	find := func(to netip.Addr) way { return routedWay(routes, to) }

	w := newWays(find)
	w.aim([]netip.Addr{near, far, six})
	own, gateway := netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.1")
	index := link.Attrs().Index
	want := []way{
		{source: own, link: index}, {source: own, link: index, gateway: gateway},
		{source: netip.MustParseAddr("2001:db8::2"), link: index},
	}
	if !slices.Equal(w.found, want) {
		t.Errorf("ways %+v, want %+v", w.found, want)
	}
	for _, row := range []struct {
		name string
		do   func()
		want bool
	}{
		{"nothing", func() {}, false},
		{"another link", func() {
			other := cable(t, "other")
			must(t, links.AddrAdd(other, address(t, "192.0.2.9/24")))
			must(t, links.LinkSetDown(other), links.LinkSetUp(other), links.AddrDel(other, address(t, "192.0.2.9/24")), links.LinkDel(other))
		}, false},
		{"another MTU", func() { must(t, links.LinkSetMTU(link, 1400)) }, false},
		{"another address", func() { must(t, links.AddrAdd(link, address(t, "198.51.100.7/24"))) }, false},
		{"an address that was not in use is gone", func() { must(t, links.AddrDel(link, address(t, "198.51.100.7/24"))) }, false},
		{"another gateway", func() { must(t, links.RouteReplace(via(link, "198.51.100.9"))) }, true},
		{"the same again", func() {}, false},
		{"the same network again, at once", func() {
			must(t, links.AddrDel(link, address(t, "198.51.100.2/24")), links.AddrAdd(link, address(t, "198.51.100.2/24")))
			must(t, links.RouteReplace(via(link, "198.51.100.9")))
		}, true},
		{"a route that comes back at once", func() {
			must(t, links.RouteDel(via(link, "198.51.100.9")), links.RouteAdd(via(link, "198.51.100.9")))
		}, true},
		{"the address of the other family", func() {
			must(t, links.AddrDel(link, address(t, "2001:db8::2/64")), links.AddrAdd(link, address(t, "2001:db8::3/64")))
		}, true},
		{"no network", func() { must(t, links.LinkSetDown(link)) }, false},
		{"still none", func() {}, false},
		{"the same network, later", func() {
			must(t, links.LinkSetUp(link), links.AddrReplace(link, address(t, "2001:db8::3/64")), links.RouteReplace(via(link, "198.51.100.9")))
		}, true},
		{"a tunnel", func() {
			other := cable(t, "tunnel")
			must(t, links.AddrAdd(other, address(t, "192.0.2.9/24")))
			_, all, err := net.ParseCIDR("203.0.113.0/24")
			must(t, err, links.RouteAdd(&links.Route{LinkIndex: other.Attrs().Index, Dst: all}))
		}, true},
	} {
		if got := seen(t, w, events, row.do); got != row.want {
			t.Errorf("%s: a change %t, expected %t; ways %+v", row.name, got, row.want, w.found)
		}
	}

	// Of these, the kernel reports no route that is gone, and the routes are as before.
	must(t, links.AddrDel(link, address(t, "2001:db8::3/64")), links.AddrDel(link, address(t, "198.51.100.2/24")))
	host := address(t, "198.51.100.2/24")
	host.Flags |= unix.IFA_F_NOPREFIXROUTE
	_, prefix, err := net.ParseCIDR("198.51.100.0/24")
	must(t, err)
	up := func() {
		must(t, links.AddrReplace(link, host), links.RouteReplace(&links.Route{LinkIndex: index, Dst: prefix, Scope: unix.RT_SCOPE_LINK}))
	}
	up()
	w.aim([]netip.Addr{near})
	w.broken = false
	for name, do := range map[string]func(){
		"the address, which comes back at once":   func() { must(t, links.AddrDel(link, host)); up() },
		"the interface, which comes back at once": func() { must(t, links.LinkSetDown(link), links.LinkSetUp(link)); up() },
	} {
		seen(t, w, events, func() {}) // earlier events
		if before := w.found; !seen(t, w, events, do) || !slices.Equal(w.found, before) {
			t.Errorf("%s: no change; ways %+v, before %+v", name, w.found, before)
		}
	}
}

// TestWatchNetwork: the watchers of this system, and of those without events, report an
// address that another one replaces. They end with their context.
func TestWatchNetwork(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	link := connected(t)
	from, to := "198.51.100.3/24", "198.51.100.2/24"
	for name, watch := range map[string]watchFunc{"events": watchNetwork, "polled": pollNetwork} {
		ctx, cancel := context.WithCancel(t.Context())
		addresses, changes, done := make(chan []netip.Addr, 1), make(chan struct{}, 1), make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, addresses, changes)
		}()
		addresses <- []netip.Addr{near}
		netns.Until(t, "the watcher to have the addresses", func() bool { return len(addresses) == 0 })
		netns.Until(t, name+": a change", func() bool {
			// Again and again, since the watcher begins at some time.
			from, to = to, from
			must(t, links.AddrDel(link, address(t, from)), links.AddrAdd(link, address(t, to)))
			select {
			case <-changes:
				return true
			default:
				return false
			}
		})
		cancel()
		<-done
	}
}
