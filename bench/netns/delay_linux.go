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

// ConnectDelayed is Connect by a link that delays each frame. A goroutine for each
// direction copies the frames, since not every kernel has netem.
func ConnectDelayed(t testing.TB, here End, h *Host, there End, delay time.Duration) {
	t.Helper()
	middle := NewHost(t)
	Connect(t, here, middle, End{Name: "near"})
	var near, far *os.File
	err := PlainFrames(here.Name)
	if err == nil {
		err = middle.Do(func() (err error) {
			if _, err = Join(End{Name: "far"}, h, there); err != nil {
				return err
			}
			if near, err = openFrames("near"); err == nil {
				far, err = openFrames("far")
			}
			return err
		})
	}
	if err == nil {
		err = h.Do(func() error { return PlainFrames(there.Name) })
	}
	if err != nil {
		t.Fatalf("delay a link: %v", err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	go copyDelayed(far, near, delay)
	go copyDelayed(near, far, delay)
}

// PlainFrames makes an interface send frames as they are on a wire: with
// checksums, and segmented.
func PlainFrames(name string) error {
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
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: link.Attrs().Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("receive the frames of %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// copyDelayed copies frames until a file is closed.
func copyDelayed(to, from *os.File, delay time.Duration) {
	type frame struct {
		due   time.Time
		bytes []byte
	}
	frames := make(chan frame, maxDelayed)
	go func() {
		for f := range frames {
			time.Sleep(time.Until(f.due))
			to.Write(f.bytes) // an interface that is gone loses frames, as a wire does
		}
	}()
	defer close(frames)
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		frames <- frame{time.Now().Add(delay), append([]byte(nil), buffer[:n]...)}
	}
}
