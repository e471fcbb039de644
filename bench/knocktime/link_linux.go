package knocktime

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
)

// The addresses of the link are those for benchmarks (RFC 2544).
var (
	clientAddress = netip.MustParseAddr("198.18.0.2")
	nearAddress   = netip.MustParseAddr("198.18.0.1")
	farAddress    = netip.MustParseAddr("198.18.0.5")
	serverAddress = netip.MustParseAddr("198.18.0.6")
)

// Link is two hosts, and a line between them with the bandwidth and the delay of
// the paper. No other host is connected.
type Link struct {
	client, middle, server *netns.Host
	relay                  *relay
}

// NewLink creates a link. It requires root in the caller's namespaces, and changes
// nothing in the caller's network namespace.
func NewLink() (l *Link, err error) {
	l = &Link{}
	defer func() {
		if err != nil {
			l.Close()
			l = nil
		}
	}()
	for _, h := range []**netns.Host{&l.client, &l.middle, &l.server} {
		if *h, err = netns.New(); err != nil {
			return l, err
		}
	}
	err = l.middle.Do(func() error {
		if err := sysctl("net/ipv4/ip_forward", "0"); err != nil {
			return err
		}
		near, err := join(l.client, "near", "client", nearAddress, clientAddress, headerBytes)
		if err != nil {
			return err
		}
		far, err := join(l.server, "far", "server", farAddress, serverAddress, headerBytes+challengeBytes)
		if err != nil {
			near.frames.Close()
			return err
		}
		l.relay = startRelay(near, far)
		return nil
	})
	if err != nil {
		return l, fmt.Errorf("create a link: %w", err)
	}
	// The server must not answer knocks: a "port unreachable" would load the line.
	// The limit is one message an hour to an address. A new address has a credit of
	// a minute, which is not enough for a message.
	err = l.server.Do(func() error { return sysctl("net/ipv4/icmp_ratelimit", "3600000") })
	return l, err
}

// Close removes the link. Packets on the way are lost.
func (l *Link) Close() error {
	if l.relay != nil {
		l.relay.close()
	}
	var errs []error
	for _, h := range []*netns.Host{l.client, l.middle, l.server} {
		if h != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}

// join connects a host with the relay's namespace, in which the thread must be.
// The host sends at the rate of the link, with packets of up to burst bytes.
func join(h *netns.Host, here, there string, hereAddress, thereAddress netip.Addr, burst int) (port, error) {
	const prefix = "/30"
	pair, err := netns.Join(netns.End{Name: here, Addresses: []string{hereAddress.String() + prefix}}, h,
		netns.End{Name: there, Addresses: []string{thereAddress.String() + prefix}})
	if err != nil {
		return port{}, err
	}
	ours, err := net.InterfaceByIndex(pair.Attrs().Index)
	if err != nil {
		return port{}, fmt.Errorf("find the interface %s: %w", here, err)
	}
	var header [ethernetBytes]byte
	copy(header[6:], ours.HardwareAddr)
	header[12], header[13] = unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff
	err = h.Do(func() error {
		theirs, err := netlink.LinkByName(there)
		if err != nil {
			return fmt.Errorf("find the interface %s: %w", there, err)
		}
		copy(header[:6], theirs.Attrs().HardwareAddr)
		route := &netlink.Route{LinkIndex: theirs.Attrs().Index, Gw: hereAddress.AsSlice()}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("add a route over %s: %w", there, err)
		}
		return limitRate(there, burst)
	})
	if err != nil {
		return port{}, err
	}
	return openPort(ours.Index, header)
}

// sysctl sets a sysctl of the thread's network namespace.
func sysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", key, value, err)
	}
	return nil
}
