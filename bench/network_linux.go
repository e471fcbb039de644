package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/clock"
	"sallyport/bench/flood"
	"sallyport/bench/netns"
)

// The networks of the flood: addresses for benchmarks (RFC 2544).
var (
	serverAddress = netip.MustParseAddr("198.18.0.1")
	sourceAddress = netip.MustParseAddr("198.18.0.2")
	// The first source address of the flood, and of the honest attempts.
	floodSources  = netip.MustParseAddr("198.18.1.0")
	honestSources = netip.MustParseAddr("198.19.0.0")
)

// floodNetworks is the number of networks (/24) from which a flood can come.
const floodNetworks = 255

// network is the server's host, on which this process runs, and a host that
// floods it. No other host is connected.
type network struct {
	away       *netns.Host
	device     string // the interface of the server's host
	peer       string // the interface of the other host
	link       flood.Link
	generator  flood.Generator
	serverCore int
	floodCore  int
	softirq    string // the ID of the thread that receives; "": that of the sender
	receiver   string // the core that receives packets, as text
	sysMounted bool
}

// Attributes returns the attributes of a process for Run: it is alone in new
// namespaces. Without privileges on the host it is root only in them.
func Attributes() *syscall.SysProcAttr {
	if netns.Privileged() {
		return &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
		}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
}

// ErrNotAlone means that this network was not created for the flood.
var ErrNotAlone = errors.New("refusing to flood: expected a network with only the loopback, found other interfaces")

// newNetwork creates the network. It refuses a namespace with other interfaces.
func newNetwork() (w *network, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	for _, l := range links {
		// Kernels create unused tunnel interfaces in every namespace; they are down.
		if l.Attrs().Flags&net.FlagLoopback == 0 && l.Attrs().Flags&net.FlagUp != 0 {
			return nil, ErrNotAlone
		}
	}
	cores, err := clock.Cores()
	if err != nil {
		return nil, err
	}
	if len(cores) < 2 {
		return nil, errors.New("got 1 processor core, expected 2: one for the flood and one for the server")
	}
	w = &network{serverCore: cores[0], floodCore: cores[1]}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := netns.LoopbackUp(); err != nil {
		return nil, err
	}
	// /sys shows the interfaces of the namespace in which it was mounted.
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("mount /sys of this network: %w", err)
	}
	w.sysMounted = true
	if w.away, err = netns.New(); err != nil {
		return nil, err
	}
	// The kernel's thread is named after the interface, and all namespaces share
	// one list of threads.
	w.device, w.peer = "fb"+strconv.FormatInt(int64(os.Getpid()), 36), "flood"
	if err := w.connect(); err != nil {
		return nil, err
	}
	if err := w.pinReceiver(); err != nil {
		return nil, err
	}
	return w, w.chooseGenerator()
}

// connect connects the two hosts. Answers to any source go to the other host.
func (w *network) connect() error {
	pair, err := netns.Join(netns.End{Name: w.device, Addresses: []string{serverAddress.String() + "/30"}}, w.away,
		netns.End{Name: w.peer, Addresses: []string{sourceAddress.String() + "/30"}})
	if err != nil {
		return err
	}
	here, err := net.InterfaceByName(w.device)
	if err != nil {
		return fmt.Errorf("find the interface of the server: %w", err)
	}
	w.link = flood.Link{To: here.HardwareAddr, Host: serverAddress}
	route := &netlink.Route{
		LinkIndex: pair.Attrs().Index, Gw: sourceAddress.AsSlice(),
		Dst: &net.IPNet{IP: net.IPv4(198, 18, 0, 0), Mask: net.CIDRMask(15, 32)},
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("add a route for the answers: %w", err)
	}
	for _, name := range []string{"all", w.device} {
		path := filepath.Join("/proc/sys/net/ipv4/conf", name, "rp_filter")
		if err := os.WriteFile(path, []byte("0"), 0); err != nil {
			return fmt.Errorf("accept all source addresses: %w", err)
		}
	}
	return nil
}

// pinReceiver makes the server's core process the received packets.
func (w *network) pinReceiver() error {
	thread, err := netns.ReceiveByThread(w.device)
	if err != nil {
		// The link still has a queue, which the sender's core processes.
		w.receiver = fmt.Sprintf("the sender's core: %v", err)
		return nil
	}
	w.softirq = strconv.Itoa(thread)
	if err := clock.PinThread(thread, w.serverCore); err != nil {
		w.receiver = fmt.Sprintf("a thread of the kernel, on any core: %v", err)
		return nil
	}
	w.receiver = fmt.Sprintf(
		"the server's core (threaded NAPI of a veth, pinned to core %d, with the server)", w.serverCore)
	return nil
}

// chooseGenerator selects the fastest generator that this host supports.
func (w *network) chooseGenerator() error {
	return w.away.Do(func() (err error) {
		there, err := net.InterfaceByName(w.peer)
		if err != nil {
			return fmt.Errorf("find the interface of the flood: %w", err)
		}
		w.link.From = there.HardwareAddr
		if err := netns.SendToQueue(w.peer); err != nil {
			return err
		}
		if w.generator, err = flood.NewXDP(there.Index, w.floodCore); err == nil {
			return nil
		}
		w.generator, err = flood.NewPacket(there.Index, w.floodCore)
		return err
	})
}

func (w *network) close() {
	if w.generator != nil {
		w.generator.Close()
	}
	if w.away != nil {
		w.away.Close()
	}
	if w.sysMounted {
		unix.Unmount("/sys", unix.MNT_DETACH)
	}
}

// play plays a stream, and returns the time at which each honest frame was sent.
func (w *network) play(ctx context.Context, s flood.Stream) (sent flood.Sent, err error) {
	err = w.away.Do(func() (err error) {
		sent, err = w.generator.Play(ctx, s)
		return err
	})
	return sent, err
}
