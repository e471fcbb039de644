package netns

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxDelayed is how many frames each direction of a delayed link holds.
const maxDelayed = 4096

// frameBuffer is the size in bytes of the kernel's buffer for frames that wait.
const frameBuffer = 8 << 20

// ConnectDelayed is Connect by a link that delays each frame, since not every
// kernel has netem.
func ConnectDelayed(t testing.TB, here End, h *Host, there End, delay time.Duration) {
	t.Helper()
	ConnectRelayed(t, here, h, there, Delay(t, delay), Delay(t, delay))
}

// Delay is NewDelay for tests.
func Delay(t testing.TB, delay time.Duration) Relay {
	relay, stop := NewDelay(delay)
	t.Cleanup(stop)
	return relay
}

// NewDelay returns a relay that sends each frame later, in order. It has a goroutine, until
// the caller calls stop, after the relay's link has been closed.
func NewDelay(delay time.Duration) (relay Relay, stop func()) {
	type delayed struct {
		due   time.Time
		frame []byte
		send  func([]byte)
	}
	frames := make(chan delayed, maxDelayed)
	go func() {
		wait, end := newSleeper()
		defer end()
		for f := range frames {
			wait(time.Until(f.due))
			f.send(f.frame)
		}
	}()
	relay = func(frame []byte, send func([]byte)) {
		frames <- delayed{time.Now().Add(delay), frame, send}
	}
	return relay, func() { close(frames) }
}

// plainFrames makes an interface send frames as they are on a wire: with
// checksums, and segmented.
func plainFrames(name string) error {
	for _, feature := range []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO} {
		if err := ethtool(name, feature, 0); err != nil {
			return fmt.Errorf("disable the offloads of %s: %w", name, err)
		}
	}
	return nil
}

// openFrames opens a socket for the frames of an interface in the thread's
// namespace.
func openFrames(name string) (*os.File, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err == nil {
		// A goroutine that gets no processor for a while must not lose frames. Without the
		// privilege, the kernel's limit applies.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, frameBuffer) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, frameBuffer)
		}
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("receive the frames of %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
