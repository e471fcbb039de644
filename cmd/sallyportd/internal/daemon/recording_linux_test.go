package daemon

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// recording is what arrives at the client's end of the link: all that the
// server's host has sent.
type recording struct {
	mu     sync.Mutex
	frames [][]byte
	host   *netns.Host
	marks  int
}

func record(t *testing.T, h *netns.Host, link string) *recording {
	t.Helper()
	c := &recording{host: h}
	var fd int
	err := h.Do(func() (err error) {
		iface, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return os.NewSyscallError("socket", err)
		}
		timeout := unix.NsecToTimeval(int64(50 * time.Millisecond))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer unix.Close(fd)
		b := make([]byte, 65536)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			ll, _ := from.(*unix.SockaddrLinklayer)
			if err == nil && ll.Pkttype != unix.PACKET_OUTGOING {
				c.mu.Lock()
				c.frames = append(c.frames, append([]byte(nil), b[:n]...))
				c.mu.Unlock()
			}
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	t.Cleanup(func() { close(done) })
	return c
}

const marker = 0x88B5 // an EtherType for local experiments (IEEE 802)

// sent returns how many packets the server's host has sent so far. To know
// that the capture has seen all of them, it sends another frame after
// them, which does not count.
func (c *recording) sent(t *testing.T) int {
	t.Helper()
	c.mark(t)
	return len(c.packets())
}

func (c *recording) mark(t *testing.T) {
	t.Helper()
	iface, err := net.InterfaceByName("srv")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	frame := make([]byte, 60)
	copy(frame, []byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
	copy(frame[6:], iface.HardwareAddr)
	binary.BigEndian.PutUint16(frame[12:], marker)
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: iface.Index, Halen: 6}); err != nil {
		t.Fatal(err)
	}
	c.marks++
	netns.Until(t, "the capture", func() bool { return c.marksSeen() == c.marks })
}

func (c *recording) marksSeen() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if etherType(f) == marker {
			n++
		}
	}
	return n
}

// packets returns the frames that were sent, except marks and the multicast
// reports that the kernel, not the server, sends on a new link.
func (c *recording) packets() (frames [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if etherType(f) != marker && !isMulticastReport(f) {
			frames = append(frames, f)
		}
	}
	return frames
}

// onlyTheWebServer fails unless every packet is TCP from the web server's
// port, and there was at least one: a capture that sees nothing proves
// nothing.
func (c *recording) onlyTheWebServer(t *testing.T) {
	t.Helper()
	if c.sent(t) == 0 {
		t.Error("the capture has seen no packet at all")
	}
	for _, f := range c.packets() {
		proto, payload := transport(f)
		if proto != unix.IPPROTO_TCP || len(payload) < 2 || binary.BigEndian.Uint16(payload) != 8080 {
			t.Errorf("the server sent %x", f)
		}
	}
}

func etherType(f []byte) uint16 { return binary.BigEndian.Uint16(f[12:]) }

// transport returns the protocol and payload of an IP packet.
func transport(f []byte) (proto byte, payload []byte) {
	ip := f[14:]
	switch etherType(f) {
	case unix.ETH_P_IP:
		return ip[9], ip[int(ip[0]&15)*4:]
	case unix.ETH_P_IPV6:
		return ip[6], ip[40:]
	}
	return 0, nil
}

func isMulticastReport(f []byte) bool {
	const hopByHop = 0
	proto, payload := transport(f)
	return etherType(f) == unix.ETH_P_IPV6 && proto == hopByHop && len(payload) > 8 && payload[0] == unix.IPPROTO_ICMPV6 && payload[8] == 143
}
