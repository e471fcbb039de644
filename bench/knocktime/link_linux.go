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

// The link's addresses: for benchmarks (RFC 2544).
var (
	clientAddress = netip.MustParseAddr("198.18.0.2")
	nearAddress   = netip.MustParseAddr("198.18.0.1")
	farAddress    = netip.MustParseAddr("198.18.0.5")
	serverAddress = netip.MustParseAddr("198.18.0.6")
)

// Link is two hosts, and between them a line with the paper's bandwidth and
// delay. Nothing else is connected to either.
type Link struct {
	client, middle, server *netns.Host
	relay                  *relay
}

// NewLink makes a link. It takes namespaces' root, and touches nothing of the
// namespace that the caller is in.
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
		return l, fmt.Errorf("make a link: %w", err)
	}
	// The server is silent to knocks: no port unreachable may load the line.
	// After one message to an address the next may follow in an hour, and an
	// address that has not been heard of has a minute to its credit.
	err = l.server.Do(func() error { return sysctl("net/ipv4/icmp_ratelimit", "3600000") })
	return l, err
}

// Close ends the link; what is on its way is lost.
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

// join joins a host to the relay's, in which the thread is. The host sends at
// the link's rate, packets of up to burst bytes.
func join(h *netns.Host, here, there string, hereAddress, thereAddress netip.Addr, burst int) (port, error) {
	const prefix = "/30"
	pair, err := netns.Join(netns.End{Name: here, Addresses: []string{hereAddress.String() + prefix}}, h,
		netns.End{Name: there, Addresses: []string{thereAddress.String() + prefix}})
	if err != nil {
		return port{}, err
	}
	ours, err := net.InterfaceByIndex(pair.Attrs().Index)
	if err != nil {
		return port{}, fmt.Errorf("look at %s: %w", here, err)
	}
	var header [ethernetBytes]byte
	copy(header[6:], ours.HardwareAddr)
	header[12], header[13] = unix.ETH_P_IP>>8, unix.ETH_P_IP&0xff
	err = h.Do(func() error {
		theirs, err := netlink.LinkByName(there)
		if err != nil {
			return fmt.Errorf("look at %s: %w", there, err)
		}
		copy(header[:6], theirs.Attrs().HardwareAddr)
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: theirs.Attrs().Index, Gw: hereAddress.AsSlice()}); err != nil {
			return fmt.Errorf("route %s: %w", there, err)
		}
		return limitRate(there, burst)
	})
	if err != nil {
		return port{}, err
	}
	return openPort(ours.Index, header)
}

// sysctl sets what belongs to the namespace that the thread is in.
func sysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s to %s: %w", key, value, err)
	}
	return nil
}
