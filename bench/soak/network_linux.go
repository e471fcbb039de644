package soak

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

const (
	webPort = 8080
	sshPort = 22
)

var (
	serverAddress = netip.MustParseAddr("198.18.0.1")
	ownAddress    = netip.MustParseAddr("198.18.0.2")
	// clientAddresses are those of attempts, one each; the first ones look.
	clientAddresses = netip.MustParsePrefix("10.0.0.0/8")
	stranger        = netip.MustParseAddr("10.0.0.1")
	firstAttempt    = netip.MustParseAddr("10.1.0.0")
)

// services are what a client can open: a page of the server, and a program behind the
// firewall. The firewall filters both.
var services = []struct {
	name string
	port int
}{{"web", webPort}, {"ssh", sshPort}}

// newNetwork makes the host of the server. All clients, and the attackers, are in the
// namespace of the caller, which has all addresses of clients.
func newNetwork(ctx context.Context) (host *netns.Host, err error) {
	if err := netns.LoopbackUp(); err != nil {
		return nil, err
	}
	if host, err = netns.New(); err != nil {
		return nil, err
	}
	_, err = netns.Join(netns.End{Name: "clients", Addresses: []string{ownAddress.String() + "/30"}},
		host, netns.End{Name: "server", Addresses: []string{serverAddress.String() + "/30"}})
	if err != nil {
		return nil, err
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	if err := netlink.RouteAdd(&netlink.Route{
		LinkIndex: loopback.Attrs().Index, Scope: netlink.SCOPE_HOST, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL,
		Dst: &net.IPNet{IP: clientAddresses.Addr().AsSlice(), Mask: net.CIDRMask(clientAddresses.Bits(), 32)},
	}); err != nil {
		return nil, fmt.Errorf("give this host the addresses of the clients: %w", err)
	}
	return host, host.Do(func() error {
		if err := netlink.RouteAdd(&netlink.Route{Gw: ownAddress.AsSlice()}); err != nil {
			return fmt.Errorf("add a default route of the server: %w", err)
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp4", ":"+strconv.Itoa(sshPort))
		if err != nil {
			return fmt.Errorf("start the program behind the firewall: %w", err)
		}
		go acceptAll(l)
		return nil
	})
}

// acceptAll is the program behind the firewall. It ends with this process.
func acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(time.Millisecond) // for instance too many descriptors
			continue
		}
		c.Close()
	}
}

// look connects to a service, and reports whether that succeeded.
func look(ctx context.Context, from netip.Addr, port int) bool {
	d := net.Dialer{Timeout: lookTime, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	c, err := d.DialContext(ctx, "tcp4", netip.AddrPortFrom(serverAddress, uint16(port)).String())
	if err != nil {
		return false
	}
	c.(*net.TCPConn).SetLinger(0) // leaves no TIME_WAIT
	c.Close()
	return true
}

// nft runs nft on the server's host.
func nft(ctx context.Context, host *netns.Host, args ...string) (out []byte, err error) {
	err = host.Do(func() error {
		out, err = exec.CommandContext(ctx, "nft", args...).Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			// Not wrapped: the exit code is that of another program.
			return fmt.Errorf("nft %s: %v\n%s", args, err, exit.Stderr)
		}
		return err
	})
	return out, err
}
