package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ReceiveByThread has a veth's datagrams received by a kernel thread of its
// own, as a network card's would be by the core that the card interrupts:
// otherwise the sender's core pays for it. It returns the thread's ID. The
// interface must be up, and /sys must show the namespace's interfaces.
func ReceiveByThread(name string) (thread int, err error) {
	if err := ReceiveByQueue(name); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join("/sys/class/net", name, "threaded"), []byte("1"), 0); err != nil {
		return 0, fmt.Errorf("give %s a thread: %w", name, err)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(command), "napi/"+name+"-") {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, fmt.Errorf("give %s a thread: the kernel has made none", name)
}

// ReceiveByQueue gives a veth a receive queue like a network card's, without
// which it takes no frames from XDP. The driver has one only while GRO is on;
// UDP datagrams are not coalesced by that, unless a socket asks for it.
func ReceiveByQueue(name string) error {
	if err := ethtool(name, unix.ETHTOOL_SGRO, 1); err != nil {
		return fmt.Errorf("turn on %s's receive queue: %w", name, err)
	}
	return nil
}

// SendToQueue has all that a veth sends go to the other end's receive queue.
// What could be one of many segments passes it by; so there are none.
func SendToQueue(name string) error {
	if err := ethtool(name, unix.ETHTOOL_STSO, 0); err != nil {
		return fmt.Errorf("turn off %s's segmentation: %w", name, err)
	}
	return nil
}

func ethtool(name string, command, data uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{command, data}
	request := struct {
		name  [unix.IFNAMSIZ]byte
		value unsafe.Pointer
		_     [16]byte
	}{value: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

// Counters are an interface's, since it was made.
type Counters struct {
	Received uint64 // packets
	Dropped  uint64 // packets that found the receive queue full
	Sent     uint64
	Unsent   uint64 // packets that the other end's queue had no room for
}

// Count reads an interface's counters, in the namespace that the thread is in.
func Count(name string) (Counters, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return Counters{}, fmt.Errorf("read the counters of %s: %w", name, err)
	}
	s := l.Attrs().Statistics
	return Counters{s.RxPackets, s.RxDropped, s.TxPackets, s.TxDropped}, nil
}
