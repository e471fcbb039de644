package sockfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

const (
	fin, syn, rst, psh, ack, urg = 1, 2, 4, 8, 16, 32

	synAck = syn | ack
)

var (
	friend   = map[bool]netip.Addr{false: netip.MustParseAddr("198.51.100.8"), true: netip.MustParseAddr("2001:db8::8")}
	stranger = map[bool]netip.Addr{false: netip.MustParseAddr("198.51.100.9"), true: netip.MustParseAddr("2001:db8::9")}
	friends  = Set{Addresses: []netip.Addr{friend[false], friend[true]}}
)

func mustAttach(t *testing.T, c syscall.RawConn, s Set) {
	t.Helper()
	if fits, err := Attach(c, s); err != nil || !fits {
		t.Fatalf("fits: %v, %v", fits, err)
	}
}

// TestProbes sends the probes of a port scanner.
func TestProbes(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	p := newPeer(t, friend[false], friend[true], stranger[false], stranger[true])
	probes := []byte{syn, ack, fin, fin | psh | urg, 0, synAck, syn | fin, rst, fin | ack}
	port := uint16(1024)
	for _, to := range []struct {
		address  string
		families []bool // IPv6
	}{{"198.51.100.1:7", []bool{false}}, {"[2001:db8::1]:7", []bool{true}}, {"[::]:7", []bool{false, true}}} {
		l, raw := listen(t, to.address)
		for _, six := range to.families {
			for _, extended := range []bool{false, true} {
				// answered returns which of the probes from an address get an
				// answer.
				answered := func(from netip.Addr) (flags []byte) {
					sent := map[uint16]byte{}
					for _, f := range probes {
						port++
						sent[port] = f
						p.send(t, from, unix.IPPROTO_TCP, segment(port, 7, 1, 1, f), extended)
					}
					port++
					last := port
					p.send(t, friend[six], unix.IPPROTO_TCP, segment(last, 7, 1, 0, syn), extended)
					for {
						a := p.next(t)
						if a.protocol != unix.IPPROTO_TCP {
							t.Errorf("%s: protocol %d to %s", to.address, a.protocol, a.to)
							continue
						}
						at := binary.BigEndian.Uint16(a.payload[2:])
						if f, ok := sent[at]; ok && a.to == from {
							flags = append(flags, f)
						}
						if at == last && a.to == friend[six] && a.payload[13] == synAck {
							slices.Sort(flags)
							return slices.Compact(flags) // without retransmissions
						}
					}
				}
				what := fmt.Sprintf("%s, IPv6 %v, extended %v", to.address, six, extended)
				mustAttach(t, raw, friends)
				if flags := answered(stranger[six]); flags != nil {
					t.Errorf("%s: a stranger's flags %x are answered", what, flags)
				}
				// The same probes get answers if all sources pass.
				want := []byte{syn, ack, synAck}
				if flags := answered(friend[six]); !containsAll(flags, want) {
					t.Errorf("%s: of a friend's, only flags %x are answered", what, flags)
				}
				mustAttach(t, raw, Set{Anyone: true})
				if flags := answered(stranger[six]); !containsAll(flags, want) {
					t.Errorf("%s: without a filter, only flags %x are answered", what, flags)
				}
			}
		}
		l.Close()
	}
}

func containsAll(all, some []byte) bool {
	return !slices.ContainsFunc(some, func(x byte) bool { return !slices.Contains(all, x) })
}

// TestLastACK: a client that is removed from the set during a handshake is not
// admitted, unless it is added again in time.
func TestLastACK(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	p := newPeer(t, friend[false], stranger[false])
	l, raw := listen(t, "198.51.100.1:7")
	late, other := friend[false], stranger[false]
	answers := map[uint16]uint32{}
	begin := func(from netip.Addr, port uint16) {
		p.send(t, from, unix.IPPROTO_TCP, segment(port, 7, 100, 0, syn), false)
		for {
			a := p.next(t)
			if at := binary.BigEndian.Uint16(a.payload[2:]); at == port && a.payload[13] == synAck {
				answers[port] = binary.BigEndian.Uint32(a.payload[4:])
				return
			}
		}
	}
	ackIt := func(from netip.Addr, port uint16) {
		p.send(t, from, unix.IPPROTO_TCP, segment(port, 7, 101, answers[port]+1, ack), false)
	}
	accepted := func(port int) {
		t.Helper()
		l.SetDeadline(netns.Deadline(t))
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.RemoteAddr().(*net.TCPAddr).Port; got != port {
			t.Fatalf("port %d was accepted, want %d", got, port)
		}
	}
	mustAttach(t, raw, Set{Addresses: []netip.Addr{late, other}})
	begin(late, 1001)
	mustAttach(t, raw, Set{Addresses: []netip.Addr{other}})
	ackIt(late, 1001)
	begin(other, 1002)
	ackIt(other, 1002)
	accepted(1002) // the first in the queue
	begin(late, 1001)
	t.Log("the SYN-ACK was sent again to who has left")
	mustAttach(t, raw, Set{Addresses: []netip.Addr{late}})
	ackIt(late, 1001)
	accepted(1001)
}

// TestKernelRunsTheLargest: the kernel lets each address of the largest set
// through, and none that differs in one bit.
func TestKernelRunsTheLargest(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	p := newPeer(t)
	c, err := (&net.ListenConfig{Control: DenyAll}).ListenPacket(t.Context(), "udp", "[::]:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, six := range []bool{false, true} {
		all := worst(six)
		mustAttach(t, raw, Set{Addresses: all})
		for i, a := range all {
			want := map[netip.Addr]bool{a: true}
			for _, source := range []netip.Addr{near(a)[8+i%(a.BitLen()-8)], a} {
				p.send(t, source, unix.IPPROTO_UDP, []byte{0, 9, 0, 7, 0, 9, 0, 0, 'x'}, i%2 == 1)
			}
			got := map[netip.Addr]bool{}
			for !got[a] {
				c.SetReadDeadline(netns.Deadline(t))
				_, from, err := c.ReadFrom(make([]byte, 16))
				if err != nil {
					t.Fatalf("%s is refused: %v", a, err)
				}
				got[from.(*net.UDPAddr).AddrPort().Addr().Unmap()] = true
			}
			if !maps.Equal(got, want) {
				t.Fatalf("taken: %v, want %v", got, want)
			}
		}
	}
}

// TestReplaceFullProgram: a full program replaces another in one step.
func TestReplaceFullProgram(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	_, raw := listen(t, "127.0.0.1:7")
	for _, six := range []bool{true, false, true} {
		program, _ := Program(Set{Addresses: worst(six)})
		for range 3 {
			if err := attach(raw, program); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDetach: a connection may have a filter that refuses its own peer, if the
// listener's filter changed while it began.
func TestDetach(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	l, raw := listen(t, "127.0.0.1:7")
	mustAttach(t, raw, addresses("127.0.0.1"))
	ours, err := net.Dial("tcp", "127.0.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	theirs, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if !detach(t, theirs) {
		t.Error("it did not inherit the filter")
	}
	mustAttach(t, theirs, Set{})
	if _, err := ours.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 {
		t.Errorf("its filter lets all through: %v", err)
	}
	if err := Detach(c.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	if detach(t, theirs) {
		t.Error("the filter is still there")
	}
	c.SetReadDeadline(netns.Deadline(t))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("what its peer sends again does not come: %v", err)
	}
	if !detach(t, raw) {
		t.Error("the listener lost its own")
	}
}

// detach removes a socket's filter, and reports whether it had one.
func detach(t *testing.T, c syscall.RawConn) bool {
	t.Helper()
	err := control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	return err == nil
}

// TestNoMultipath: the kernel does not filter Multipath TCP, so no filtered
// socket may use it, although it is net's default.
func TestNoMultipath(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	l, err := (&net.ListenConfig{Control: DenyAll}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := control(raw, func(fd int) error {
		protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if protocol != unix.IPPROTO_TCP {
			t.Errorf("protocol %d", protocol)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestWithoutPrivilege: if the process may not filter a TCP socket, all packets
// pass, and Attach reports it.
func TestWithoutPrivilege(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	runtime.LockOSThread() // and never unlocked: this thread's end is the test's
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	_, raw := listen(t, "127.0.0.1:7007")
	fits, err := Attach(raw, addresses("127.0.0.1"))
	if err != nil || fits != Supported() {
		t.Fatalf("fits %v, allowed %v, %v", fits, Supported(), err)
	}
	end := soon()
	if !fits {
		end = netns.Deadline(t)
	}
	c, err := dial("127.0.0.2", "127.0.0.1:7007", end)
	if err == nil {
		c.Close()
	}
	if (err == nil) == fits {
		t.Errorf("a stranger, where the filter fits (%v): %v", fits, err)
	}
	if fits, err := Attach(raw, Set{Addresses: spread(Max+1, false)}); err != nil || fits {
		t.Errorf("too many: %v, %v", fits, err)
	}
}
