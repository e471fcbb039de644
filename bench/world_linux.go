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
	// Sources of the flood, and from where on each honest attempt has its own.
	floodSources  = netip.MustParseAddr("198.18.1.0")
	honestSources = netip.MustParseAddr("198.19.0.0")
)

// world is a server's host, which this process is on, and a host that floods
// it. Nothing else is connected to either.
type world struct {
	away       *netns.Host
	device     string // on the server's side
	peer       string // on the other
	link       flood.Link
	generator  flood.Generator
	serverCore int
	floodCore  int
	softirq    string // the ID of the thread that receives; "": the sender's
	payer      string // who pays for what is received, in words
	sysMounted bool
}

// Attributes are those of a process in namespaces of its own, in which Run
// finds itself alone. Without the host's privileges it is root only there.
func Attributes() *syscall.SysProcAttr {
	if netns.Privileged() {
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
}

// ErrNotAlone means that this network was not made for the flood.
var ErrNotAlone = errors.New("this is not a network of the flood's own: it has interfaces besides the loopback")

// newWorld makes the network. It refuses one in which there is anything.
func newWorld() (w *world, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("look at the network: %w", err)
	}
	for _, l := range links {
		// Kernels make some tunnels' stubs in every namespace; they are down.
		if l.Attrs().Flags&net.FlagLoopback == 0 && l.Attrs().Flags&net.FlagUp != 0 {
			return nil, ErrNotAlone
		}
	}
	cores, err := clock.Cores()
	if err != nil {
		return nil, err
	}
	if len(cores) < 2 {
		return nil, errors.New("it takes two cores: one that floods and one that is flooded")
	}
	w = &world{serverCore: cores[0], floodCore: cores[1]}
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
		return nil, fmt.Errorf("mount this network's /sys: %w", err)
	}
	w.sysMounted = true
	if w.away, err = netns.New(); err != nil {
		return nil, err
	}
	// The kernel's thread has the interface's name, and all hosts share one list.
	w.device, w.peer = "fb"+strconv.FormatInt(int64(os.Getpid()), 36), "flood"
	if err := w.connect(); err != nil {
		return nil, err
	}
	if err := w.charge(); err != nil {
		return nil, err
	}
	return w, w.choose()
}

// connect joins the two hosts. Answers to any source go to the other host.
func (w *world) connect() error {
	pair, err := netns.Join(netns.End{Name: w.device, Addresses: []string{serverAddress.String() + "/30"}}, w.away,
		netns.End{Name: w.peer, Addresses: []string{sourceAddress.String() + "/30"}})
	if err != nil {
		return err
	}
	here, err := net.InterfaceByName(w.device)
	if err != nil {
		return fmt.Errorf("look at the network: %w", err)
	}
	w.link = flood.Link{To: here.HardwareAddr, Host: serverAddress}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: pair.Attrs().Index, Gw: sourceAddress.AsSlice(),
		Dst: &net.IPNet{IP: net.IPv4(198, 18, 0, 0), Mask: net.CIDRMask(15, 32)}}); err != nil {
		return fmt.Errorf("route the answers: %w", err)
	}
	for _, name := range []string{"all", w.device} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv4/conf", name, "rp_filter"), []byte("0"), 0); err != nil {
			return fmt.Errorf("let any source in: %w", err)
		}
	}
	return nil
}

// charge has the server's core pay for what it receives.
func (w *world) charge() error {
	thread, err := netns.ReceiveByThread(w.device)
	if err != nil {
		// It still has a queue, which the sender's core works off.
		w.payer = fmt.Sprintf("the sender's core: %v", err)
		return nil
	}
	w.softirq = strconv.Itoa(thread)
	if err := clock.PinThread(thread, w.serverCore); err != nil {
		w.payer = fmt.Sprintf("a thread of the kernel, on any core: %v", err)
		return nil
	}
	w.payer = fmt.Sprintf("the server's core (threaded NAPI of a veth, pinned to core %d, beside the server)", w.serverCore)
	return nil
}

// choose takes the best generator that works here.
func (w *world) choose() error {
	return w.away.Do(func() (err error) {
		there, err := net.InterfaceByName(w.peer)
		if err != nil {
			return fmt.Errorf("look at the network: %w", err)
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

func (w *world) close() {
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

// play floods. Honest frames of the stream are stamped as they are sent.
func (w *world) play(ctx context.Context, s flood.Stream) (sent flood.Sent, err error) {
	err = w.away.Do(func() (err error) {
		sent, err = w.generator.Play(ctx, s)
		return err
	})
	return sent, err
}
