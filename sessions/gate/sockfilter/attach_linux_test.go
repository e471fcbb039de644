package sockfilter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

func listen(t testing.TB, address string) (*net.TCPListener, syscall.RawConn) {
	t.Helper()
	lc := net.ListenConfig{Control: DenyAll}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return l.(*net.TCPListener), raw
}

func addresses(all ...string) (s Set) {
	for _, a := range all {
		s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
	}
	return s
}

// soon returns the end of the time in which a test that expects silence waits.
func soon() time.Time { return time.Now().Add(300 * time.Millisecond) }

// dial connects from an address: an answer of any kind, or silence until end.
func dial(from, to string, end time.Time) (net.Conn, error) {
	d := net.Dialer{Deadline: end, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return d.DialContext(context.Background(), "tcp", to)
}

func TestListener(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	h := netns.NewHost(t)
	netns.Connect(t, netns.End{Name: "left", Addresses: []string{"198.51.100.1/24", "2001:db8::1/64"}}, h,
		netns.End{Name: "right", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "2001:db8::2/64", "2001:db8::3/64"}})
	_, raw := listen(t, "[::]:7")
	// A stranger gets no answer: a reset would be ECONNREFUSED.
	want := func(set string, answers map[string]bool) {
		t.Helper()
		for from, answered := range answers {
			to := "198.51.100.1:7"
			if strings.Contains(from, ":") {
				to = "[2001:db8::1]:7"
			}
			end := soon()
			if answered {
				end = netns.Deadline(t)
			}
			err := h.Do(func() error {
				c, err := dial(from, to, end)
				if err == nil {
					c.Close()
				}
				return err
			})
			if answered && err != nil || !answered && !silence(err) {
				t.Errorf("%s, from %s: %v", set, from, err)
			}
		}
	}
	attach := func(s Set) {
		t.Helper()
		if fits, err := Attach(raw, s); err != nil || !fits {
			t.Fatalf("fits %v, %v", fits, err)
		}
	}
	none := map[string]bool{"198.51.100.2": false, "2001:db8::2": false}
	want("denyAll", none)
	attach(addresses("198.51.100.2", "2001:db8::3"))
	want("two", map[string]bool{"198.51.100.2": true, "198.51.100.3": false, "2001:db8::2": false, "2001:db8::3": true})
	attach(Set{Nets: []netip.Prefix{netip.MustParsePrefix("2001:db8::/64")}})
	want("a net", map[string]bool{"198.51.100.2": false, "2001:db8::2": true, "2001:db8::3": true})
	attach(Set{Anyone: true})
	want("all", map[string]bool{"198.51.100.2": true, "2001:db8::2": true})
	attach(Set{})
	want("denyAll again", none)
	// Too many entries: the caller must refuse strangers later.
	if fits, err := Attach(raw, Set{Addresses: spread(Max+1, false)}); err != nil || fits {
		t.Errorf("too many: fits %v, %v", fits, err)
	}
	want("too many", map[string]bool{"198.51.100.2": true, "2001:db8::2": true})
	attach(Set{})
	want("denyAll in the end", none)
}

// TestLittleRoom: with a small net.core.optmem_max all packets pass, and Attach
// reports it.
func TestLittleRoom(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	if err := os.WriteFile("/proc/sys/net/core/optmem_max", []byte("20480"), 0); err != nil {
		t.Skipf("this kernel does not let a namespace bound its sockets' memory: %v", err)
	}
	_, raw := listen(t, "127.0.0.1:7")
	if fits, err := Attach(raw, addresses("127.0.0.1")); err != nil || !fits {
		t.Errorf("one address: %v, %v", fits, err)
	}
	if fits, err := Attach(raw, Set{Addresses: worst(true)}); err != nil || fits {
		t.Errorf("many addresses: %v, %v", fits, err)
	}
	c, err := dial("127.0.0.2", "127.0.0.1:7", netns.Deadline(t))
	if err != nil {
		t.Fatalf("denyAll is let through: %v", err)
	}
	c.Close()
	if fits, err := Attach(raw, addresses("127.0.0.1")); err != nil || !fits {
		t.Errorf("one address again: %v, %v", fits, err)
	}
	if _, err := dial("127.0.0.2", "127.0.0.1:7", soon()); !silence(err) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestDatagramSocket(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	c, err := (&net.ListenConfig{Control: DenyAll}).ListenPacket(t.Context(), "udp", "127.0.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Attach(raw, addresses("127.0.0.2")); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
		s, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		// The second send would return an ICMP error for the first.
		for range 2 {
			if _, err := io.WriteString(s, from); errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s was answered", from)
			}
		}
	}
	b := make([]byte, 64)
	c.SetReadDeadline(netns.Deadline(t))
	for range 2 {
		n, from, err := c.ReadFrom(b)
		if err != nil || string(b[:n]) != "127.0.0.2" {
			t.Fatalf("%q from %v, %v", b[:n], from, err)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	for _, n := range []int{1, 64, Max} {
		for _, six := range []bool{false, true} {
			s := Set{Addresses: spread(n, six)}
			name := fmt.Sprintf("addresses=%d/ipv6=%v", n, six)
			b.Run(name, func(b *testing.B) {
				_, raw := listen(b, "127.0.0.1:0")
				for b.Loop() {
					if _, err := Attach(raw, s); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func silence(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// TestSupportedKeepsTheFirstThread: the thread that loses its capabilities is never the
// one whose capabilities /proc shows as those of the process.
func TestSupportedKeepsTheFirstThread(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	capabilities := func() string {
		status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		_, all, _ := strings.Cut(string(status), "CapPrm:")
		all, _, _ = strings.Cut(all, "\n")
		return all
	}
	before := capabilities()
	for range 1000 {
		Supported()
	}
	if after := capabilities(); after != before || strings.Trim(after, "\t 0") == "" {
		t.Errorf("%q before, %q after", before, after)
	}
}
