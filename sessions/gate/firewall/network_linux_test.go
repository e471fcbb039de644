package firewall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

var (
	host4, client4, stranger4 = netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")
	host6, client6, stranger6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:1::3")
)

// network is this host, which the table protects, and one outside, on whose
// link a raw socket sends and receives packets.
type network struct {
	*testing.T
	outside *netns.Host
	wire    int
	to      unix.SockaddrLinklayer
	source  uint16 // the last port that a SYN came from
}

func newNetwork(t *testing.T) *network {
	w := &network{T: t, outside: netns.NewHost(t), source: 20000}
	netns.Connect(t,
		netns.End{Name: "inner", Addresses: []string{"198.51.100.1/24", "2001:db8::1/64", "2001:db8:1::1/64"}}, w.outside,
		netns.End{Name: "outer", Addresses: []string{"198.51.100.2/24", "198.51.100.3/24", "2001:db8::2/64", "2001:db8:1::3/64"}})
	inner, err := net.InterfaceByName("inner")
	w.must(err)
	// No rate limit on answers.
	w.write("/proc/sys/net/ipv4/icmp_ratemask", "0")
	w.write("/proc/sys/net/ipv6/icmp/ratemask", "129") // echo replies, which no test requests
	w.must(w.outside.Do(func() error {
		outer, err := net.InterfaceByName("outer")
		if err != nil {
			return err
		}
		w.wire, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		w.to = unix.SockaddrLinklayer{Ifindex: outer.Index, Halen: 6}
		copy(w.to.Addr[:], inner.HardwareAddr)
		return unix.Bind(w.wire, &unix.SockaddrLinklayer{Ifindex: outer.Index, Protocol: htons(unix.ETH_P_ALL)})
	}))
	w.must(unix.SetsockoptTimeval(w.wire, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}))
	w.Cleanup(func() { unix.Close(w.wire) })
	return w
}

func htons(v uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v)) }

func (w *network) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// write sets a kernel variable.
func (w *network) write(path, value string) {
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		w.Fatal(err)
	}
}

func (w *network) claim(cfg Config) *Table {
	w.Helper()
	f, err := Claim(withServices(cfg), tester, false, now)
	w.must(err)
	return f
}

func (w *network) nft(script string) {
	w.Helper()
	w.must(w.try(script))
}

// try is nft for a script that may fail.
func (w *network) try(script string) error {
	c := exec.Command("nft", "-f", "-")
	c.Stdin = strings.NewReader(script)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w\n%s", err, out)
	}
	return nil
}

// send puts a packet on the link.
func (w *network) send(packet []byte) {
	w.Helper()
	w.to.Protocol = htons(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		w.to.Protocol = htons(unix.ETH_P_IPV6)
	}
	w.must(unix.Sendto(w.wire, packet, 0, &w.to))
}

// probeEnd is the port of the packets that end a probe: no socket is bound to
// it.
const probeEnd = 7

// probe sends packets of one address, and returns the answers to it. It needs
// no timeout: the last packets are answered last, because all packets take one
// path, on one processor.
func (w *network) probe(packets ...[]byte) (answers [][]byte) {
	w.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	w.must(unix.SchedGetaffinity(0, &before))
	for cpu := range 1024 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	w.must(unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &before)
	for _, p := range packets {
		w.send(p)
	}
	w.send(segment(stranger4, host4, 9, probeEnd, flagSYN, nil))
	b := make([]byte, 65536)
	for end := netns.Deadline(w); ; {
		n, from, err := unix.Recvfrom(w.wire, b, 0)
		if err == unix.EAGAIN && (end.IsZero() || time.Now().Before(end)) {
			w.send(segment(stranger4, host4, 9, probeEnd, flagSYN, nil))
			continue
		}
		if err != nil {
			w.Fatalf("the answer to the mark never came: %v", err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		p := bytes.Clone(b[:n])
		if p[0]>>4 == 4 && p[9] == unix.IPPROTO_TCP && binary.BigEndian.Uint16(p[20:]) == probeEnd {
			return answers
		}
		if len(packets) > 0 && destinationOf(p) == sourceOf(packets[0]) {
			answers = append(answers, p)
		}
	}
}

// connect connects from an address outside to a port here that is open to it.
// It returns nil after silence or a refusal, which probe distinguishes.
func (w *network) connect(from netip.Addr, port uint16) net.Conn {
	w.Helper()
	return w.connectAt(netip.AddrPortFrom(from, 0), port)
}

// connectAt is connect from a port; 0: any.
func (w *network) connectAt(at netip.AddrPort, port uint16) net.Conn {
	w.Helper()
	to, from := host4, at.Addr()
	if from.Is6() {
		to = host6
		if from == stranger6 {
			to = netip.MustParseAddr("2001:db8:1::1")
		}
	}
	var c net.Conn
	w.outside.Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(at), Deadline: netns.Deadline(w)}
		c, err = d.Dial("tcp", netip.AddrPortFrom(to, port).String())
		return err
	})
	if c != nil {
		w.Cleanup(func() { c.Close() })
	}
	return c
}

// echo serves TCP or UDP on a port here.
func (w *network) echo(port uint16) {
	w.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.IPv6Unspecified(), port).String())
	w.must(err)
	w.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 100)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					c.Write(b[:n])
				}
			}()
		}
	}()
}

// alive reports whether an echo comes back, and not a reset.
func (w *network) alive(c net.Conn) bool {
	c.SetDeadline(netns.Deadline(w))
	if _, err := c.Write([]byte("?")); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 1))
	return err == nil
}

// open reports whether a port accepts a SYN from an address, or answers it in
// another way.
func (w *network) open(from netip.Addr, port uint16) bool {
	w.Helper()
	to := host4
	if from.Is6() {
		to = host6
	}
	w.source++
	for _, a := range w.probe(segment(from, to, w.source, port, flagSYN, nil)) {
		h := transport(a)
		if binary.BigEndian.Uint16(h[2:]) == w.source && h[13] == flagSYN|flagACK {
			return true
		}
	}
	return false
}

// connections returns the number of tracked connections.
func (w *network) connections() int {
	w.Helper()
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	w.must(err)
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	w.must(err)
	return n
}

func granted(t *testing.T, f *Table, want int) {
	t.Helper()
	if n, err := f.granted(); err != nil || n != want {
		t.Errorf("%d grants, want %d: %v", n, want, err)
	}
}
