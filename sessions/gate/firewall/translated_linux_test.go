package firewall

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/bench/netns"
)

// elsewhere4 is not the address of a host: it is routed here, and translated to
// the container.
var elsewhere4 = netip.MustParseAddr("198.51.100.9")

// router makes this host forward to a container, which it returns.
func (w *network) router() *netns.Host {
	w.Helper()
	container := netns.NewHost(w)
	netns.Connect(w, netns.End{Name: "bridge", Addresses: []string{"172.17.0.1/16", "2001:db8:17::1/64"}}, container,
		netns.End{Name: "eth0", Addresses: []string{"172.17.0.2/16", "2001:db8:17::2/64"}})
	w.must(container.Do(func() error {
		for _, gateway := range []string{"172.17.0.1", "2001:db8:17::1"} {
			if err := netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}); err != nil {
				return err
			}
		}
		return nil
	}))
	w.write("/proc/sys/net/ipv4/ip_forward", "1")
	w.write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
	return container
}

// answering serves TCP and UDP on a port of a host; nil: of this one.
func (w *network) answering(h *netns.Host, port uint16) {
	w.Helper()
	on := func(f func() error) error { return f() }
	if h != nil {
		on = h.Do
	}
	address := netip.AddrPortFrom(netip.IPv6Unspecified(), port)
	w.must(on(func() error {
		l, err := net.Listen("tcp", address.String())
		if err != nil {
			return err
		}
		w.Cleanup(func() { l.Close() })
		c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(address))
		if err != nil {
			return err
		}
		w.Cleanup(func() { c.Close() })
		go func() {
			b := make([]byte, 1500)
			for {
				n, from, err := c.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				c.WriteToUDPAddrPort(b[:n], from)
			}
		}()
		return nil
	}))
}

// reaches reports whether a packet to an address and port gets an answer.
func (w *network) reaches(protocol Protocol, from, to netip.Addr, port uint16) bool {
	w.Helper()
	if protocol == TCP {
		w.source++
		return w.answered(w.source, segment(from, to, w.source, port, flagSYN, nil))
	}
	w.source++
	return w.answered(w.source, datagram(from, to, w.source, port, []byte("?")))
}

// reached is reaches where an answer is expected: it retries, because a program
// may answer late.
func (w *network) reached(protocol Protocol, from, to netip.Addr, port uint16) bool {
	w.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if w.reaches(protocol, from, to, port) {
			return true
		}
	}
	return false
}

// answered reports whether an answer reaches the port that a packet was sent
// from. A forwarded answer can arrive later than an answer of this host, and so
// after the end of a probe: so it retries.
func (w *network) answered(source uint16, packet []byte) bool {
	w.Helper()
	protocol := packet[9]
	if packet[0]>>4 == 6 {
		protocol = packet[6]
	}
	for range 3 {
		for _, a := range w.probe(packet) {
			h := transport(a)
			if binary.BigEndian.Uint16(h[2:]) == source && (protocol == byte(UDP) || h[13] == flagSYN|flagACK) {
				return true
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// TestTranslated: a port is guarded as clients address it, wherever rules of
// translation send the packets.
func TestTranslated(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	container := w.router()
	w.nft(`
		table inet nat {
			chain prerouting {
				type nat hook prerouting priority dstnat
				fib daddr type local meta l4proto { tcp, udp } th dport 8080 dnat ip to 172.17.0.2:80
				fib daddr type local meta l4proto { tcp, udp } th dport 8080 dnat ip6 to [2001:db8:17::2]:80
				meta l4proto { tcp, udp } th dport 8082 redirect to :8083
				meta l4proto { tcp, udp } th dport 8084 dnat ip to 172.17.0.2:80
				ip daddr 198.51.100.9 meta l4proto { tcp, udp } th dport 8088 dnat ip to 172.17.0.2:80
			}
			chain first {
				type nat hook prerouting priority -199
				meta l4proto { tcp, udp } th dport 8086 redirect to :8083
			}
		}
`)
	w.answering(container, 80)
	w.answering(nil, 8083)
	w.answering(nil, 8090)
	type way struct {
		what      string
		listen    uint16
		address   netip.Addr
		ask       uint16
		protocols []Protocol
		families  string
	}
	both := []Protocol{TCP, UDP}
	for _, row := range []way{
		{"DNAT to a container", 8080, netip.Addr{}, 8080, both, "46"},
		{"DNAT, at an address", 8080, host4, 8080, both, "4"},
		{"DNAT, at an address", 8080, host6, 8080, both, "6"},
		{"redirect", 8082, netip.Addr{}, 8082, both, "46"},
		{"redirect, at an address", 8082, host4, 8082, both, "4"},
		{"redirect, at the port that it leads to", 8083, netip.Addr{}, 8082, both, "46"},
		{"DNAT of whatever address", 8084, netip.Addr{}, 8084, both, "4"},
		{"redirect in a chain before others", 8086, netip.Addr{}, 8086, both, "46"},
		{"DNAT of an address of no host", 8088, elsewhere4, 8088, both, "e"},
		{"a socket of this host", 8090, netip.Addr{}, 8090, both, "46"},
		{"a socket of this host, at an address", 8090, host4, 8090, both, "4"},
	} {
		for _, protocol := range row.protocols {
			for _, reject := range []bool{false, true} {
				name := fmt.Sprintf("%s: %s, reject %v", row.what, protocol, reject)
				for _, family := range row.families {
					client, stranger, to := client4, stranger4, host4
					switch family {
					case '6':
						client, stranger, to = client6, stranger6, host6
					case 'e':
						to = elsewhere4
					}
					w.must(Clear())
					if !w.reached(protocol, stranger, to, row.ask) {
						t.Fatalf("%s, IPv%c: nothing answers, and nothing would be shown", name, family)
					}
					w.forget()
					f := w.claim(Config{Ports: []Port{{Protocol: protocol, Port: row.listen, Address: row.address, Reject: reject}}})
					if w.reaches(protocol, stranger, to, row.ask) || w.reaches(protocol, client, to, row.ask) {
						t.Errorf("%s, IPv%c: open to all", name, family)
					}
					w.must(f.grant(0, client, time.Hour))
					if !w.reached(protocol, client, to, row.ask) {
						t.Errorf("%s, IPv%c: closed to whom it was granted", name, family)
					}
					if w.reaches(protocol, stranger, to, row.ask) {
						t.Errorf("%s, IPv%c: open to a stranger", name, family)
					}
					w.must(f.revoke(0, client))
					if w.reaches(protocol, client, to, row.ask) {
						t.Errorf("%s, IPv%c: open after the lease", name, family)
					}
				}
			}
		}
	}
}
