package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/sessions/client"
)

// echoes is how many datagrams a test sends over a flow.
const echoes = 50

// open opens a UDP socket at a host.
func open(t *testing.T, h *netns.Host, address string) (c *net.UDPConn) {
	t.Helper()
	if err := h.Do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo opens a socket at a host that returns what it receives.
func echo(t *testing.T, h *netns.Host, address string) {
	t.Helper()
	c := open(t, h, address)
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
}

// works checks that datagrams of a flow arrive, and the answers.
func works(t *testing.T, what string, c *net.UDPConn, to string) {
	t.Helper()
	b := make([]byte, 100)
	for i := range echoes {
		text := fmt.Sprintf("%s, %d", what, i)
		if _, err := c.WriteToUDPAddrPort([]byte(text), netip.MustParseAddrPort(to)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		c.SetReadDeadline(netns.Deadline(t))
		n, _, err := c.ReadFromUDPAddrPort(b)
		if err != nil || string(b[:n]) != text {
			t.Fatalf("%s: got %q, %v, want %q", what, b[:n], err, text)
		}
	}
}

// refusesStranger checks that the shield drops what is no knock and of no flow.
func (w *shieldWorld) refusesStranger(t *testing.T, what string, port uint16) {
	t.Helper()
	before := traffic(t, w.dir)["shield_size"]
	netns.Until(t, what+": the shield refuses a stranger's datagram", func() bool {
		// From another port each time: one that has passed has begun a flow.
		w.send(t, "192.0.2.5", shieldHost, []client.Packet{{Port: port, Datagram: []byte("no knock")}})
		return traffic(t, w.dir)["shield_size"] > before
	})
}

// TestShieldBesideTranslation: on a host that translates the addresses of a network
// behind it, flows whose port takes knocks go on: of a translated source, of a port that
// leads to a host behind, and forwarded ones. Knocks to the same ports get in.
//
//	clients' host 192.0.2.2  <-->  192.0.2.1 this host 198.19.255.1  <-->  198.19.255.2 behind
func TestShieldBesideTranslation(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w, step := newSteppedWorld(t)
	step.startAt(10)
	behind := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "inside", Addresses: []string{"198.19.255.1/24"}}, behind, netns.End{Name: "outside", Addresses: []string{"198.19.255.2/24"}})
	route := func(h *netns.Host, to, via string) {
		t.Helper()
		if err := h.Do(func() error { return exec.Command("ip", "route", "add", to, "via", via).Run() }); err != nil {
			t.Fatal(err)
		}
	}
	route(behind, "default", "198.19.255.1")
	route(w.there, "198.19.255.0/24", shieldHost)
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	now, later := livePorts(t, w.guests[0])
	nft(t, fmt.Sprintf(`table ip nat {
		chain postrouting { type nat hook postrouting priority srcnat; oifname "srv" ip saddr 198.19.255.0/24 masquerade; }
		chain prerouting { type nat hook prerouting priority dstnat; iifname "srv" udp dport %d dnat to 198.19.255.2:7; }
	}`, later[0]))
	w.edit(t, "sallyportd.toml", "[[service]]", "shield_interfaces = [\"srv\"]\n[[service]]")
	v := startVictim(t, w.dir)
	awaitLog(t, v, `msg="shield on" interfaces=srv:native`, 1)

	echo(t, w.there, "192.0.2.2:7000")
	echo(t, behind, "198.19.255.2:7")
	from := func(port uint16) *net.UDPConn { return open(t, behind, fmt.Sprintf("198.19.255.2:%d", port)) }
	translated := from(now[0]) // translation keeps the port
	sees := open(t, w.there, "192.0.2.2:7001")
	_, err := translated.WriteToUDPAddrPort([]byte("from where"), netip.MustParseAddrPort("192.0.2.2:7001"))
	if err != nil {
		t.Fatal(err)
	}
	sees.SetReadDeadline(netns.Deadline(t))
	if _, source, err := sees.ReadFromUDPAddrPort(make([]byte, 100)); err != nil || source.Port() != now[0] {
		t.Fatalf("the translated source is %s, %v, want port %d", source, err, now[0])
	}
	works(t, "translated, at a live port", translated, "192.0.2.2:7000")
	led := open(t, w.there, "192.0.2.3:5000")
	works(t, "led to a host behind, before the port is live", led, fmt.Sprintf("%s:%d", shieldHost, later[0]))
	w.refusesStranger(t, "the translated port", now[0])
	w.next = 10
	w.byShield(t, "beside a translated flow", v, w.guests[0], shieldHost)

	step.step(3 * time.Minute)
	w.refusesStranger(t, "the port that leads to a host behind", later[0])
	works(t, "led to a host behind, at a live port", led, fmt.Sprintf("%s:%d", shieldHost, later[0]))
	works(t, "translated, at a port that is live no longer", translated, "192.0.2.2:7000")
	works(t, "translated, at the next live port", from(later[1]), "192.0.2.2:7000")
	echo(t, behind, fmt.Sprintf("198.19.255.2:%d", later[0]))
	works(t, "forwarded to a live port", open(t, w.there, "192.0.2.6:5000"), fmt.Sprintf("198.19.255.2:%d", later[0]))
	w.byShield(t, "beside all flows", v, w.guests[0], shieldHost)
	if all := traffic(t, w.dir); all["shield_flow"] < 3*echoes || all["kernel"] != 0 {
		t.Errorf("%d datagrams of flows passed, and the sockets refused %d: %v", all["shield_flow"], all["kernel"], all)
	}
	v.end(t, syscall.SIGTERM)
}

// TestShieldBesideABridge: frames that this host bridges pass, whatever their port, with
// the shield on the bridge, and on its port. The shield takes knocks to the bridge's
// address.
func TestShieldBesideABridge(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newShieldWorld(t)
	w.bridged(t, "br0")
	other := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "second"}, other, netns.End{Name: "other", Addresses: []string{"192.0.2.200/24"}})
	if err := exec.Command("ip", "link", "set", "second", "master", "br0").Run(); err != nil {
		t.Fatal(err)
	}
	on := "\"br0\""
	w.edit(t, "sallyportd.toml", "[[service]]", "shield_interfaces = ["+on+"]\n[[service]]")
	for i, at := range []struct{ name, mode string }{{"br0", "generic"}, {"srv", "native"}} {
		next := "\"" + at.name + "\""
		w.edit(t, "sallyportd.toml", on, next)
		on = next
		v := startVictim(t, w.dir)
		awaitLog(t, v, `msg="shield on" interfaces=`+at.name+":"+at.mode, 1)
		now, _ := livePorts(t, w.guests[0])
		bridged := fmt.Sprintf("192.0.2.200:%d", now[i])
		echo(t, other, bridged)
		works(t, "bridged, with the shield on "+at.name, open(t, w.there, "192.0.2.2:0"), bridged)
		w.byShield(t, "with the shield on "+at.name, v, w.guests[0], shieldHost)
		w.refusesStranger(t, "with the shield on "+at.name, now[0])
		v.end(t, syscall.SIGTERM)
	}
}
