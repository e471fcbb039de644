package sockowner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/sockowner/ownertest"
)

// The users of the tests: the program's, and another one.
const mine, theirs = 61001, 61002

func at(a net.Addr) netip.AddrPort {
	p := netip.MustParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// TestListenerAndAccepted: the lookup finds the user of the socket to which the
// kernel gives a connection, whether the program has accepted it or not.
func TestListenerAndAccepted(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, row := range []struct {
		listen, dial string
		options      []string
	}{
		{"127.0.0.1:7001", "127.0.0.1:7001", nil},
		{"127.0.0.1:7002", "127.0.0.1:7002", []string{ownertest.Hold}},
		{"0.0.0.0:7003", "127.0.0.1:7003", nil},
		{"[::]:7004", "127.0.0.1:7004", nil},
		{"[::]:7005", "127.0.0.1:7005", []string{ownertest.Hold}},
		{"[::]:7006", "[::1]:7006", nil},
		{"[::1]:7007", "[::1]:7007", []string{ownertest.Hold}},
		{"127.0.0.1:7008", "127.0.0.1:7008", []string{ownertest.ToLink}},
		{"127.0.0.1:7009", "127.0.0.1:7009", []string{ownertest.ToLink, ownertest.Hold}},
		{"127.0.0.9:7010", "127.0.0.9:7010", []string{ownertest.ReuseAddr, ownertest.ReusePort}},
	} {
		to := netip.MustParseAddrPort(row.dial)
		if uid, err := Listener(to); !errors.Is(err, ErrNone) {
			t.Errorf("%s, no program: %d, %v", row.listen, uid, err)
		}
		server := ownertest.MustStart(t, mine, "tcp", row.listen, row.options...)
		if uid, err := Listener(to); uid != mine || err != nil {
			t.Errorf("%s listens: %d, %v", row.listen, uid, err)
		}
		c, err := net.Dial("tcp", row.dial)
		if err != nil {
			t.Fatal(err)
		}
		if uid, err := Accepted(at(c.LocalAddr()), to); uid != mine || err != nil {
			t.Errorf("%s has a connection: %d, %v", row.listen, uid, err)
		}
		if len(row.options) == 0 || row.options[len(row.options)-1] != ownertest.Hold {
			c.Write([]byte("x"))
			if _, err := c.Read(make([]byte, 1)); err != nil { // now it is accepted for certain
				t.Fatal(err)
			}
			if uid, err := Accepted(at(c.LocalAddr()), to); uid != mine || err != nil {
				t.Errorf("%s has accepted a connection: %d, %v", row.listen, uid, err)
			}
		}
		server.Kill()
		if uid, err := Accepted(at(c.LocalAddr()), to); err == nil {
			t.Errorf("%s has ended: %d", row.listen, uid)
		}
		c.Close()
	}
}

// TestForeignConnection: each of several programs is found by its connection, and none
// without one.
func TestForeignConnection(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	ownertest.MustStart(t, theirs, "tcp", "0.0.0.0:7001")
	ownertest.MustStart(t, mine, "tcp", "0.0.0.0:7002")
	for port, want := range map[string]uint32{"7001": theirs, "7002": mine} {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if uid, err := Accepted(at(c.LocalAddr()), at(c.RemoteAddr())); uid != want || err != nil {
			t.Errorf("port %s: %d, %v", port, uid, err)
		}
	}
	// No connection from there.
	uid, err := Accepted(netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.1:7001"))
	if err == nil {
		t.Errorf("no connection: %d", uid)
	}
}

// TestSharedReceiver: UDP sockets of several users may share a port with SO_REUSEADDR.
// The lookup finds the one that gets the datagrams.
func TestSharedReceiver(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	to := netip.MustParseAddrPort("127.0.0.1:7001")
	for i, addresses := range [][2]string{
		{"127.0.0.1:7001", "127.0.0.1:7001"}, {"0.0.0.0:7001", "127.0.0.1:7001"}, {"127.0.0.1:7001", "0.0.0.0:7001"}, {"[::]:7001", "0.0.0.0:7001"},
	} {
		server := ownertest.MustStart(t, mine, "udp", addresses[0], ownertest.ReuseAddr)
		other := ownertest.MustStart(t, theirs, "udp", addresses[1], ownertest.ReuseAddr)
		c, err := net.Dial("udp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(netns.Deadline(t))
		b := make([]byte, 16)
		c.Write([]byte(ownertest.UserQuery))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if uid, err := Receiver(at(c.LocalAddr()), to); fmt.Sprint(uid) != string(b[:n]) || err != nil {
			t.Errorf("case %d: %d, %v, but %s answers", i, uid, err, b[:n])
		}
		server.Kill()
		other.Kill()
	}
}

// TestNoOtherUserBesides: while a program listens, no other user gets connections to its
// port: the kernel does not let another socket share it.
func TestNoOtherUserBesides(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	all := [][]string{
		nil, {ownertest.ReuseAddr}, {ownertest.ReusePort}, {ownertest.ReuseAddr, ownertest.ReusePort},
		{ownertest.ReuseAddr, ownertest.ReusePort, ownertest.ToLink},
	}
	for _, network := range []string{"tcp", "udp"} {
		ownertest.As(t, theirs, func() {
			c := try(network, "127.0.0.1:7001", ownertest.Config())
			if c == nil {
				t.Error("a free port cannot be had")
				return
			}
			c.Close()
		})
		for _, own := range all {
			server := ownertest.MustStart(t, mine, network, "0.0.0.0:7001", own...)
			for _, other := range all {
				if network == "udp" && slices.Contains(own, ownertest.ReuseAddr) && slices.Contains(other, ownertest.ReuseAddr) {
					continue // see TestSharedReceiver
				}
				ownertest.As(t, theirs, func() {
					for _, address := range []string{"127.0.0.1:7001", "0.0.0.0:7001", "[::]:7001"} {
						if c := try(network, address, ownertest.Config(other...)); c != nil {
							t.Errorf("%s %v: another user has %s %v", network, own, address, other)
							c.Close()
						}
					}
				})
			}
			server.Kill()
		}
	}
}

// try returns what listens; nil: it cannot.
func try(network, address string, lc net.ListenConfig) io.Closer {
	if network == "udp" {
		c, err := lc.ListenPacket(context.Background(), network, address)
		if err != nil {
			return nil
		}
		return c
	}
	l, err := lc.Listen(context.Background(), network, address)
	if err != nil {
		return nil
	}
	return l
}

func TestReceiver(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, row := range []struct{ listen, dial string }{
		{"127.0.0.1:7001", "127.0.0.1:7001"}, {"0.0.0.0:7002", "127.0.0.1:7002"}, {"[::]:7003", "127.0.0.1:7003"},
		{"[::]:7004", "[::1]:7004"}, {"[::1]:7005", "[::1]:7005"},
	} {
		to := netip.MustParseAddrPort(row.dial)
		c, err := net.Dial("udp", row.dial)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if uid, err := Receiver(at(c.LocalAddr()), to); !errors.Is(err, ErrNone) {
			t.Errorf("%s, no program: %d, %v", row.listen, uid, err)
		}
		server := ownertest.MustStart(t, mine, "udp", row.listen)
		for _, from := range []netip.AddrPort{at(c.LocalAddr()), netip.AddrPortFrom(to.Addr(), 0)} {
			if uid, err := Receiver(from, to); uid != mine || err != nil {
				t.Errorf("%s, from %s: %d, %v", row.listen, from, uid, err)
			}
		}
		server.Kill()
		if uid, err := Receiver(at(c.LocalAddr()), to); !errors.Is(err, ErrNone) {
			t.Errorf("%s has ended: %d, %v", row.listen, uid, err)
		}
	}
}

// FuzzParseAnswer: an answer of the kernel in another form is an error.
func FuzzParseAnswer(f *testing.F) {
	f.Add(make([]byte, 88))
	f.Add([]byte{36, 0, 0, 0, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseAnswer(b); err == nil && len(b) < 88 {
			t.Errorf("%d bytes: %+v", len(b), s)
		}
	})
}

// BenchmarkAccepted measures a check, with connections that it must not look at.
func BenchmarkAccepted(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		return c
	}
	c := dial()
	for _, others := range []struct {
		name string
		n    int
	}{{"alone", 0}, {"among 2000", 1000}} {
		b.Run(others.name, func(b *testing.B) {
			for range others.n {
				dial()
				s, err := l.Accept()
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
			}
			here, there := at(c.LocalAddr()), at(c.RemoteAddr())
			for b.Loop() {
				if _, err := Accepted(here, there); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
