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

// ReceiveByThread makes a separate kernel thread process the packets that a veth
// receives, as a network card's packets are processed by the core that the card
// interrupts. Otherwise the sender's core processes them. It returns the thread's
// ID. The interface must be up, and /sys must show the namespace's interfaces.
func ReceiveByThread(name string) (thread int, err error) {
	if err := ReceiveByQueue(name); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join("/sys/class/net", name, "threaded"), []byte("1"), 0); err != nil {
		return 0, fmt.Errorf("enable threaded receiving of %s: %w", name, err)
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
	return 0, fmt.Errorf("enable threaded receiving of %s: the kernel has created no thread", name)
}

// ReceiveByQueue gives a veth a receive queue like that of a network card. Without
// one it accepts no frames from XDP. The driver has a queue only while GRO is on.
// GRO does not coalesce UDP datagrams unless a socket requests it.
func ReceiveByQueue(name string) error {
	if err := ethtool(name, unix.ETHTOOL_SGRO, 1); err != nil {
		return fmt.Errorf("enable the receive queue of %s: %w", name, err)
	}
	return nil
}

// SendToQueue makes all packets that a veth sends go to the receive queue of the
// other end. A packet that could be segmented would bypass it, so segmentation is
// disabled.
func SendToQueue(name string) error {
	if err := ethtool(name, unix.ETHTOOL_STSO, 0); err != nil {
		return fmt.Errorf("disable the segmentation of %s: %w", name, err)
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
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

// Counters are the counters of an interface since it was created.
type Counters struct {
	Received uint64 // packets
	Dropped  uint64 // packets that found the receive queue full
	Sent     uint64
	Unsent   uint64 // packets that found the other end's queue full
}

// Count reads the counters of an interface in the thread's namespace.
func Count(name string) (Counters, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return Counters{}, fmt.Errorf("read the counters of %s: %w", name, err)
	}
	s := l.Attrs().Statistics
	return Counters{s.RxPackets, s.RxDropped, s.TxPackets, s.TxDropped}, nil
}
