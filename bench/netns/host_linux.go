package netns

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is another network namespace: a separate host on the test's network.
type Host struct{ namespace *os.File }

// New creates a network namespace with its loopback up. It exists until it is
// closed and nothing in it is left.
func New() (*Host, error) {
	var h Host
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := LoopbackUp(); err != nil {
			return err
		}
		var err error
		h.namespace, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create a network namespace: %w", err)
	}
	return &h, nil
}

// This returns the thread's namespace as a host.
func This() (*Host, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return &Host{f}, nil
}

// Close releases the namespace.
func (h *Host) Close() error { return h.namespace.Close() }

// NewHost is New for tests: the host exists as long as the test. The test must
// run in its own namespace (see Enter).
func NewHost(t testing.TB) *Host {
	t.Helper()
	h, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// Do runs f on a thread in the host's namespace. Sockets that f opens and
// processes that it starts are in that namespace; goroutines are not.
func (h *Host) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}

// onThread runs f on a thread that ends afterwards, because it may have changed
// its namespace.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

var nextIndex atomic.Int32

func init() { nextIndex.Store(100) }

// End is one end of a veth pair.
type End struct {
	Name      string
	Addresses []string // with their prefix lengths
}

// Connect is Join for tests. An error fails the test.
func Connect(t testing.TB, here End, h *Host, there End) {
	t.Helper()
	pair, err := Join(here, h, there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(pair) })
}

// Join connects this namespace and a host by a veth pair, which exists as long as
// both do. Each end has a permanent neighbour entry for the other, so the link
// carries only the caller's packets, and the reports with which the kernel joins
// multicast groups. MTU and queues are the kernel's defaults.
func Join(here End, h *Host, there End) (netlink.Link, error) {
	pair := &netlink.Veth{
		LinkAttrs: netlink.NewLinkAttrs(), PeerName: there.Name,
		PeerNamespace: netlink.NsFd(int(h.namespace.Fd())),
	}
	pair.Name = here.Name
	// Package net caches the names of interfaces by index, for the process and not
	// for each namespace: so each index must have only one name.
	pair.Index = int(nextIndex.Add(1))
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("create a veth pair: %w", err)
	}
	var ours, theirs net.HardwareAddr
	link := func(e End, mac *net.HardwareAddr) error {
		l, err := netlink.LinkByName(e.Name)
		if err != nil {
			return err
		}
		*mac = l.Attrs().HardwareAddr
		return configure(l, e.Addresses)
	}
	if err := link(here, &ours); err != nil {
		return nil, fmt.Errorf("configure %s: %w", here.Name, err)
	}
	if err := h.Do(func() error { return link(there, &theirs) }); err != nil {
		return nil, fmt.Errorf("configure %s: %w", there.Name, err)
	}
	if err := neighbours(here.Name, there.Addresses, theirs); err != nil {
		return nil, fmt.Errorf("set the neighbours of %s: %w", here.Name, err)
	}
	if err := h.Do(func() error { return neighbours(there.Name, here.Addresses, ours) }); err != nil {
		return nil, fmt.Errorf("set the neighbours of %s: %w", there.Name, err)
	}
	if err := awaitAddresses(here); err != nil {
		return nil, err
	}
	if err := h.Do(func() error { return awaitAddresses(there) }); err != nil {
		return nil, err
	}
	return pair, nil
}

// addressTime limits the wait for addresses.
const addressTime = time.Minute

// awaitAddresses waits until the kernel accepts packets to the addresses. For an
// IPv6 address it adds the local route later, in a work queue; a packet that
// arrives before is lost.
func awaitAddresses(e End) error {
	for _, a := range e.Addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		isLocal := func() bool {
			routes, err := netlink.RouteGetWithOptions(addr.IP, &netlink.RouteGetOptions{Oif: e.Name})
			return err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
		}
		for begin := time.Now(); !isLocal(); time.Sleep(time.Millisecond) {
			if time.Since(begin) > addressTime {
				return fmt.Errorf("the kernel does not accept packets to %s after %s", a, addressTime)
			}
		}
	}
	return nil
}

func configure(l netlink.Link, addresses []string) error {
	// No link-local address, hence no router solicitation and no MLD report.
	name := l.Attrs().Name
	for key, value := range map[string]string{
		"addr_gen_mode": "1", "accept_dad": "0", "accept_ra": "0", "router_solicitations": "0",
	} {
		if err := os.WriteFile(fmt.Sprintf("/proc/sys/net/ipv6/conf/%s/%s", name, key), []byte(value), 0); err != nil {
			return err
		}
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

func neighbours(name string, addresses []string, mac net.HardwareAddr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		n := &netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: addr.IP, HardwareAddr: mac}
		if err := netlink.NeighSet(n); err != nil {
			return err
		}
	}
	return nil
}
