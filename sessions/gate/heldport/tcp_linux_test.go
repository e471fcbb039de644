package heldport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

const otherUser = 65534

func noControl(string, string, syscall.RawConn) error { return nil }

// asOtherUser runs f in a thread whose sockets belong to another user.
func asOtherUser(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and ends with the goroutine
		unix.SetfsuidRetUid(otherUser)
		uid, _ := unix.SetfsuidRetUid(-1)
		if uid != otherUser {
			done <- fmt.Errorf("acts as %d", uid)
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// tryPort tries to use a port as a program of another user would, in all ways.
func tryPort(t *testing.T, kind int, port uint16) (how []string) {
	t.Helper()
	asOtherUser(t, func() {
		for _, a := range []string{"0.0.0.0", "127.0.0.1", "::", "::1", "192.0.2.1", "127.0.0.9"} {
			for _, options := range [][]int{nil, {unix.SO_REUSEADDR}, {unix.SO_REUSEPORT}, {unix.SO_REUSEADDR, unix.SO_REUSEPORT}} {
				fd, name, err := socket(kind, netip.AddrPortFrom(netip.MustParseAddr(a), port))
				if err != nil {
					t.Error(err)
					return
				}
				for _, o := range options {
					unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1)
				}
				if a == "::" { // else it is the one for IPv4 as well
					unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
				}
				if err = unix.Bind(fd, name); err == nil {
					how = append(how, fmt.Sprintf("bound %s %v", a, options))
				}
				if kind == unix.SOCK_STREAM && unix.Listen(fd, 1) == nil && err == nil {
					how = append(how, fmt.Sprintf("listens at %s %v", a, options))
				}
				unix.Close(fd)
			}
		}
	})
	return how
}

// concerns reports whether a result of tryPort is about a held address.
func concerns(how string, a netip.Addr) bool {
	switch {
	case a.IsUnspecified() || strings.Contains(how, " "+a.String()+" "):
		return true
	case a.Is6():
		return strings.Contains(how, " :: ")
	}
	return strings.Contains(how, " 0.0.0.0 ")
}

// loopback adds the addresses that tryPort tries.
func loopback(t *testing.T) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"192.0.2.1/32", "127.0.0.9/32"} {
		if err := addAddress(lo, a); err != nil {
			t.Fatal(err)
		}
	}
}

func addAddress(link netlink.Link, a string) error {
	address, err := netlink.ParseAddr(a)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(link, address)
}

func dial(address string) (net.Conn, error) {
	return net.DialTimeout("tcp", address, 10*time.Second)
}

// TestTCPIsExclusive: while the port opens and closes, and over a restart with
// connections that continue and connections in TIME_WAIT.
func TestTCPIsExclusive(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	loopback(t)
	for _, address := range []string{":8080", "[::1]:8081", "127.0.0.1:8082", "192.0.2.1:8083"} {
		t.Run(address, func(t *testing.T) {
			held, err := BindTCP(address, noControl)
			if err != nil {
				t.Fatal(err)
			}
			addr := held.addr
			target := addr.String()
			if addr.Addr().IsUnspecified() {
				target = net.JoinHostPort("192.0.2.1", fmt.Sprint(addr.Port()))
			}
			check := func(when string, open bool) {
				t.Helper()
				for _, how := range tryPort(t, unix.SOCK_STREAM, addr.Port()) {
					// Any program may use an address that is not held.
					if concerns(how, addr.Addr()) {
						t.Errorf("%s: another user %s", when, how)
					}
				}
				if open {
					return
				}
				if c, err := dial(target); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%s: %v, %v", when, c, err)
				}
			}
			check("before", false)
			var live []net.Conn
			connect := func() {
				t.Helper()
				l, err := held.Listen()
				if err != nil {
					t.Fatal(err)
				}
				c, err := dial(target)
				if err != nil {
					t.Fatal(err)
				}
				s, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				if err := Accepted(s.(*net.TCPConn)); err != nil {
					t.Fatal(err)
				}
				live = append(live, c, s)
				check("open", true)
				if err := held.StopListening(); err != nil {
					t.Fatal(err)
				}
				check("closed", false)
				if _, err := c.Write([]byte("x")); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
					t.Errorf("a connection that lives on: %v", err)
				}
			}
			for range 3 {
				connect()
			}
			// This side closes first, and enters TIME_WAIT.
			live[1].Close()
			live[0].Close()
			held.Close()
			if held, err = BindTCP(address, noControl); err != nil {
				t.Fatalf("restart: %v", err)
			}
			check("after a restart", false)
			connect()
			// Another server of the same user is refused, in every state.
			for _, listens := range []bool{false, true} {
				if listens {
					if _, err := held.Listen(); err != nil {
						t.Fatal(err)
					}
				}
				var used *InUseError
				if second, err := BindTCP(address, noControl); !errors.As(err, &used) {
					t.Errorf("a second server: %v, %v", second, err)
				} else if !strings.Contains(used.By, fmt.Sprintf("process %d", os.Getpid())) {
					t.Errorf("by %q", used.By)
				}
			}
			held.Close()
			for _, c := range live {
				c.Close()
			}
		})
	}
}

// TestBoundBefore: a program that has bound the port, and does not listen yet,
// is found, although SO_REUSEADDR would tolerate it.
func TestBoundBefore(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	for _, listens := range []bool{false, true} {
		var fd int
		asOtherUser(t, func() {
			fd, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 8080}); err != nil {
				t.Error(err)
			}
			if listens {
				if err := unix.Listen(fd, 1); err != nil {
					t.Error(err)
				}
			}
		})
		var used *InUseError
		held, err := BindTCP(":8080", noControl)
		if !errors.As(err, &used) || !strings.Contains(used.By, "65534") || !strings.Contains(used.By, fmt.Sprint(os.Getpid())) {
			t.Errorf("listens %t: %v, %v", listens, held, err)
		}
		unix.Close(fd)
	}
}

// TestNotUsedForOutgoingConnections: if the only port for outgoing connections
// is held, connecting fails.
func TestNotUsedForOutgoingConnections(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40001"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, port := range []string{":40000", ":40001"} {
		held, err := BindTCP(port, noControl)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		udp, err := BindUDP(port, noControl)
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
	}
	if c, err := dial("127.0.0.1:8080"); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("got %v, %v", c, err)
	}
	if c, err := net.Dial("udp", "127.0.0.1:8080"); err == nil {
		t.Errorf("got %v", c.LocalAddr())
	}
}

// refused reports whether a datagram gets the answer of a closed port.
func refused(t *testing.T, address string) bool {
	t.Helper()
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("x"))
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	return errors.Is(err, unix.ECONNREFUSED)
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		":80": "[::]:80", "0.0.0.0:80": "[::]:80", "[::]:80": "[::]:80", "127.0.0.1:80": "127.0.0.1:80",
		"[::ffff:127.0.0.1]:80": "127.0.0.1:80", "[fe80::1%eth0]:80": "[fe80::1%eth0]:80", "host:80": "", "80": "", ":x": "", ":65536": "",
	} {
		got, err := parse(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}
