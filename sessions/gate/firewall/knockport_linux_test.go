package firewall

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestKnockPorts: UDP flows through this host, and services that Stealth
// excepts, continue while their port is a knock port.
func TestKnockPorts(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	container := w.router()
	w.nft(`table inet nat {
		chain prerouting {
			type nat hook prerouting priority dstnat
			fib daddr type local udp dport 5000 dnat ip to 172.17.0.2:5001
		}
		chain postrouting {
			type nat hook postrouting priority srcnat
			ip saddr 172.17.0.0/16 oifname "inner" masquerade
			ip6 saddr 2001:db8:17::/64 oifname "inner" masquerade
		}
	}`)
	w.answering(container, 5001)
	w.answering(nil, 5002)
	var servers, guests []*net.UDPConn
	open := func(h *netns.Host, address string) *net.UDPConn {
		var c *net.UDPConn
		w.must(h.Do(func() (err error) {
			c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
			return err
		}))
		w.Cleanup(func() { c.Close() })
		return c
	}
	pairs := [][2]netip.Addr{
		{stranger4, netip.MustParseAddr("172.17.0.2")}, {stranger6, netip.MustParseAddr("2001:db8:17::2")},
	}
	for i, a := range pairs {
		servers = append(servers, open(w.outside, netip.AddrPortFrom(a[0], 5300).String()))
		guests = append(guests, open(container, netip.AddrPortFrom(a[1], uint16(5010+i)).String()))
	}
	b := make([]byte, 2000)
	for _, stealth := range []bool{false, true} {
		f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}, Stealth: stealth, Except: []uint16{5002}})
		for _, drawn := range []bool{false, true} {
			if drawn {
				w.must(f.OpenKnockPorts([]uint16{5000, 5001, 5002, 5010, 5011}, time.Hour))
			}
			for _, new := range []bool{false, true} {
				if new {
					w.forget()
				}
				for i, server := range servers {
					// The guest sends a request; the reply is as long as a
					// knock.
					_, err := guests[i].WriteTo([]byte("?"), server.LocalAddr())
					w.must(err)
					server.SetDeadline(netns.Deadline(t))
					_, from, err := server.ReadFrom(b)
					w.must(err)
					for _, payload := range [][]byte{[]byte("!"), make([]byte, 48), make([]byte, 1200)} {
						_, err = server.WriteTo(payload, from)
						w.must(err)
						guests[i].SetDeadline(netns.Deadline(t))
						if n, _, err := guests[i].ReadFrom(b); err != nil || n != len(payload) {
							t.Fatalf("stealth %v, drawn %v: a reply to a masqueraded flow is lost: %v", stealth, drawn, err)
						}
					}
				}
				for _, port := range []uint16{5000, 5002} {
					if !w.reached(UDP, stranger4, host4, port) {
						t.Errorf("stealth %v, drawn %v, new %v: port %d is lost", stealth, drawn, new, port)
					}
				}
			}
			if stealth && w.reaches(UDP, stranger4, host4, 5001) {
				t.Error("a port that is not excepted answers")
			}
		}
	}
}
