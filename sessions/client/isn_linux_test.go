package client

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
	"sallyport/verify/wire"
)

// firstSequence returns the sequence number of the next SYN to a port on the loopback.
func firstSequence(t *testing.T, port uint16, during func()) wire.ISN {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	during()
	b := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			t.Fatalf("no SYN to port %d: %v", port, err)
		}
		h := b[int(b[0]&15)*4 : n]
		if to := uint16(h[2])<<8 | uint16(h[3]); to == port && h[13] == 2 {
			return wire.ISN(uint32(h[4])<<24 | uint32(h[5])<<16 | uint32(h[6])<<8 | uint32(h[7]))
		}
	}
}

// TestSetISN: the kernel begins a connection with the number, whatever it is, and the
// connection works; half-open ones, too.
func TestSetISN(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	if err := tryISN(); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		to := l.Addr().(*net.TCPAddr).AddrPort()
		for _, number := range []wire.ISN{1, 0x7fffffff, 1 << 31, 0xffffffff} {
			for _, half := range []bool{false, true} {
				connect := func() {
					c, err := connectOnce(to, half, number)
					if err != nil {
						t.Fatalf("%s, %d: %v", at, number, err)
					}
					if half {
						return
					}
					there, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					c.Write([]byte("!"))
					if n, err := there.Read(make([]byte, 2)); n != 1 || err != nil {
						t.Errorf("%d: read %d bytes, %v", number, n, err)
					}
					there.Close()
					c.Close()
				}
				if !to.Addr().Is4() {
					connect() // a raw socket of IPv6 has no header; the end-to-end tests check the number
				} else if got := firstSequence(t, to.Port(), connect); got != number {
					t.Errorf("half %v: a SYN with %d, want %d", half, got, number)
				}
			}
		}
	}
}

// TestBoundKnock: the connection begins with the number of the attempt that opened; an
// attempt that fails has another.
func TestBoundKnock(t *testing.T) {
	if !netns.EnterPrivileged(t) {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:8022")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := Profile{
		Server: "127.0.0.1", PortSecret: "s", Ports: 3, Generator: schedule.Algorithm1, Identifier: wire.Identifier([]byte("com1")),
		Secret: []byte("secret"), Service: ":8022", Bind: BindISN,
	}
	var base uint32
	cfg := Config{
		Profile: p, Nonces: NonceFile{Path: filepath.Join(t.TempDir(), "nonces")}, Keep: true, Now: time.Now, Attempts: 1,
		Report: func(e Event) {
			if s, ok := e.(Sent); ok {
				base = s.Base
			}
		},
	}
	seen := map[wire.ISN]bool{}
	for range 2 {
		// The first SYN is the one before the knock, with a number of the kernel.
		var numbers []wire.ISN
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			t.Fatal(err)
		}
		result, err := Knock(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2048)
		for {
			n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			h := b[int(b[0]&15)*4 : n]
			if h[13] == 2 && h[2] == 8022>>8 && h[3] == 8022&0xff {
				numbers = append(numbers, wire.ISN(uint32(h[4])<<24|uint32(h[5])<<16|uint32(h[6])<<8|uint32(h[7])))
			}
		}
		unix.Close(fd)
		result.Conn.Close()
		want := wire.ISNOfAttempt(p.Secret, p.Identifier, base)
		// On a busy host, more than one connection begins after the knock.
		other := func(n wire.ISN) bool { return n != want }
		if len(numbers) < 2 || numbers[0] == want || slices.ContainsFunc(numbers[1:], other) || seen[want] {
			t.Errorf("SYNs with %d, want another number and then only %d", numbers, want)
		}
		seen[want] = true
	}
}

// TestBindFailsBeforeAKnock: without the means, the client uses up no nonce.
func TestBindFailsBeforeAKnock(t *testing.T) {
	o, err := exchange.NewOperation("ssh-alice", "secret", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	nonces := filepath.Join(t.TempDir(), "nonces")
	sent := func(e Event) { t.Errorf("%T", e) }
	p := Profile{
		Server: "127.0.0.1", PortSecret: "s", Ports: 1, Generator: schedule.Algorithm1, Identifier: wire.Identifier([]byte("com1")),
		Secret: []byte("secret"), Service: ":8022", Bind: BindISN,
	}
	for _, watch := range []Watch{WatchDefault, WatchSYN, WatchConnection} {
		_, err1 := Knock(context.Background(), Config{Profile: p, Nonces: NonceFile{Path: nonces}, Now: time.Now, Report: sent, Watch: watch})
		_, err2 := Exchange(context.Background(), ExchangeConfig{
			Server: "127.0.0.1", Watch: watch, Report: sent,
			Challenge: Challenge{Operation: o, Request: narrow, Response: above, Service: ":8022", Bind: BindISN},
		})
		for _, err := range []error{err1, err2} {
			var isn *ISNError
			if !errors.As(err, &isn) || !strings.Contains(isn.Hint(), "sallyport connect") {
				t.Errorf("%q: %v", watch, err)
			}
		}
	}
	if _, err := os.Stat(nonces); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nonces were used: %v", err)
	}
	for service, b := range map[string]Bind{"": BindISN, ":53/udp": BindISN, ":22": "mac"} {
		if b.check(service, "") == nil {
			t.Errorf("bind %q of %q is valid", b, service)
		}
	}
	if err := BindISN.check(":22", ""); err != nil {
		t.Error(err)
	}
	for service, name := range map[string]string{"": "ssh", ":53/udp": "dns", ":22": ""} {
		if BindConnection.check(service, name) == nil {
			t.Errorf("bind = \"connection\" of %q, named %q, is valid", service, name)
		}
	}
	if err := BindConnection.check(":22", "ssh"); err != nil {
		t.Error(err)
	}
}
