package firewall

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// forget deletes all conntrack entries, as conntrack -F does.
func (w *network) forget() {
	w.Helper()
	w.must(netlink.ConntrackTableFlush(netlink.ConntrackTable))
}

// TestForgotten deletes the conntrack entries of connections whose leases have
// ended: they require a grant as new ones do, even if this host sends first.
func TestForgotten(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1") // as it is by default
	l, err := net.Listen("tcp4", ":2000")
	w.must(err)
	defer l.Close()
	for _, cut := range []bool{false, true} {
		f := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000, Cut: cut}}})
		w.must(f.grant(0, client4, time.Hour))
		there := w.connect(client4, 2000)
		here, err := l.Accept()
		w.must(err)
		defer here.Close()
		w.must(f.revoke(0, client4))
		w.forget()
		for _, first := range []string{"host", "again"} {
			_, err := here.Write([]byte("?")) // gets there, and makes the connection the host's
			w.must(err)
			there.SetReadDeadline(netns.Deadline(w))
			if _, err := there.Read(make([]byte, 1)); err != nil {
				t.Fatalf("%s: what the host sends: %v", first, err)
			}
		}
		if w.connections() == 0 {
			t.Error("what the host sends is not tracked, and nothing was shown")
		}
		_, err = there.Write([]byte("!"))
		w.must(err)
		w.probe() // each packet sent before it has arrived, or was dropped
		if n := pending(t, here.(*net.TCPConn)); n != 0 {
			t.Errorf("cut=%v: %d bytes came in without a grant", cut, n)
		}
		w.must(f.grant(0, client4, time.Hour))
		here.SetReadDeadline(netns.Deadline(w))
		if _, err := here.Read(make([]byte, 1)); err != nil {
			t.Errorf("cut=%v: nothing comes in with a grant: %v", cut, err)
		}
	}
}

// pending returns how many bytes of a connection are unread.
func pending(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestForward guards a port that DNAT sends to a container.
func TestForward(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	container := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "bridge", Addresses: []string{"172.17.0.1/16"}}, container, netns.End{Name: "eth0", Addresses: []string{"172.17.0.2/16"}})
	w.must(container.Do(func() error {
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP("172.17.0.1")})
	}))
	w.write("/proc/sys/net/ipv4/ip_forward", "1")
	w.nft(`
		table ip nat {
			chain prerouting {
				type nat hook prerouting priority dstnat
				fib daddr type local tcp dport 2000 dnat to 172.17.0.2:2000
				fib daddr type local tcp dport 2001 redirect to :2002
			}
			chain postrouting {
				type nat hook postrouting priority srcnat
				ip saddr 172.17.0.0/16 oifname "inner" masquerade
			}
		}
`)
	listen := func(address string) net.Listener {
		l, err := net.Listen("tcp4", address)
		w.must(err)
		t.Cleanup(func() { l.Close() })
		return l
	}
	var inside, outside net.Listener
	w.must(container.Do(func() error { inside = listen(":2000"); return nil }))
	w.must(w.outside.Do(func() error { outside = listen(client4.String() + ":2000"); return nil }))
	listen(":2002")
	for _, address := range []netip.Addr{{}, host4} {
		f := w.claim(Config{Ports: []Port{
			{Protocol: TCP, Port: 2000, Address: address},
			{Protocol: TCP, Port: 2001, Address: address},
		}})
		for i, port := range []uint16{2000, 2001} {
			if w.open(client4, port) {
				t.Errorf("port %d is open to all", port)
			}
			w.must(f.grant(i, client4, time.Hour))
			if !w.open(client4, port) {
				t.Errorf("port %d is closed to whom it was granted", port)
			}
			if w.open(stranger4, port) {
				t.Errorf("port %d is open to a stranger", port)
			}
			w.must(f.revoke(i, client4))
			if w.open(client4, port) {
				t.Errorf("port %d is open after the lease", port)
			}
		}
		// Connections that the container begins are not guarded, whatever the
		// port.
		w.must(container.Do(func() error {
			c, err := (&net.Dialer{Deadline: netns.Deadline(t)}).Dial("tcp", outside.Addr().String())
			if err != nil {
				return err
			}
			return c.Close()
		}))
		w.forgottenBehind(f, inside)
	}
}

// forgottenBehind is TestForgotten for a connection to the container.
func (w *network) forgottenBehind(f *Table, inside net.Listener) {
	w.Helper()
	for _, ends := range []bool{false, true} {
		w.must(f.grant(0, client4, time.Hour))
		there := w.connect(client4, 2000)
		here, err := acceptFrom(inside, there)
		w.must(err)
		defer here.Close()
		w.must(f.revoke(0, client4))
		if ends {
			w.forget()
		}
		_, err = here.Write([]byte("?"))
		w.must(err)
		there.SetReadDeadline(netns.Deadline(w))
		_, err = there.Read(make([]byte, 1))
		w.must(err)
		_, err = there.Write([]byte("!"))
		w.must(err)
		if !ends {
			here.SetReadDeadline(netns.Deadline(w))
			if _, err := here.Read(make([]byte, 1)); err != nil {
				w.Errorf("a running connection has ended with the lease: %v", err)
			}
			continue
		}
		w.probe()
		if n := pending(w.T, here.(*net.TCPConn)); n != 0 {
			w.Errorf("%d bytes of a forgotten connection reached the container", n)
		}
	}
}

// acceptFrom skips the half-open connections that probes have left.
func acceptFrom(l net.Listener, from net.Conn) (net.Conn, error) {
	for {
		c, err := l.Accept()
		if err != nil || c.RemoteAddr().String() == from.LocalAddr().String() {
			return c, err
		}
		c.Close()
	}
}
